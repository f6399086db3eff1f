"""KServe's REST client as a program: `kserve_rest.py BASE < images.json` prints its scores twice.

A process of its own, because kserve and tritonclient register the same protocol names, and a process
takes a name once.
"""

import asyncio
import json
import sys

import kserve
import numpy as np


async def main(base: str, images: np.ndarray) -> list[list[list[float]]]:
    """The scores of the images, sent in JSON and in binary data."""
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=60))
    try:
        assert await client.is_server_live(base) is True
        assert await client.is_server_ready(base) is True
        assert await client.is_model_ready(base, "mnist") is True
        answers = []
        for binary in (False, True):
            image = kserve.InferInput("image", list(images.shape), "FP32")
            image.set_data_from_numpy(images, binary_data=binary)
            parameters = {"binary_data_output": True} if binary else {}
            request = kserve.InferRequest("mnist", [image], parameters=parameters)
            answer = await client.infer(base, request, model_name="mnist")
            answers.append(answer.outputs[0].as_numpy().tolist())
        return answers
    finally:
        await client.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], np.array(json.load(sys.stdin), np.float32)))))
