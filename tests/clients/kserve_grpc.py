"""KServe's gRPC client as a program: `kserve_grpc.py ADDRESS < images.json` prints its scores twice.

A process of its own, as kserve_rest.py is.
"""

import asyncio
import json
import sys

import kserve
import numpy as np


async def main(address: str, images: np.ndarray) -> list[list[list[float]]]:
    """The scores of the images, sent as typed contents and as raw bytes."""
    client = kserve.InferenceGRPCClient(address, timeout=60, retries=0)
    try:
        assert await client.is_server_live() is True
        assert await client.is_server_ready() is True
        assert await client.is_model_ready("mnist") is True
        answers = []
        for raw in (False, True):
            image = kserve.InferInput("image", list(images.shape), "FP32")
            image.set_data_from_numpy(images, binary_data=raw)
            answer = await client.infer(kserve.InferRequest("mnist", [image]))
            answers.append(answer.outputs[0].as_numpy().tolist())
        return answers
    finally:
        await client.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], np.array(json.load(sys.stdin), np.float32)))))
