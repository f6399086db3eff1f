"""Malformed requests from Python: a status, a text that says what came and what was expected, no harm done."""

import grpc
import numpy as np
import pytest
from wire import INFERENCE, scores

LIMIT = 64 << 20


@pytest.fixture
def infer(wire, channel):
    return wire.unary(channel, INFERENCE, "ModelInfer")


@pytest.fixture
def refused(wire, infer, images, expected):
    """`refused(request)`: status and text; then a good request is answered as ever."""

    def ask(request) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            infer(request, timeout=60)
        np.testing.assert_allclose(scores(infer(wire.request(images))), expected("2", images), rtol=0, atol=1e-5)
        return caught.value.code(), caught.value.details()

    return ask


def typed_beside_raw(request):
    request.inputs[0].contents.fp32_contents.extend([0.0] * 5 * 784)


def zero_rows(request):
    request.inputs[0].shape[0] = 0
    request.raw_input_contents[0] = b""


def negative_dimension(request):
    request.inputs[0].shape[0] = -5


def overflowing_dimensions(request):
    request.inputs[0].shape[:] = [2**62, 2**62, 28, 28]


def too_few_bytes(request):
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def too_many_bytes(request):
    request.raw_input_contents[0] += b"\0"


def name_that_leaves_the_folder(request):
    request.model_name = "../mnist"


def unknown_input(request):
    request.inputs[0].name = "picture"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (typed_beside_raw, ["typed contents", "raw_input_contents", "one way or the other"]),
        (zero_rows, ["[0, 1, 28, 28]", "at least one row"]),
        (negative_dimension, ["[-5, 1, 28, 28] has a negative dimension"]),
        (overflowing_dimensions, ["more elements than can be addressed"]),
        (too_few_bytes, ["FP32 [5, 1, 28, 28] takes 15680 bytes, 15679 came"]),
        (too_many_bytes, ["FP32 [5, 1, 28, 28] takes 15680 bytes, 15681 came"]),
        (name_that_leaves_the_folder, ["'../mnist' is not a model name", "A-Z a-z 0-9"]),
        (unknown_input, ["unknown input 'picture'", "'image' FP32 [-1, 1, 28, 28]"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_told_what_is_wrong(wire, refused, images, damage, words):
    request = wire.request(images)
    damage(request)
    code, text = refused(request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    for word in words:
        assert word in text


@pytest.mark.parametrize("megabytes", [70, 200])
def test_a_body_over_the_limit_is_told_the_limit(wire, refused, megabytes):
    rows = megabytes * 1_000_000 // (784 * 4)
    code, text = refused(wire.request(np.zeros((rows, 1, 28, 28), np.float32)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "too large" in text and str(LIMIT) in text


def test_a_deadline_that_passes_is_told_so(wire, infer, images):
    with pytest.raises(grpc.RpcError) as caught:
        infer(wire.request(np.zeros((4000, 1, 28, 28), np.float32)), timeout=0.001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    infer(wire.request(images))


def test_a_call_that_its_client_cancels_leaves_nothing_behind(server, wire, infer, images, expected):
    labels = '{model="mnist",version="1"}'
    waiting, inflight = f"hilum_queue_depth{labels}", 'hilum_inflight_requests{protocol="grpc"}'
    cancelled = 'hilum_requests_total{protocol="grpc",model="mnist",version="1",code="CANCELLED"}'
    big = wire.request(np.zeros((4000, 1, 28, 28), np.float32), "1")
    before = server.metric(cancelled)
    # Cancelled once its rows wait in the server; asked again where the answer was quicker than that.
    for _ in range(50):
        call = infer.future(big)
        while not call.done() and server.metric(waiting) == 0:
            pass
        if call.cancel():
            assert call.code() is grpc.StatusCode.CANCELLED
        server.wait_until(lambda: server.metric(waiting) == 0 and server.metric(inflight) == 0, "empty")
        if server.metric(cancelled) > before:
            break
    assert server.metric(cancelled) == before + 1
    np.testing.assert_allclose(scores(infer(wire.request(images, "1"))), expected("1", images), rtol=0, atol=1e-5)
