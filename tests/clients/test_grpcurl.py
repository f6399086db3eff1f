"""grpcurl, which knows nothing of the protocol but what reflection tells it."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from wire import INFERENCE, PROBE

INFER = f"{INFERENCE}/ModelInfer"


@pytest.fixture
def grpcurl(server):
    """`grpcurl(*arguments, body=…)`: exit code, standard output, standard error."""
    path = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")
    assert path, "grpcurl is missing: install tests/clients/requirements.txt"

    def run(*arguments: str, body: dict | None = None) -> tuple[int, str, str]:
        data = [] if body is None else ["-d", "@"]
        done = subprocess.run(
            [path, "-plaintext", *data, server.grpc, *arguments],
            input=json.dumps(body or {}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_it_lists(grpcurl):
    code, services, error = grpcurl("list")
    assert code == 0, error
    assert {INFERENCE, PROBE, "grpc.health.v1.Health"} <= set(services.split())


def test_it_describes(grpcurl):
    code, text, error = grpcurl("describe", INFERENCE)
    assert code == 0, error
    assert "rpc ModelInfer ( .inference.ModelInferRequest ) returns ( .inference.ModelInferResponse )" in text
    code, text, error = grpcurl("describe", "inference.ModelInferRequest")
    assert code == 0, error
    assert "repeated bytes raw_input_contents = 7;" in text


def test_it_reads_metadata_and_readiness(grpcurl):
    code, text, error = grpcurl(f"{INFERENCE}/ModelMetadata", body={"name": "mnist"})
    assert code == 0, error
    metadata = json.loads(text)
    assert metadata["versions"] == ["1", "2", "3", "4"]
    # int64 is text in protobuf's JSON.
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "1", "28", "28"]}]
    code, _, error = grpcurl(f"{PROBE}/Ready")
    assert code == 0, error


@pytest.mark.parametrize("version", ["1", "2"])
def test_it_infers(grpcurl, images, expected, version):
    image = {"name": "image", "datatype": "FP32", "shape": images.shape}
    image["contents"] = {"fp32_contents": images.ravel().tolist()}
    body = {"model_name": "mnist", "model_version": version, "id": "curl", "inputs": [image]}
    code, text, error = grpcurl(INFER, body=body)
    assert code == 0, error
    answer = json.loads(text)
    assert (answer["modelVersion"], answer["id"]) == (version, "curl")
    assert answer["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": ["5", "10"]}]
    scores = np.frombuffer(base64.b64decode(answer["rawOutputContents"][0]), "<f4").reshape(5, 10)
    np.testing.assert_allclose(scores, expected(version, images), rtol=0, atol=1e-5)


def test_it_is_told_what_is_wrong(grpcurl):
    code, _, error = grpcurl(INFER, body={"model_name": "cats"})
    assert code != 0
    assert "Code: NotFound" in error and "unknown model 'cats'" in error
