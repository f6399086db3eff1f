"""Browsers: connect-es, unmodified, over gRPC-Web under Node, and the answers to a browser's preflight."""

import http.client
import json
import shutil
import subprocess

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from server_process import PATIENCE, ROOT, ServerProcess

WEB = ROOT / "tests" / "web"
MODELS = ROOT / "tests" / "models"
PAGE = "https://app.example"


@pytest.fixture(scope="module")
def web_server():
    """A server that the pages of one origin may call, with a model of tensors and one of images."""
    more = {"HILUM__SERVER__CORS_ALLOWED_ORIGINS": json.dumps([PAGE])}
    server = ServerProcess(MODELS, ["scores", "spots"], more)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the client's packages and its stubs in place."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: connect-es is not run")
    npm = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(npm, cwd=WEB, check=True, timeout=600)
    subprocess.run([WEB / "node_modules" / ".bin" / "buf", "generate"], cwd=WEB, check=True, timeout=300)
    return shutil.which("node")


def test_connect_es_infers_watches_and_classifies(web_server, node, tmp_path):
    picture = tmp_path / "picture.png"
    pixels = np.random.default_rng(11).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    command = [node, WEB / "client.js", f"http://{web_server.http}", "scores", "spots", picture]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads(done.stdout)

    session = onnxruntime.InferenceSession(MODELS / "scores" / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    blank = np.zeros([n if isinstance(n, int) else 1 for n in given.shape], np.float32)
    (expected, *_) = session.run(None, {given.name: blank})
    infer = told["infer"]
    np.testing.assert_allclose(infer["scores"], expected.ravel(), rtol=0, atol=1e-5)
    assert (infer["ready"], infer["id"], infer["version"]) == (True, "w-7", "1")
    assert told["refusal"]["code"] == "NotFound" and "unknown model 'cats'" in told["refusal"]["text"]
    assert told["watch"] == 1
    classify = told["classify"]
    assert classify["decision"] and len(classify["scores"]) >= 2
    assert classify["overlay"] == "PNG"


def preflight(server: ServerProcess, path: str, origin: str) -> dict[str, str]:
    """The headers of the answer to what a browser asks before it lets a page of `origin` call."""
    connection = http.client.HTTPConnection(server.http, timeout=PATIENCE)
    wanted = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web,grpc-timeout",
    }
    connection.request("OPTIONS", path, headers=wanted)
    answer = connection.getresponse()
    assert answer.status == 200
    return {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/ModelInfer", "/v2/models/scores/infer"])
def test_a_preflight_is_answered_for_the_origin_that_is_named_and_no_other(web_server, path):
    allowed = preflight(web_server, path, PAGE)
    assert allowed["access-control-allow-origin"] == PAGE
    assert "POST" in allowed["access-control-allow-methods"]
    headers = allowed["access-control-allow-headers"].split(",")
    assert {"content-type", "x-grpc-web", "grpc-timeout"} <= {header.strip() for header in headers}
    assert "access-control-allow-origin" not in preflight(web_server, path, "https://elsewhere.example")


def test_without_a_named_origin_no_page_may_call(server):
    connection = http.client.HTTPConnection(server.http, timeout=PATIENCE)
    wanted = {"origin": PAGE, "access-control-request-method": "POST"}
    connection.request("OPTIONS", "/inference.GRPCInferenceService/ModelInfer", headers=wanted)
    answer = connection.getresponse()
    assert answer.getheader("access-control-allow-origin") is None
