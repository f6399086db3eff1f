//! `hilum bundle`: the layer table against ONNX Runtime and the frameworks' own summaries.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hilum::bundle::{Bundle, LayerTable, OnnxGraph, OutputRole, with_outputs};
use hilum::domain::Tensor;
use hilum::engine::{OnnxModel, OnnxOptions, OutputSet, library, run_tensors};

use crate::commands::{hilum, text};
use crate::harness::root;

/// What Keras' `count_params` or the sum over PyTorch's `parameters()` says of the networks that
/// `training/recipes` builds.
const PARAMETERS: [(&str, u64); 11] = [
    ("cifar10/1", 356_810),
    ("cifar10/2", 1_972_778),
    ("cifar10/3", 204_570),
    // 200,777 by PyTorch; each of its 14 batch norms, folded, leaves one number a channel of two.
    ("lung_field/1", 200_313),
    ("mnist/1", 225_034),
    ("mnist/2", 421_642),
    ("mnist/3", 61_706),
    // A batch norm that is folded into its convolution leaves one number a channel.
    ("mnist/4", 72_594),
    ("pneumonia/1", 7_392_578),
    ("pneumonia/2", 6_948_609),
    ("pneumonia/3", 3_371_713),
];

/// Every bundle of the repository.
fn bundles() -> Vec<(String, PathBuf)> {
    let below = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let versions = below(&root().join("models")).into_iter().flat_map(|model| below(&model));
    let named = |folder: PathBuf| {
        let parts: Vec<_> = folder.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
        (format!("{}/{}", parts[1], parts[0]), folder)
    };
    versions.map(named).collect()
}

fn table(bundle: &Bundle) -> (OnnxGraph, LayerTable) {
    let graph = OnnxGraph::read(Bytes::copy_from_slice(&bundle.model)).unwrap();
    let outputs = bundle.manifest.as_ref().unwrap().model.outputs.iter();
    let scores = outputs.filter(|output| output.role != OutputRole::Cam);
    let scores =
        scores.filter(|output| !matches!(output.role, OutputRole::Embedding | OutputRole::Ood));
    let scores: Vec<&str> = scores.map(|output| output.name.as_str()).collect();
    let table = LayerTable::of(&graph, &scores).unwrap();
    (graph, table)
}

#[test]
fn parameters_are_those_of_the_frameworks_own_summary() {
    for (name, parameters) in PARAMETERS {
        let bundle = Bundle::open_at(&root().join("models").join(name)).unwrap();
        assert_eq!(table(&bundle).1.totals.parameters, parameters, "{name}");
    }
}

#[test]
fn every_layer_has_the_shape_that_onnx_runtime_gives_it() {
    let runtime = library::load(None).unwrap();
    for (name, folder) in bundles() {
        let bundle = Bundle::open_at(&folder).unwrap();
        let (graph, table) = table(&bundle);
        let values: Vec<(&str, Option<Vec<i64>>)> = table
            .layers
            .iter()
            .map(|layer| {
                let node = graph.nodes.iter().find(|node| node.name == layer.name).unwrap();
                (node.output(), layer.output.clone())
            })
            .collect();
        assert!(values.len() > 5, "{name}");
        // A model has at most 64 outputs here, its own among them.
        for part in values.chunks(32) {
            let declared: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
            let more = part.iter().map(|(value, _)| *value).filter(|v| !declared.contains(v));
            let bytes = with_outputs(&bundle.model, &more.collect::<Vec<_>>());
            let options =
                OnnxOptions { providers: Vec::new(), intra_threads: 1, deterministic: false };
            let mut engine = OnnxModel::new(runtime.clone(), bytes.into(), options).load().unwrap();
            let signature = engine.signature().clone();
            let rows = 3;
            let input = &signature.inputs[0];
            let shape: Vec<usize> =
                input.shape.iter().map(|&d| usize::try_from(d).unwrap_or(rows)).collect();
            let size = shape.iter().product::<usize>() * input.datatype.size().unwrap();
            let input = Tensor::new(input.datatype, shape, vec![0; size].into()).unwrap();
            let all = (0..signature.outputs.len()).fold(OutputSet::default(), OutputSet::with);
            let outputs = run_tensors(&mut *engine, &[input], all).unwrap();
            for (value, shape) in part {
                let at = signature.outputs.iter().position(|spec| spec.name == *value).unwrap();
                let shape = shape.as_ref().unwrap_or_else(|| panic!("{name}: {value} is unknown"));
                let expected: Vec<usize> =
                    shape
                        .iter()
                        .map(|&dim| {
                            if dim < 0 { rows * dim.unsigned_abs() as usize } else { dim as usize }
                        })
                        .collect();
                assert_eq!(outputs[at].shape, expected, "{name}: {value}");
            }
        }
    }
}

#[test]
fn the_command_describes_checks_and_names_what_is_wrong() {
    let described = text(&hilum(&["bundle", "describe", "models/mnist/1"]));
    assert!(described.contains("total: 225,034 parameters, 2,631,040 MACs a row"), "{described}");
    let json = hilum(&["bundle", "describe", "models/mnist/1", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["layers"][4]["output"], serde_json::json!([-1, 64, 11, 11]));
    assert_eq!(json["layers"][4]["receptive_field"], serde_json::json!([8.0, 8.0]));
    assert_eq!(json["layers"][9]["receptive_field"], "all");
    let checked = hilum(&["bundle", "check", "models/mnist/1"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    let bundle = Bundle::open_at(&root().join("models/mnist/1")).unwrap();
    let digest = text(&hilum(&["bundle", "digest", "models/mnist/1"]));
    assert_eq!(digest.trim(), bundle.digest.to_string());

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken/1");
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join("model.onnx"), "no model").unwrap();
    let path = broken.display().to_string();
    for (arguments, code, words) in [
        (["bundle", "check", path.as_str()], 3, "no ONNX model"),
        (["bundle", "check", "models/mnist"], 3, "ends with <name>/<version>"),
        (["bundle", "digest", "models/mnist/99"], 3, "models/mnist/99"),
    ] {
        let output = hilum(&arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(words), "{}", text(&output));
    }
}
