"""One image through plain grpcio; the stubs are compiled from proto/ as this runs."""

import sys
from pathlib import Path

import grpc
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
messages, services = grpc.protos_and_services("inference/grpc_service.proto")
channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8001")
request = messages.ModelInferRequest(model_name="mnist")
request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 28, 28])
request.raw_input_contents.append(np.zeros((1, 1, 28, 28), "<f4").tobytes())
answer = services.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
scores = np.frombuffer(answer.raw_output_contents[0], "<f4")
print(f"{scores.argmax()} {scores.max():.4f}")
