"""Smaller number formats, tried and reported: fp16 weights, and static int8 of weights and activations."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from . import evaluation, metrics, model_file
from .data import Split

# fp16 weights ship where no score moves by more and a run costs no more, as far as a clock can tell.
_SCORES_WITHIN = 1e-3
_NO_SLOWER = 1.05
FP32, FP16, INT8 = "fp32", "fp16-weights", "int8-static"
_CALIBRATED_ON = 100
# As the exporter names the buffers of `heads.Distance`.
_DISTANCE = "inner.distance."
_COMPARED = 2000
_LAYERS = ("Conv", "Gemm", "MatMul")


def try_formats(
    model: Path, calibration: Split, measured: dict[str, Split], rule: evaluation.Rule, entries: list[dict],
    names: tuple[str, ...] = (FP16, INT8),
) -> dict:  # fmt: skip
    """By format what it costs and changes; the rows compared one by one are the first 2,000 of the first part measured.

    model: in fp32, or with fp16 weights where only int8 is tried, which computes the same as its weights in fp32.
    entries: `datasets` of evaluation.json, one for each part measured. `outside`: the figures of any of them, under
    the bundle's own calibration and threshold, that leave the 95 % interval of the bundle's.
    """
    rows = next(iter(measured.values())).take(slice(0, _COMPARED))
    plain = model_file.run(model, rows.images)
    intervals = {entry["name"]: entry["metrics"] for entry in entries}
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            make = {FP16: half_weights, INT8: static_int8}[name]
            path = Path(place) / f"{name}.onnx"
            try:
                make(model, path, calibration.images[:_CALIBRATED_ON])
                scores = model_file.run(path, rows.images)
            except Exception as error:  # The quantiser fails in many ways; each is a result here.
                found[name] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
                continue
            found[name] = {
                "bytes": path.stat().st_size,
                "fp32_bytes": model.stat().st_size,
                "largest_score_difference": float(np.abs(scores - plain).max()),
                "labels_flipped": int((scores.argmax(1) != plain.argmax(1)).sum()),
                "accuracy": float((scores.argmax(1) == rows.labels).mean()),
                "fp32_accuracy": float((plain.argmax(1) == rows.labels).mean()),
                "n": len(rows),
                "cpu_time_over_fp32": round(cpu_time_over(path, model, rows.images), 2),
                "outside": _outside(path, measured, rule, intervals),
            }
    return found


def choose(model: Path, images: np.ndarray) -> str:
    """The precision to ship: `model` is replaced by the same with fp16 weights where that costs neither score nor time.

    images: float32 [n, c, h, w]; the first 2,000 are compared.
    """
    images = images[:_COMPARED]
    aside = model.with_suffix(".half.onnx")
    half_weights(model, aside, images)
    moved = float(np.abs(model_file.run(aside, images) - model_file.run(model, images)).max())
    if moved <= _SCORES_WITHIN and cpu_time_over(aside, model, images) <= _NO_SLOWER:
        aside.replace(model)
        return FP16
    aside.unlink()
    return FP32


def _outside(path: Path, measured: dict[str, Split], rule: evaluation.Rule, intervals: dict[str, list]) -> list[str]:
    found = []
    for name, split in measured.items():
        values = metrics.values(evaluation.answer(path, split, rule).scored)
        for metric in intervals[name]:
            low, high = metric["interval"]
            if not low <= values[metric["name"]] <= high:
                found.append(f"{metric['name']}, {name}: {values[metric['name']]:.4f} not in {low:.4f} to {high:.4f}")
    return found


def half_weights(model: Path, path: Path, _images: np.ndarray) -> None:
    """Weights stored as fp16 and cast at load (constant folding does away with the casts), computed in fp32.

    The gate's distance keeps its own: it divides by spreads that fp16 would round to nothing.
    """
    loaded = onnx.load(model)
    graph, casts = loaded.graph, []
    for tensor in list(graph.initializer):
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256 or tensor.name.startswith(_DISTANCE):
            continue
        stored = onnx.numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_fp16")
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
        casts.append(onnx.helper.make_node("Cast", [stored.name], [tensor.name], to=onnx.TensorProto.FLOAT))
    for at, cast in enumerate(casts):
        cast.name = f"cast_{at}"
        graph.node.insert(at, cast)
    onnx.save(loaded, path)


def static_int8(model: Path, path: Path, images: np.ndarray) -> None:
    """Quantise-dequantise pairs, weights by channel, ranges from `images` (Jacob et al. 2018).

    Weights take seven bits: processors without VNNI add two products of eight bits in sixteen, which saturates, so
    that the same file would answer otherwise on them.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter(images)

        def get_next(self):
            row = next(self.rows, None)
            return None if row is None else {model_file.INPUT: row[None]}

    ready = path.with_suffix(".ready.onnx")
    quant_pre_process(model, ready, skip_symbolic_shape=True)
    # Distances and maps keep their precision: only the layers that lead to the scores are worth it.
    leading = model_file.leading_to(onnx.load(ready).graph, model_file.OUTPUT)
    layers = [node.name for node in leading if node.op_type in _LAYERS]
    quantize_static(
        ready, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
        nodes_to_quantize=layers, op_types_to_quantize=list(_LAYERS),
    )  # fmt: skip
    ready.unlink()


def cpu_time_over(path: Path, other: Path, images: np.ndarray, rows: int = 8) -> float:
    """CPU time of one batch of `rows` by the first model over the second's."""
    batch = np.ascontiguousarray(images[:rows])
    first, second = cpu_times([(path, batch), (other, batch)])
    return first / second


def cpu_times(models: list[tuple[Path, np.ndarray]], seconds: float = 8.0) -> list[float]:
    """CPU seconds that each model takes for its images float32 [n, c, h, w], one thread: the least of many runs.

    By turns, so that what else the machine does meanwhile meets all of them.
    """
    opened = [(model_file.session(path), {model_file.INPUT: images}) for path, images in models]
    best, until, rounds = [float("inf")] * len(opened), time.monotonic() + seconds, 0
    while rounds < 10 or (rounds < 500 and time.monotonic() < until):
        for at, (session, batch) in enumerate(opened):
            started = time.process_time()
            session.run(None, batch)
            best[at] = min(best[at], time.process_time() - started)
        rounds += 1
    return best
