"""Times whole `Classify` calls with overlay on full-resolution originals, against the same in Python.

    cargo build --release
    HILUM_BIN=target/release/hilum python tests/clients/time_images.py MODELS NAME FOLDER [ROUNDS]

Each side answers every file of FOLDER ROUNDS times (3), with 1 and with 4 callers, in turns so that a busy
machine slows both. Python's side is a thread for each caller over Pillow, NumPy and onnxruntime (which
leave the interpreter's lock while they work): decode, recipe, run, map to the picture's size, colours,
PNG. Both paint pictures of 1024 pixels on the longer side. Milliseconds, p50 and p95.
"""

import io
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from PIL import Image
from server_process import ServerProcess

sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
SIDE = 1024
STEPS = ("decode_ms", "queue_ms", "infer_ms", "interpret_ms", "explain_ms", "total_ms")


def colours() -> np.ndarray:
    """256 levels from dark blue to yellow, [256, 3]: the cost of a colour map, not its beauty."""
    x = np.linspace(0, 1, 256)[:, None]
    dark, bright = np.array([[13, 8, 135]]), np.array([[240, 249, 33]])
    return (dark + (bright - dark) * x).astype(np.float32)


class Peer:
    """The recipe by Pillow and NumPy, the network by onnxruntime, the overlay by both."""

    def __init__(self, models: Path, name: str) -> None:
        import test_images

        test_images.MODELS, test_images.NAME = models, name
        self.peer = test_images.Peer()
        self.names = [output["name"] for output in self.peer.manifest["model"]["output"]]
        self.square = any(s["op"] == "crop" for s in self.peer.manifest["preprocess"]["step"])
        self.palette = colours()

    def answer(self, file: bytes) -> bytes:
        entry = self.peer.manifest["model"]["input"][0]["name"]
        image = Image.open(io.BytesIO(file)).convert("L")
        tensor = self.peer.tensor(image)
        outputs = dict(zip(self.names, self.peer.session.run(self.names, {entry: tensor}), strict=True))
        cam = outputs["cam"][0, -1]
        peak = cam.max()
        heat = cam / peak if peak > 0 else cam
        image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        side = min(image.size)
        size = (side, side) if self.square else image.size
        drawn = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        whole = np.zeros((image.height, image.width), np.float32)
        top, left = (image.height - size[1]) // 2, (image.width - size[0]) // 2
        whole[top : top + size[1], left : left + size[0]] = np.asarray(drawn)
        grey = np.asarray(image, np.float32)[..., None]
        colour = self.palette[(whole * 255).astype(np.uint8)]
        painted = (grey + (colour - grey) * (0.65 * whole[..., None])).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(painted).save(file, "PNG", compress_level=1)
        return file.getvalue()


def timed(work, files: list[bytes], callers: int) -> tuple[list[float], list]:
    def one(file: bytes):
        start = time.perf_counter()
        answer = work(file)
        return (time.perf_counter() - start) * 1e3, answer

    with ThreadPoolExecutor(callers) as pool:
        pairs = list(pool.map(one, files))
    return [took for took, _ in pairs], [answer for _, answer in pairs]


def quantiles(times: list[float]) -> str:
    cut = statistics.quantiles(times, n=20, method="inclusive")
    return f"{statistics.median(times):7.1f} {cut[18]:7.1f}"


def main() -> None:
    models, name, folder = Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3])
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    files = [path.read_bytes() for path in sorted(folder.rglob("*.*"))]
    messages, services = grpc.protos_and_services("hilum/v1/vision.proto")
    peer = Peer(models, name)
    server = ServerProcess(models=models, load=[name])
    vision = services.VisionStub(
        grpc.insecure_channel(server.grpc, options=[("grpc.max_receive_message_length", -1)])
    )

    def ours(file: bytes):
        request = messages.ClassifyRequest(
            model=name, image=file, overlay=True, overlay_max_side=SIDE, include_rejected_scores=True
        )
        return vision.Classify(request, timeout=60)

    try:
        sizes = [Image.open(io.BytesIO(file)).size for file in files]
        megapixels = statistics.mean(w * h for w, h in sizes) / 1e6
        print(f"{name}: {len(files)} files of {megapixels:.1f} megapixels on average, {rounds} rounds")
        for callers in (1, 4):
            mine, theirs, answers = [], [], []
            for _ in range(rounds):
                took, answered = timed(ours, files, callers)
                mine += took
                answers += answered
                theirs += timed(peer.answer, files, callers)[0]
            print(f"\n{callers} caller(s)        p50     p95 ms")
            print(f"hilum, whole call {quantiles(mine)}")
            for step in STEPS:
                print(f"  {step:15} {quantiles([getattr(a.timing, step) for a in answers])}")
            print(f"Python            {quantiles(theirs)}")
            ratio = statistics.median(theirs) / statistics.median(mine)
            print(f"ratio of the medians {ratio:.2f}")
    finally:
        code = server.stop()
    assert code == 0, server.story(f"exit code {code}")


if __name__ == "__main__":
    main()
