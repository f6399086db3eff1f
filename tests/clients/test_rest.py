"""REST with stock clients: tritonclient's HTTP clients, blocking and asyncio, KServe's (and its gRPC client),
what MLServer's codecs send, and curl."""

import asyncio
import inspect
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from regions import regions
from tritonclient.utils import InferenceServerException, shared_memory

TOLERANCE = 1e-5
NAME = "probabilities"


class Client:
    """One face for both of tritonclient's HTTP clients: a method's name and its arguments."""

    def __init__(self, module, address: str) -> None:
        self.module, self.address = module, address

    def __call__(self, method: str, *arguments, **options):
        async def run():
            client = self.module.InferenceServerClient(self.address)
            try:
                answer = getattr(client, method)(*arguments, **options)
                return await answer if inspect.isawaitable(answer) else answer
            finally:
                closed = client.close()
                if inspect.isawaitable(closed):
                    await closed

        return asyncio.run(run())

    def infer(self, images: np.ndarray, version: str = "", *, binary=True, shape=None, datatype="FP32", **options):
        image = self.module.InferInput("image", list(shape or images.shape), datatype)
        image.set_data_from_numpy(images, binary_data=binary)
        options.setdefault("model_name", "mnist")
        return self("infer", inputs=[image], model_version=version, **options)


@pytest.fixture(params=["blocking", "asyncio"])
def client(request, server) -> Client:
    server.wait_until(
        lambda: Client(tritonclient.http, server.http)("is_model_ready", "mnist", "1"), "version 1 ready"
    )
    return Client(tritonclient.http if request.param == "blocking" else tritonclient.http.aio, server.http)


def refusal(call, *arguments, **options) -> tuple[str, str]:
    """Status and text with which a call fails."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value.status(), caught.value.message()


def test_the_server_and_its_models_say_what_they_are(client):
    assert client("is_server_live") is True
    assert client("is_server_ready") is True
    assert client("get_server_metadata")["name"] == "hilum"
    for version in ("", "1", "2"):
        assert client("is_model_ready", "mnist", version) is True
        metadata = client("get_model_metadata", "mnist", version)
        assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
        assert metadata["outputs"] == [{"name": NAME, "datatype": "FP32", "shape": [-1, 10]}]
    index = client("get_model_repository_index")
    found = {(m["name"], m["version"], m["state"]) for m in index}
    assert {(name, v, "READY") for name in ("mnist", "mnist.image") for v in ("1", "2")} <= found
    assert client("is_model_ready", "cats") is False


@pytest.mark.parametrize("binary_output", [None, True, False])
@pytest.mark.parametrize("binary", [True, False])
def test_it_infers_in_json_and_in_binary_data(client, images, expected, binary, binary_output):
    outputs = None
    if binary_output is not None:
        outputs = [client.module.InferRequestedOutput(NAME, binary_data=binary_output)]
    for version, served in (("", "2"), ("1", "1")):
        result = client.infer(images, version, binary=binary, outputs=outputs, request_id="r-7")
        response = result.get_response()
        assert (response["model_name"], response["model_version"], response["id"]) == ("mnist", served, "r-7")
        np.testing.assert_allclose(result.as_numpy(NAME), expected(served, images), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_it_infers_compressed_both_ways(client, expected, algorithm):
    images = np.random.default_rng(5).random((40, 1, 28, 28), dtype=np.float32)
    both = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    result = client.infer(images, "2", **both)
    np.testing.assert_allclose(result.as_numpy(NAME), expected("2", images), rtol=0, atol=TOLERANCE)


def test_what_is_wrong_is_told(client, images):
    status, text = refusal(client.infer, images, model_name="cats")
    assert status == "404" and "unknown model 'cats'" in text
    status, text = refusal(client.infer, images.astype(np.float64), datatype="FP64")
    assert status == "400" and "'image' is FP32" in text and "FP64 came" in text
    status, text = refusal(client.infer, np.full_like(images, np.nan), binary=False)
    assert status == "400" and "JSON has no NaN" in text
    status, text = refusal(client.infer, images, timeout=1)
    assert status == "504" and "deadline" in text


def test_models_come_and_go_only_where_that_is_configured(client):
    status, text = refusal(client, "load_model", "mnist")
    assert status == "412" and "models.control" in text


def test_tensors_pass_through_system_shared_memory(client, images, expected):
    with regions("rest", images) as (names, sizes, handles):
        for name, size in zip(names, sizes, strict=True):
            client("register_system_shared_memory", name, f"/{name}", size)
        told = client("get_system_shared_memory_status")
        assert [(region["name"], region["byte_size"]) for region in told] == sorted(zip(names, sizes, strict=True))
        assert client("get_system_shared_memory_status", names[0])[0]["key"] == f"/{names[0]}"
        image = client.module.InferInput("image", list(images.shape), "FP32")
        image.set_shared_memory(names[0], sizes[0])
        output = client.module.InferRequestedOutput(NAME)
        output.set_shared_memory(names[1], sizes[1])
        result = client("infer", "mnist", [image], outputs=[output])
        told = result.get_output(NAME)
        assert told == {"name": NAME, "datatype": "FP32", "shape": [len(images), 10]}
        scores = shared_memory.get_contents_as_numpy(handles[1], np.float32, told["shape"])
        np.testing.assert_allclose(scores, expected("2", images), rtol=0, atol=TOLERANCE)
        client("unregister_system_shared_memory", names[0])
        assert [region["name"] for region in client("get_system_shared_memory_status")] == [names[1]]
        client("unregister_system_shared_memory")
        assert client("get_system_shared_memory_status") == []
        status, text = refusal(client, "infer", "mnist", [image], outputs=[output])
        assert status == "400" and "register it first" in text


def test_cuda_shared_memory_is_declined_and_tidied_up(client):
    assert client("get_cuda_shared_memory_status") == []
    client("unregister_cuda_shared_memory")
    client("unregister_cuda_shared_memory", "r")
    status, text = refusal(client, "register_cuda_shared_memory", "r", b"bm90aGluZw==", 0, 4)
    assert status == "501" and "CUDA shared memory is not served" in text


def test_settings_are_told_and_changed(client):
    told = client("get_log_settings")
    assert told["log_info"] is True and told["log_verbose_level"] == 0
    try:
        assert client("update_log_settings", {"log_verbose_level": 1}) == told | {"log_verbose_level": 1}
    finally:
        assert client("update_log_settings", {"log_verbose_level": 0}) == told
    status, text = refusal(client, "update_log_settings", {"log_file": "elsewhere.log"})
    assert status == "412" and "log_file" in text
    traces = client("get_trace_settings")
    assert traces["trace_level"] == ["OFF"] and traces["trace_mode"] == "opentelemetry"
    assert client("get_trace_settings", "mnist") == traces
    assert client("update_trace_settings", settings={"trace_level": ["OFF"], "trace_rate": None}) == traces
    status, text = refusal(client, "update_trace_settings", "mnist", {"trace_level": ["TIMESTAMPS"]})
    assert status == "412" and "telemetry.otlp_endpoint" in text


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_kserve_s_clients_infer(kind, server, images, expected):
    address = {"rest": f"http://{server.http}", "grpc": server.grpc}[kind]
    command = [sys.executable, Path(__file__).with_name(f"kserve_{kind}.py"), address]
    done = subprocess.run(command, input=json.dumps(images.tolist()), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == 2
    for answer in answers:
        np.testing.assert_allclose(answer, expected("2", images), rtol=0, atol=TOLERANCE)


def test_what_mlserver_s_codecs_send_is_answered(server, images, expected):
    """NumpyRequestCodec and NumpyCodec: content types as parameters, a flat list, outputs that ask for one too."""
    tensor = {
        "name": "image",
        "shape": list(images.shape),
        "datatype": "FP32",
        "data": images.ravel().tolist(),
        "parameters": {"content_type": "np"},
    }
    asked = {
        "id": "e2a7",
        "parameters": {"content_type": "np"},
        "inputs": [tensor],
        "outputs": [{"name": "probabilities", "parameters": {"content_type": "np"}}],
    }
    request = urllib.request.Request(
        f"http://{server.http}/v2/models/mnist/infer", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answered:
        answer = json.load(answered)
    assert answer["id"] == "e2a7"
    (output,) = answer["outputs"]
    found = np.array(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(found, expected("2", images), rtol=0, atol=TOLERANCE)


def test_curl_needs_no_more_than_an_address_and_json(server, images, expected):
    def curl(path: str, *arguments: str, body: str = "") -> dict:
        command = ["curl", "-sS", "--max-time", "60", f"http://{server.http}{path}", *arguments]
        done = subprocess.run(command, input=body, capture_output=True, text=True, timeout=90, check=True)
        return json.loads(done.stdout)

    assert curl("/v2/health/ready") == {"ready": True}
    tensor = {"name": "image", "datatype": "FP32", "shape": images.shape, "data": images.tolist()}
    answer = curl("/v2/models/mnist/infer", "-d", "@-", body=json.dumps({"inputs": [tensor]}))
    (output,) = answer["outputs"]
    found = np.array(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(found, expected("2", images), rtol=0, atol=TOLERANCE)
    assert "unknown model 'cats'" in curl("/v2/models/cats")["error"]
