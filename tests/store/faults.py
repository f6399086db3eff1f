"""A proxy between ours and an S3 server that does what a bad day does.

It must never invent an answer that a store would not give.
"""

import http.client
import http.server
import re
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

BUSY = {
    503: b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    500: b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
}


class FaultyProxy:
    """Hands requests on to `endpoint` but for those that `fault` names.

    `fault` is asked for the number of the request, from 0, and its method; it says `None`, a status (503,
    500), "reset" (the connection breaks in the middle of the upload), "lost" (the store does it, the answer
    does not arrive), "slow" (nothing comes back) or "refused" (the store gets a key that it does not know, as
    if ours had been taken back) or "unencrypted" (it is not told by which key to encrypt, as if it knew none).
    """

    def __init__(self, endpoint: str) -> None:
        self.fault: Callable[[int, str], object] = lambda _number, _method: None
        self.seen = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()
        target = urlsplit(endpoint)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _break(self) -> None:
                self.close_connection = True
                self.connection.close()

            def _serve(self) -> None:
                with proxy._lock:
                    number = proxy.seen
                    proxy.seen += 1
                fault = proxy.fault(number, self.command)
                length = int(self.headers.get("Content-Length", 0))
                if fault == "reset":
                    self.rfile.read(length // 2)
                    return self._break()
                body = self.rfile.read(length)
                if fault == "slow":
                    proxy.ended.wait(60)
                    return self._break()
                if isinstance(fault, int):
                    self.send_response(fault)
                    self.send_header("Content-Type", "application/xml")
                    self.send_header("Content-Length", str(len(BUSY[fault])))
                    self.end_headers()
                    self.wfile.write(b"" if self.command == "HEAD" else BUSY[fault])
                    return None
                # The headers as they came, Host among them: they are signed.
                upstream = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if fault == "unencrypted" and name.lower().startswith("x-amz-server-side-encryption"):
                        continue
                    if fault == "refused" and name.lower() == "authorization":
                        value = re.sub("Credential=[^/]+", "Credential=taken-back", value)
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if fault == "lost":
                    return self._break()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                sized = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", sized or "0")
                self.end_headers()
                self.wfile.write(content)
                return None

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "FaultyProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        time.sleep(0)
