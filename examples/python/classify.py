"""One image through hilum.v1.Vision with plain grpcio: ADDRESS IMAGE MODEL OVERLAY.png

The stubs are compiled from proto/ as this runs. Prints decision, label and calibrated score; of an image that the model refuses, why.
"""

import sys
from pathlib import Path

import grpc

sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
messages, services = grpc.protos_and_services("hilum/v1/vision.proto")
address, image, model, overlay = sys.argv[1:]
channel = grpc.insecure_channel(address)
request = messages.ClassifyRequest(model=model, image=Path(image).read_bytes(), overlay=True)
answer = services.VisionStub(channel).Classify(request, timeout=10)
if answer.decision == "rejected":
    sys.exit("rejected: " + "; ".join(f"{warning.code}: {warning.text}" for warning in answer.warnings))
scores = {score.label: score.calibrated for score in answer.scores}
print(f"{answer.decision} {answer.label} {scores[answer.label]:.4f}")
Path(overlay).write_bytes(answer.explanation.overlay_png)
