"""Makes the small image bundles of the tests: `python tests/models/make_images.py` (onnx 1.23, numpy,
onnxruntime for the goldens).

Each is a whole bundle, `<name>/<version>/` with a manifest, a recipe and goldens. The networks are
so small that their answers can be worked out by hand:

| bundle | from an image to | for |
|---|---|---|
| spots | how much of the image is bright: a binary score, map, embedding, distance; gates | everything |
| colours | which of red, green and blue it is: logits alone, with a map | several classes, RGB |
| plain | one column of scores, nothing else | a model that cannot explain itself |
| lungs | a mask of what is bright | segmentation |
| cropped | `spots`, cropped to what `lungs` finds | a crop by another bundle |

The heads are a global average pool and one dense layer, so that Grad-CAM++ has its closed form:
map = relu(sum_k relu(w_k) / (2 + relu(w_k) mean(A_k)) A_k) for features A >= 0.
"""

import hashlib
import json

import numpy as np
import onnx
from make import HERE, IR, OPSET, fp32, tensor
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def ints(name, values):
    return numpy_helper.from_array(np.asarray(values, dtype=np.int64), name)


def model_bytes(name, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="tests/models/make_images.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def cam_nodes(grid, classes):
    """`features` [n, k, grid, grid], `gap` [n, k] and `class_weights` [classes, k] -> `cam`."""
    return [
        helper.make_node("Relu", ["class_weights"], ["positive"]),
        helper.make_node("Unsqueeze", ["gap", "one"], ["gap_row"]),
        helper.make_node("Mul", ["gap_row", "positive"], ["steep"]),
        helper.make_node("Add", ["steep", "two"], ["denominator"]),
        helper.make_node("Div", ["positive", "denominator"], ["alpha"]),
        helper.make_node("Reshape", ["features", "flat"], ["flat_features"]),
        helper.make_node("MatMul", ["alpha", "flat_features"], ["flat_cam"]),
        helper.make_node("Reshape", ["flat_cam", "cam_shape"], ["signed_cam"]),
        helper.make_node("Relu", ["signed_cam"], ["cam"]),
    ], [
        ints("one", [1]),
        fp32("two", 2.0),
        ints("flat", [0, 0, grid * grid]),
        ints("cam_shape", [0, classes, grid, grid]),
    ]


def spots():
    """Bright and dark features of an 8 x 8 grid; logit = 12 mean(bright) - mean(dark) - 1."""
    cam, constants = cam_nodes(8, 2)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["pooled", "filters", "offsets"], ["signed"]),
        helper.make_node("Relu", ["signed"], ["features"]),
        helper.make_node("ReduceMean", ["features", "space"], ["gap"], keepdims=0),
        helper.make_node("MatMul", ["gap", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["score"]),
        helper.make_node("Sub", ["unit", "score"], ["other"]),
        helper.make_node("Concat", ["other", "score"], ["probabilities"], axis=1),
        *cam,
        helper.make_node("ReduceMean", ["pooled", "rows"], ["embedding"], keepdims=0),
        helper.make_node("Sub", ["pooled", "usual"], ["off"]),
        helper.make_node("Abs", ["off"], ["distance"]),
        helper.make_node("ReduceMean", ["distance", "everything"], ["ood"], keepdims=0),
    ]
    constants += [
        fp32("filters", np.array([2.0, -2.0]).reshape(2, 1, 1, 1)),
        fp32("offsets", [-1.0, 1.0]),
        ints("space", [2, 3]),
        fp32("weights", [[12.0], [-1.0]]),
        fp32("bias", [-1.0]),
        fp32("unit", 1.0),
        fp32("class_weights", [[-12.0, 1.0], [12.0, -1.0]]),
        ints("rows", [1, 2]),
        fp32("usual", 0.35),
        ints("everything", [1, 2, 3]),
    ]
    outputs = [
        ("probabilities", "scores", [-1, 2]),
        ("logits", "logits", [-1, 1]),
        ("cam", "cam", [-1, 2, 8, 8]),
        ("embedding", "embedding", [-1, 8]),
        ("ood", "ood", [-1]),
    ]
    return nodes, constants, [-1, 1, 32, 32], outputs


def colours():
    """Mean red, green and blue over a 4 x 4 grid; logits = 6 times each."""
    cam, constants = cam_nodes(4, 3)
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["features"], kernel_shape=[4, 4], strides=[4, 4]
        ),
        helper.make_node("ReduceMean", ["features", "space"], ["gap"], keepdims=0),
        helper.make_node("MatMul", ["gap", "weights"], ["logits"]),
        *cam,
    ]
    constants += [
        ints("space", [2, 3]),
        fp32("weights", 6.0 * np.eye(3)),
        fp32("class_weights", 6.0 * np.eye(3)),
    ]
    outputs = [("logits", "logits", [-1, 3]), ("cam", "cam", [-1, 3, 4, 4])]
    return nodes, constants, [-1, 3, 16, 16], outputs


def plain():
    """The mean of the image, as a score."""
    nodes = [
        helper.make_node("ReduceMean", ["image", "space"], ["mean"], keepdims=0),
        helper.make_node("Identity", ["mean"], ["probabilities"]),
    ]
    outputs = [("probabilities", "scores", [-1, 1])]
    return nodes, [ints("space", [2, 3])], [-1, 1, 8, 8], outputs


def lungs():
    """What is bright."""
    nodes = [
        helper.make_node("Sub", ["image", "half"], ["signed"]),
        helper.make_node("Mul", ["signed", "steep"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["mask"]),
    ]
    constants = [fp32("half", 0.5), fp32("steep", 40.0)]
    return nodes, constants, [-1, 1, 16, 16], [("mask", "mask", [-1, 1, 16, 16])]


GRAY = '{ op = "decode", color = "gray" }'
VOI = '{ op = "voi" }'
SQUARE = '{ op = "crop", region = { kind = "center_square" } }'
LUNGS = (
    '{ op = "crop", region = { kind = "lung_field", bundle = "lungs/1", fallback = "mirror" } }'
)
END = ['{ op = "quantise8" }', '{ op = "scale", factor = 0.00392156862745098 }']


def resize(side):
    return f'{{ op = "resize", width = {side}, height = {side}, filter = "bilinear_antialias" }}'


NOTICE = "Not for primary diagnosis – physician must verify"
GATES = """
[reject]
quality = [
    { statistic = "mean", min = 8.0, source = "by hand" },
    { statistic = "std", min = 4.0, source = "by hand" },
    { statistic = "width", min = 16.0, source = "by hand" },
    { statistic = "height", min = 16.0, source = "by hand" },
    { statistic = "aspect", min = 0.4, max = 2.5, source = "by hand" },
    { statistic = "color", max = 12.0, source = "by hand" },
]
ood = { threshold = 0.5, source = "by hand" }
"""
SPOTS_POST = """calibration = { kind = "platt", a = 0.8, b = -0.2 }
threshold = 0.5
abstain = [0.4, 0.45]"""

BUNDLES = {
    # name: (graph, task, labels, recipe, activation and decision, gates, medical)
    "spots": (
        spots,
        "binary",
        ["CLEAR", "SPOTTED"],
        [GRAY, VOI, SQUARE, resize(32), *END],
        'activation = "none"\n' + SPOTS_POST,
        GATES,
        True,
    ),
    "colours": (
        colours,
        "multiclass",
        ["red", "green", "blue"],
        ['{ op = "decode", color = "rgb" }', resize(16), *END],
        'activation = "softmax"\n'
        'calibration = { kind = "temperature", temperature = 2.0 }\n'
        "threshold = 0.5",
        "",
        False,
    ),
    "plain": (
        plain,
        "binary",
        ["dark", "bright"],
        [GRAY, resize(8), *END],
        'activation = "none"',
        "",
        False,
    ),
    "lungs": (
        lungs,
        "segmentation",
        [],
        [GRAY, VOI, resize(16), *END],
        'activation = "none"',
        "",
        False,
    ),
    "cropped": (
        spots,
        "binary",
        ["CLEAR", "SPOTTED"],
        [GRAY, VOI, LUNGS, resize(32), *END],
        'activation = "none"\n' + SPOTS_POST,
        "",
        True,
    ),
}


def manifest(name, digest, shape, outputs, declared):
    _, task, labels, steps, postprocess, gates, medical = declared
    tensors = "\n".join(
        f'[[model.output]]\nname = "{output}"\nrole = "{role}"\ndtype = "FP32"\nshape = {dims}\n'
        for output, role, dims in outputs
    )
    recipe = "\n".join(f"    {step}," for step in steps)
    return f"""schema = 1
name = "{name}"
version = "1"
task = "{task}"
labels = {json.dumps(labels)}

[model]
file = "model.onnx"
sha256 = "{digest}"
layout = "NCHW"
precision = "fp32"

[[model.input]]
name = "image"
dtype = "FP32"
shape = {shape}

{tensors}
[preprocess]
step = [
{recipe}
]

[intended_use]
medical = {str(medical).lower()}
notice = "{NOTICE if medical else ""}"
population = "Images that the tests draw"
views = []

[postprocess]
{postprocess}
{gates}
[batching]
max_batch = 16
instances = 1
intra_threads = 1

[provenance]
data_digest = "none: made by hand"
code_commit = "none: made by hand"
date = "2026-11-24"
seed = 0
framework = "tests/models/make_images.py"
"""


def goldens(model, shape, outputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    image = np.round(rng.random([1, *shape[1:]]), 3).astype(np.float32)
    names = [name for name, _, _ in outputs]
    answers = session.run(names, {"image": image})

    def entry(name, array):
        data = [float(np.round(x, 7)) for x in array.ravel()]
        return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": data}

    case = {
        "name": "one random image",
        "inputs": [entry("image", image)],
        "outputs": [entry(name, array) for name, array in zip(names, answers, strict=True)],
        "tolerance": {"absolute": 1e-5, "relative": 1e-5},
    }
    made_by = "python tests/models/make_images.py"
    return json.dumps({"schema": 1, "made_by": made_by, "cases": [case]}) + "\n"


def main():
    for name, declared in BUNDLES.items():
        nodes, constants, shape, outputs = declared[0]()
        free = ["n", *shape[1:]]
        model = model_bytes(
            name,
            nodes,
            [tensor("image", FLOAT, free)],
            [tensor(output, FLOAT, ["n", *dims[1:]]) for output, _, dims in outputs],
            constants,
        )
        digest = hashlib.sha256(model).hexdigest()
        files = {
            "bundle.toml": manifest(name, digest, shape, outputs, declared).encode(),
            "goldens.json": goldens(model, shape, outputs).encode(),
            "model.onnx": model,
        }
        sums = "".join(
            f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in files.items()
        )
        folder = HERE / name / "1"
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in {**files, "SHA256SUMS": sums.encode()}.items():
            (folder / file).write_bytes(content)
        (HERE / name / "model.toml").write_text('default_version = "1"\n')


if __name__ == "__main__":
    main()
