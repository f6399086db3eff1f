"""Times whole `Classify` calls with overlay on full-resolution originals, against the same in Python.

    cargo build --release
    HILUM_BIN=target/release/hilum python tests/clients/time_images.py MODELS NAME FOLDER [ROUNDS]

Each side answers every file of FOLDER ROUNDS times (3), with 1 and with 4 callers, in turns so that a busy
machine slows both. Python's side is a thread for each caller over Pillow, NumPy and onnxruntime (which
leave the interpreter's lock while they work): decode, recipe, run, map to the picture's size, colours,
PNG. It is timed with onnxruntime's own choice of threads and with one thread a run. Both sides paint pictures
of 1024 pixels on the longer side. Milliseconds, p50 and p95, of the whole and of each step.
"""

import io
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from PIL import Image
from server_process import ServerProcess

sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
SIDE = 1024
STEPS = ("decode_ms", "queue_ms", "infer_ms", "interpret_ms", "explain_ms", "total_ms")
CALLERS = (1, 4)


def colours() -> np.ndarray:
    """256 levels from dark blue to yellow, [256, 3]: the cost of a colour map, not its beauty."""
    x = np.linspace(0, 1, 256)[:, None]
    dark, bright = np.array([[13, 8, 135]]), np.array([[240, 249, 33]])
    return (dark + (bright - dark) * x).astype(np.float32)


class Peer:
    """The recipe by Pillow and NumPy, the network by onnxruntime on `threads` (0: its own choice), the overlay."""

    def __init__(self, models: Path, name: str, threads: int) -> None:
        import test_images

        test_images.MODELS, test_images.NAME = models, name
        self.peer = test_images.Peer()
        version = self.peer.manifest["version"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = models / name / version / self.peer.manifest["model"]["file"]
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # What is needed for the answer and its map, as Hilum asks for it.
        roles = ("scores", "logits", "cam", "ood")
        self.names = [out["name"] for out in self.peer.manifest["model"]["output"] if out["role"] in roles]
        self.square = any(step["op"] == "crop" for step in self.peer.manifest["preprocess"]["step"])
        self.palette = colours()

    def answer(self, file: bytes) -> dict[str, float]:
        """Milliseconds of each step."""
        marks = [time.perf_counter()]
        entry = self.peer.manifest["model"]["input"][0]["name"]
        image = Image.open(io.BytesIO(file)).convert("L")
        tensor = self.peer.tensor(image)
        marks.append(time.perf_counter())
        outputs = dict(zip(self.names, self.session.run(self.names, {entry: tensor}), strict=True))
        marks.append(time.perf_counter())
        self.painted(image, outputs["cam"][0, -1])
        marks.append(time.perf_counter())
        names = ("decode_ms", "infer_ms", "explain_ms")
        took = {name: (marks[at + 1] - marks[at]) * 1e3 for at, name in enumerate(names)}
        return took | {"total_ms": (marks[-1] - marks[0]) * 1e3}

    def painted(self, image: Image.Image, cam: np.ndarray) -> bytes:
        """The map over the image, a PNG file."""
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
    peers = {"Python": Peer(models, name, 0), "Python, one thread a run": Peer(models, name, 1)}
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
        # What is done once only (memory, caches, threads) is no part of a round.
        for work in (ours, *(peer.answer for peer in peers.values())):
            timed(work, files[:8], max(CALLERS))
        for callers in CALLERS:
            mine, answers = [], []
            theirs, steps = {peer: [] for peer in peers}, {peer: [] for peer in peers}
            for _ in range(rounds):
                took, answered = timed(ours, files, callers)
                mine += took
                answers += answered
                for peer in peers:
                    took, answered = timed(peers[peer].answer, files, callers)
                    theirs[peer] += took
                    steps[peer] += answered
            print(f"\n{callers} caller(s)                p50     p95 ms")
            print(f"{'hilum, whole call':24} {quantiles(mine)}")
            for step in STEPS:
                print(f"  {step:22} {quantiles([getattr(a.timing, step) for a in answers])}")
            for peer in peers:
                print(f"{peer:24} {quantiles(theirs[peer])}")
                for step in STEPS:
                    if step in steps[peer][0]:
                        print(f"  {step:22} {quantiles([took[step] for took in steps[peer]])}")
                ratio = statistics.median(theirs[peer]) / statistics.median(mine)
                print(f"  ratio of the medians   {ratio:7.2f}")
    finally:
        code = server.stop()
    assert code == 0, server.story(f"exit code {code}")


if __name__ == "__main__":
    main()
