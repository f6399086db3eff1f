"""tritonclient's calls beyond inference: configuration, statistics, streams, classes, shared memory, settings."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
from regions import regions
from tritonclient.utils import InferenceServerException, shared_memory

TOLERANCE = 1e-5


@pytest.fixture
def client(server):
    client = triton.InferenceServerClient(server.grpc)
    yield client
    client.close()


def given(images: np.ndarray) -> triton.InferInput:
    image = triton.InferInput("image", list(images.shape), "FP32")
    image.set_data_from_numpy(images)
    return image


def test_the_configuration_is_what_tritons_tools_look_for(client):
    config = client.get_model_config("mnist", as_json=True)["config"]
    assert config["max_batch_size"] == 32
    assert config["input"][0]["dims"] == ["1", "28", "28"]
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert config["output"][0]["dims"] == ["10"]
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert "dynamic_batching" in config


def test_statistics_count_what_was_asked(client, images):
    def read():
        stats = client.get_inference_statistics("mnist", "1").model_stats[0]
        return stats, stats.inference_stats.success.count

    before, answered = read()
    for _ in range(3):
        client.infer("mnist", [given(images)], model_version="1")
    after, now = read()
    assert after.inference_count - before.inference_count == 3 * len(images)
    assert now - answered == 3
    assert after.execution_count == sum(batch.compute_infer.count for batch in after.batch_stats)
    assert after.inference_count == sum(batch.batch_size * batch.compute_infer.count for batch in after.batch_stats)


def test_a_stream_answers_each_request_with_its_own_id(client, images, expected):
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(20):
        name = "cats" if number == 7 else "mnist"
        client.async_stream_infer(name, [given(images[number % 5 :][:1])], request_id=str(number))
    got = [answers.get(timeout=30) for _ in range(20)]
    client.stop_stream()
    for number, (result, error) in enumerate(got):
        if number == 7:
            assert "unknown model 'cats'" in str(error)
            continue
        assert error is None
        response = result.get_response()
        assert response.id == str(number)
        assert response.parameters["triton_final_response"].bool_param
        scores = expected("2", images[number % 5 :][:1])
        np.testing.assert_allclose(result.as_numpy("probabilities"), scores, rtol=0, atol=TOLERANCE)


def test_a_stream_that_is_cancelled_leaves_the_server_well(client, images):
    client.start_stream(lambda result, error: None)
    for _ in range(200):
        client.async_stream_infer("mnist", [given(images)])
    client.stop_stream(cancel_requests=True)
    assert client.is_server_ready()
    client.infer("mnist", [given(images)])


def test_classes_are_text(client, images, expected):
    output = triton.InferRequestedOutput("probabilities", class_count=3)
    classes = client.infer("mnist", [given(images)], outputs=[output]).as_numpy("probabilities")
    assert classes.shape == (len(images), 3)
    for row, scores in zip(classes, expected("2", images), strict=True):
        order = np.argsort(-scores, kind="stable")[:3]
        for text, index in zip(row, order, strict=True):
            value, at, label = text.decode().split(":")
            assert (int(at), label) == (index, str(index))
            assert abs(float(value) - scores[index]) < TOLERANCE


@pytest.mark.parametrize("algorithm", ["gzip"])
def test_messages_are_packed(client, images, expected, algorithm):
    result = client.infer("mnist", [given(images)], compression_algorithm=algorithm)
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected("2", images), rtol=0, atol=TOLERANCE)


def test_tensors_pass_through_system_shared_memory(client, images, expected):
    with regions("client", images) as (names, sizes, handles):
        for name, size in zip(names, sizes, strict=True):
            client.register_system_shared_memory(name, f"/{name}", size)
        told = client.get_system_shared_memory_status().regions
        assert sorted(told) == sorted(names) and told[names[0]].byte_size == sizes[0]
        image = triton.InferInput("image", list(images.shape), "FP32")
        image.set_shared_memory(names[0], sizes[0])
        output = triton.InferRequestedOutput("probabilities")
        output.set_shared_memory(names[1], sizes[1])
        result = client.infer("mnist", [image], outputs=[output])
        told = result.get_output("probabilities")
        assert told.parameters["shared_memory_region"].string_param == names[1]
        scores = shared_memory.get_contents_as_numpy(handles[1], np.float32, list(told.shape))
        np.testing.assert_allclose(scores, expected("2", images), rtol=0, atol=TOLERANCE)
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
        with pytest.raises(InferenceServerException, match="register it first"):
            client.infer("mnist", [image], outputs=[output])


def test_cuda_shared_memory_is_declined_and_tidied_up(client):
    assert not client.get_cuda_shared_memory_status().regions
    client.unregister_cuda_shared_memory()
    with pytest.raises(InferenceServerException, match="CUDA shared memory is not served"):
        client.register_cuda_shared_memory("r", b"bm90aGluZw==", 0, 4)


def test_settings_are_told_and_changed(client):
    assert client.get_trace_settings(as_json=True)["settings"]["trace_mode"]["value"] == ["opentelemetry"]
    assert client.get_log_settings(as_json=True)["settings"]["log_info"]["bool_param"] is True
    loud = client.update_log_settings({"log_verbose_level": 1})
    assert loud.settings["log_verbose_level"].uint32_param == 1
    quiet = client.update_log_settings({"log_verbose_level": 0})
    assert quiet.settings["log_verbose_level"].uint32_param == 0
    with pytest.raises(InferenceServerException, match="log_file"):
        client.update_log_settings({"log_file": "elsewhere.log"})
