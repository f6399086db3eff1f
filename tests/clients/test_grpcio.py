"""Plain grpcio: typed contents over stubs of proto/, health, the probe, reflection v1 and v1alpha."""

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from wire import INFERENCE, PROBE, scores

SERVICES = {INFERENCE, PROBE, "grpc.health.v1.Health"}


@pytest.mark.parametrize("version", ["1", "2"])
def test_typed_contents_give_what_raw_contents_give(wire, channel, images, expected, version):
    infer = wire.unary(channel, INFERENCE, "ModelInfer")
    raw = wire.request(images, version)
    typed = wire.request(images, version)
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.fp32_contents.extend(images.ravel().tolist())
    np.testing.assert_allclose(scores(infer(typed)), expected(version, images), rtol=0, atol=1e-5)
    np.testing.assert_allclose(scores(infer(typed)), scores(infer(raw)), rtol=0, atol=1e-5)


def test_health_knows_the_server_and_the_model_and_nothing_else(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "mnist"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="cats"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_watch_begins_with_the_present_state(channel):
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="mnist"), timeout=60)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_the_probe_answers_with_and_without_a_message(wire, channel):
    ready = wire.message("hilum.v1.ReadyRequest")
    assert wire.unary(channel, PROBE, "Ready")(ready()).ByteSize() == 0
    # A stream of no messages: the headers end the request, as a load balancer sends it.
    bare = channel.stream_unary(
        f"/{PROBE}/Ready",
        request_serializer=ready.SerializeToString,
        response_deserializer=wire.message("hilum.v1.ReadyResponse").FromString,
    )
    answer, call = bare.with_call(iter(()))
    assert call.code() is grpc.StatusCode.OK
    assert answer.ByteSize() == 0


def test_a_call_that_does_not_exist_is_unimplemented(channel):
    call = channel.unary_unary(f"/{INFERENCE}/ModelDream")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# The messages of v1 and v1alpha are the same bytes; only the service's name differs.
@pytest.mark.parametrize("dialect", ["v1", "v1alpha"])
def test_reflection_lists_and_describes(channel, dialect):
    call = channel.stream_stream(
        f"/grpc.reflection.{dialect}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=INFERENCE),
    ]
    listed, described = call(iter(questions), timeout=60)
    assert {service.name for service in listed.list_services_response.service} >= SERVICES
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in described.file_descriptor_response.file_descriptor_proto
    ]
    services = [service for file in files for service in file.service if file.package == "inference"]
    assert [service.name for service in services] == ["GRPCInferenceService"]
    assert {"ServerLive", "ModelMetadata", "ModelInfer"} <= {method.name for method in services[0].method}
