"""One image through tritonclient, Triton's own client."""

import sys

import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8001")
image = triton.InferInput("image", [1, 1, 28, 28], "FP32")
image.set_data_from_numpy(np.zeros((1, 1, 28, 28), np.float32))
result = client.infer("mnist", [image], client_timeout=10)
scores = result.as_numpy("probabilities")[0]
print(f"{scores.argmax()} {scores.max():.4f}")
