"""Makes the small models of the tests: `python tests/models/make.py` (onnx 1.23, numpy).

Each lies in a bare folder, `<name>/<version>/model.onnx`, without a manifest. The files are
committed; running this again gives the same bytes.

| model | inputs -> outputs | for |
|---|---|---|
| echo_<type> | x <TYPE> [-1, -1] -> y, the same elements | each data type there and back |
| echo_bytes | x BYTES [-1, -1] -> y, the same elements | string tensors |
| two_by_two | a, b FP32 [-1, 3] -> sum, difference FP32 [-1, 3] | several inputs and outputs |
| fixed_batch | x FP32 [4, 2] -> y = 2 x | a batch that the graph fixes |
| no_batch | x FP32 [3], scale FP32 [1] -> y = x scale | no batch dimension at all |
| scores | x FP32 [-1, 5] -> y, the same elements | classification of known scores |
| slow | x FP32 [-1, 16] -> y, the same elements | a run that takes its time, whatever its rows |

`slow` multiplies matrices that do not depend on the elements of its input, so that one row costs
what eight cost, and adds 0 times the result to the input. The first matrix depends on the number of
rows, which is free in the graph: the optimiser can fold nothing.

    python tests/models/make.py --measure      (needs onnxruntime)

measures it on one thread.
"""

import sys
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
OPSET = 21
IR = 10

TYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "fp16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "fp32": TensorProto.FLOAT,
    "fp64": TensorProto.DOUBLE,
    "bytes": TensorProto.STRING,
}


def tensor(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def fp32(name, values):
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def write(name, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="tests/models/make.py",
    )
    onnx.checker.check_model(model, full_check=True)
    path = HERE / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def echoes():
    for name, kind in TYPES.items():
        write(
            f"echo_{name}",
            [helper.make_node("Identity", ["x"], ["y"])],
            [tensor("x", kind, ["n", "k"])],
            [tensor("y", kind, ["n", "k"])],
        )


def two_by_two():
    names = ("a", "b", "sum", "difference")
    a, b, total, difference = (tensor(name, TensorProto.FLOAT, ["n", 3]) for name in names)
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
    ]
    write("two_by_two", nodes, [a, b], [total, difference])


def fixed_batch():
    write(
        "fixed_batch",
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [4, 2])],
        [tensor("y", TensorProto.FLOAT, [4, 2])],
        [fp32("two", 2.0)],
    )


def no_batch():
    write(
        "no_batch",
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [3]), tensor("scale", TensorProto.FLOAT, [1])],
        [tensor("y", TensorProto.FLOAT, [3])],
    )


def scores():
    write(
        "scores",
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["n", 5])],
        [tensor("y", TensorProto.FLOAT, ["n", 5])],
    )


def slow(side=384, steps=8):
    """`steps` products of two side x side matrices: 2 side^3 steps floating-point operations."""
    nodes = [
        # The number of rows times 0, plus 1 / side in every place.
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Cast", ["rows"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["counted", "nothing"], ["still"]),
        helper.make_node("Expand", ["still", "square"], ["grown"]),
        helper.make_node("Add", ["grown", "part"], ["m0"]),
    ]
    for step in range(steps):
        nodes.append(helper.make_node("MatMul", [f"m{step}", "m0"], [f"m{step + 1}"]))
    nodes += [
        helper.make_node("ReduceMax", [f"m{steps}"], ["peak"], keepdims=1),
        helper.make_node("Mul", ["peak", "nothing"], ["silent"]),
        helper.make_node("Add", ["x", "silent"], ["y"]),
    ]
    square = numpy_helper.from_array(np.asarray([side, side], dtype=np.int64), "square")
    # Rows sum to 1, so that every product is the same matrix: nothing overflows or vanishes.
    constants = [square, fp32("nothing", 0.0), fp32("part", 1.0 / side)]
    write(
        "slow",
        nodes,
        [tensor("x", TensorProto.FLOAT, ["n", 16])],
        [tensor("y", TensorProto.FLOAT, ["n", 16])],
        constants,
    )


def measure():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = HERE / "slow" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for rows in (1, 2, 4, 8):
        x = np.random.default_rng(rows).random((rows, 16), dtype=np.float32)
        took = []
        for _ in range(100):
            begun = time.perf_counter()
            (y,) = session.run(None, {"x": x})
            took.append((time.perf_counter() - begun) * 1e3)
            assert np.array_equal(x, y)
        took.sort()
        print(f"{rows} rows: fastest {took[0]:.1f} ms, median {took[50]:.1f} ms of 100 runs")


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        sys.exit(measure())
    echoes()
    two_by_two()
    fixed_batch()
    no_batch()
    scores()
    slow()
