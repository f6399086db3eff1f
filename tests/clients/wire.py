"""The project's own protocol files, compiled by grpcio-tools, as messages and calls of plain grpcio.

The messages live in a descriptor pool of their own: tritonclient registers the same names in the
process's default one, which takes a name once.
"""

from pathlib import Path

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
INFERENCE = "inference.GRPCInferenceService"
PROBE = "hilum.v1.Probe"


class Wire:
    """Message classes and calls of `proto/`."""

    def __init__(self, folder: Path) -> None:
        compiled = folder / "descriptors.bin"
        sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
        code = protoc.main(
            ["protoc", f"--proto_path={PROTO}", f"--descriptor_set_out={compiled}", "--include_imports", *sources]
        )
        assert code == 0, "protoc refused proto/"
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file:
            self._pool.Add(file)

    def message(self, name: str):
        """The class of a message, by its full name or its name in package `inference`."""
        full = name if "." in name else f"inference.{name}"
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full))

    def unary(self, channel: grpc.Channel, service: str, method: str):
        """A unary call, serialised as the service's descriptor says."""
        call = self._pool.FindServiceByName(service).methods_by_name[method]
        return channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=message_factory.GetMessageClass(call.input_type).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(call.output_type).FromString,
        )

    def request(self, images: np.ndarray, version: str = ""):
        """A request with raw contents for float32 [n, 1, 28, 28]."""
        request = self.message("ModelInferRequest")(model_name="mnist", model_version=version)
        request.inputs.add(name="image", datatype="FP32", shape=images.shape)
        request.raw_input_contents.append(images.astype("<f4").tobytes())
        return request


def scores(response) -> np.ndarray:
    """The scores of a response, float32 [n, 10], from its raw contents."""
    (output,) = response.outputs
    assert (output.name, output.datatype) == ("probabilities", "FP32")
    (raw,) = response.raw_output_contents
    return np.frombuffer(raw, "<f4").reshape(output.shape)
