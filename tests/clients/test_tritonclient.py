"""tritonclient over gRPC, blocking and asyncio: what a stock client lists, describes and infers."""

import asyncio
import inspect

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

TOLERANCE = 1e-5


class Client:
    """One face for both of tritonclient's gRPC clients: a method's name and its arguments."""

    def __init__(self, module, address: str) -> None:
        self.module, self.address = module, address

    def __call__(self, method: str, *arguments, **options):
        async def run():
            # A client of grpc.aio belongs to the loop that it was made in.
            client = self.module.InferenceServerClient(self.address)
            try:
                answer = getattr(client, method)(*arguments, **options)
                return await answer if inspect.isawaitable(answer) else answer
            finally:
                closed = client.close()
                if inspect.isawaitable(closed):
                    await closed

        return asyncio.run(run())

    def infer(self, images: np.ndarray, version: str = "", *, shape=None, datatype="FP32", **options):
        image = self.module.InferInput("image", list(shape or images.shape), datatype)
        image.set_data_from_numpy(images)
        options.setdefault("model_name", "mnist")
        return self("infer", inputs=[image], model_version=version, **options)


@pytest.fixture(params=["blocking", "asyncio"])
def client(request, server) -> Client:
    return Client(tritonclient.grpc if request.param == "blocking" else tritonclient.grpc.aio, server.grpc)


def refusal(call, *arguments, **options) -> tuple[str, str]:
    """Status and text with which a call fails."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value.status(), caught.value.message()


def test_the_server_is_live_and_ready_and_says_who_it_is(client):
    assert client("is_server_live") is True
    assert client("is_server_ready") is True
    metadata = client("get_server_metadata", as_json=True)
    assert metadata["name"] == "hilum"
    assert metadata["version"]
    assert "binary_tensor_data" in metadata["extensions"]


@pytest.mark.parametrize("version", ["", "1", "2", "champion"])
def test_each_version_is_ready_and_described(client, version):
    assert client("is_model_ready", "mnist", version) is True
    metadata = client("get_model_metadata", "mnist", version)
    assert metadata.name == "mnist"
    assert list(metadata.versions) == ["1", "2", "3", "4"]
    assert metadata.platform == "onnxruntime_onnx"
    tensors = [[(t.name, t.datatype, list(t.shape)) for t in side] for side in (metadata.inputs, metadata.outputs)]
    assert tensors == [[("image", "FP32", [-1, 1, 28, 28])], [("probabilities", "FP32", [-1, 10])]]


@pytest.mark.parametrize(("asked", "served"), [("1", "1"), ("2", "2"), ("", "2"), ("champion", "2")])
def test_it_infers_with_each_version(client, images, expected, asked, served):
    result = client.infer(images, asked, request_id="r-7")
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("mnist", served, "r-7")
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected(served, images), rtol=0, atol=TOLERANCE)


def test_the_versions_are_two_models(expected, images):
    assert np.abs(expected("1", images) - expected("2", images)).max() > 1e-3


def test_it_answers_the_output_that_was_asked_for(client, images, expected):
    output = client.module.InferRequestedOutput("probabilities")
    result = client.infer(images, "1", outputs=[output])
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected("1", images), rtol=0, atol=TOLERANCE)


def test_what_is_unknown_is_not_found(client, images):
    for status, text in (
        refusal(client.infer, images, model_name="cats"),
        refusal(client, "get_model_metadata", "cats"),
        refusal(client, "is_model_ready", "cats"),
    ):
        assert status == "StatusCode.NOT_FOUND"
        assert "unknown model 'cats'" in text and "'mnist'" in text
    status, text = refusal(client.infer, images, "7")
    assert status == "StatusCode.NOT_FOUND"
    assert "no version 7" in text and "'1', '2'" in text


def test_a_wrong_dtype_or_shape_is_told_what_was_expected_and_what_came(client, images):
    status, text = refusal(client.infer, images.astype(np.float64), datatype="FP64")
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "'image' is FP32" in text and "FP64 came" in text
    status, text = refusal(client.infer, images.reshape(5, 28, 28, 1))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "[-1, 1, 28, 28]" in text and "[5, 28, 28, 1] came" in text
