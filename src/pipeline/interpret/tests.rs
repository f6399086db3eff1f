//! Interpretation against SciPy and against what must hold of any scores.
//!
//! This file must never repeat a formula of the code: golden.py wrote the expected values.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::imaging::{ImageStatistics, Raster};

fn manifest(task: &str, labels: usize, postprocess: &str, rest: &str) -> Manifest {
    let labels: Vec<String> = (0..labels).map(|n| format!("\"c{n}\"")).collect();
    let text = format!(
        r#"
        schema = 1
        name = "m"
        version = "1"
        task = "{task}"
        labels = [{}]
        [model]
        file = "model.onnx"
        sha256 = "{}"
        layout = "NCHW"
        precision = "fp32"
        input = [{{ name = "image", dtype = "FP32", shape = [-1, 1, 2, 2] }}]
        output = [{{ name = "y", role = "logits", dtype = "FP32", shape = [-1, {}] }},
                  {{ name = "d", role = "ood", dtype = "FP32", shape = [-1] }}]
        [intended_use]
        medical = false
        population = "none"
        [postprocess]
        {postprocess}
        {rest}
        [provenance]
        data_digest = "d"
        code_commit = "c"
        date = "2026-01-01"
        seed = 1
        "#,
        labels.join(", "),
        "0".repeat(64),
        labels.len(),
    );
    let manifest: Manifest = toml::from_str(&text).unwrap();
    assert_eq!(manifest.problems(), Vec::<String>::new(), "{postprocess}");
    manifest
}

fn quality(level: u8) -> ImageQuality {
    let raster = Raster::from_u8((4, 4), 1, vec![level; 16]).unwrap();
    let statistics = ImageStatistics::of(&raster, None, 1.0, 8);
    ImageQuality { statistics, size: (4, 4), color: Some(0.0) }
}

fn of_logits(manifest: &Manifest, logits: &[f32]) -> Interpretation {
    let outputs = RowOutputs { logits: Some(logits), ..RowOutputs::default() };
    interpret(manifest, &outputs, &quality(100))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
}

#[test]
fn binary_scores_are_scipys() {
    for case in golden()["binary"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let (a, b, t) = (number("a"), number("b"), number("t"));
        let platt = format!("calibration = {{ kind = \"platt\", a = {a}, b = {b} }}\n");
        let temperature =
            format!("calibration = {{ kind = \"temperature\", temperature = {t:?} }}\n");
        let site = format!(
            "site_prevalence = {}\ntraining_prevalence = {}\n",
            number("site"),
            number("training")
        );
        for (post, key) in [
            (String::new(), "none"),
            (platt.clone(), "platt"),
            (temperature, "temperature"),
            (platt + &site, "platt_at_site"),
            (site, "at_site"),
        ] {
            let manifest = manifest("binary", 2, &format!("activation = \"sigmoid\"\n{post}"), "");
            let z = number("z") as f32;
            // One column, or two of which only the difference counts.
            for logits in [vec![z], vec![0.0, z]] {
                let p = of_logits(&manifest, &logits).calibrated;
                assert!(close(&p, &[1.0 - number(key), number(key)]), "{key} of {case}: {p:?}");
            }
            // Without logits the score's own log odds stand in, as far as f32 has them.
            let p = sigmoid(number("z")) as f32;
            let outputs = RowOutputs { scores: Some(&[p]), ..RowOutputs::default() };
            let found = interpret(&manifest, &outputs, &quality(100)).calibrated[1];
            if number("z").abs() < 5.0 {
                assert!((found - number(key)).abs() < 1e-4, "{key} of {case}: {found}");
            }
        }
    }
}

#[test]
fn several_scores_are_scipys() {
    for case in golden()["several"].as_array().unwrap() {
        let logits: Vec<f32> = numbers(&case["logits"]).iter().map(|z| *z as f32).collect();
        let post = format!(
            "activation = \"softmax\"\ncalibration = {{ kind = \"temperature\", temperature = {:?} }}",
            case["t"].as_f64().unwrap()
        );
        let found = of_logits(&manifest("multiclass", logits.len(), &post, ""), &logits);
        assert!(close(&found.raw, &numbers(&case["raw"])), "{found:?}");
        assert!(close(&found.calibrated, &numbers(&case["calibrated"])), "{found:?}");
        let best = found.raw.iter().copied().fold(0.0, f64::max);
        assert_eq!(found.raw[found.label], best);
    }
}

#[test]
fn the_threshold_and_the_band_decide() {
    let binary =
        |post: &str| manifest("binary", 2, &format!("activation = \"sigmoid\"\n{post}"), "");
    let decided = |post: &str, p: f64| {
        let z = (log_odds(p) + 1e-6) as f32;
        let found = of_logits(&binary(post), &[z]);
        (found.decision, found.label)
    };
    assert_eq!(decided("threshold = 0.7", 0.7), (Decision::Positive, 1));
    assert_eq!(decided("threshold = 0.7", 0.69), (Decision::Negative, 0));
    let band = "threshold = 0.7\nabstain = [0.5, 0.8]";
    assert_eq!(decided(band, 0.75), (Decision::Abstain, 1));
    assert_eq!(decided(band, 0.49), (Decision::Negative, 0));
    assert_eq!(decided(band, 0.81), (Decision::Positive, 1));
    let unsure = manifest("multiclass", 3, "activation = \"softmax\"\nthreshold = 0.6", "");
    assert_eq!(of_logits(&unsure, &[1.0, 1.0, 1.0]).decision, Decision::Abstain);
    let sure = of_logits(&unsure, &[0.0, 9.0, 0.0]);
    assert_eq!((sure.decision, sure.label), (Decision::Positive, 1));
}

const GATES: &str = r#"
[reject]
quality = [
    { statistic = "mean", min = 20.0, max = 200.0, source = "a test" },
    { statistic = "width", min = 8.0, source = "a test" },
    { statistic = "color", max = 5.0, source = "a test" },
]
ood = { threshold = 2.5, source = "a test" }
"#;

#[test]
fn an_image_outside_a_gate_is_rejected_with_each_reason() {
    let manifest = manifest("binary", 2, "activation = \"sigmoid\"", GATES);
    let codes = |quality: ImageQuality, ood: Option<f32>| {
        let outputs = RowOutputs { logits: Some(&[9.0]), ood, ..RowOutputs::default() };
        let found = interpret(&manifest, &outputs, &quality);
        let expected =
            if found.rejections.is_empty() { Decision::Positive } else { Decision::Rejected };
        assert_eq!(found.decision, expected);
        found.rejections.iter().map(|warning| warning.code).collect::<Vec<_>>()
    };
    let good = ImageQuality { size: (8, 8), ..quality(100) };
    assert_eq!(codes(good, Some(2.5)), []);
    assert_eq!(codes(good, Some(2.6)), [WarningCode::OutOfDistribution]);
    assert_eq!(codes(good, Some(f32::NAN)), [WarningCode::OutOfDistribution]);
    assert_eq!(codes(good, None), [WarningCode::OutOfDistribution]);
    assert_eq!(codes(ImageQuality { size: (7, 8), ..good }, Some(0.0)), [WarningCode::TooSmall]);
    let dark = ImageQuality { size: (8, 8), color: Some(6.0), ..quality(19) };
    assert_eq!(codes(dark, Some(0.0)), [WarningCode::TooDark, WarningCode::Colored]);
    let bright = ImageQuality { size: (8, 8), ..quality(201) };
    assert_eq!(codes(bright, Some(0.0)), [WarningCode::TooBright]);
    let text = &interpret(
        &manifest,
        &RowOutputs { logits: Some(&[0.0]), ood: Some(3.0), scores: None },
        &good,
    )
    .rejections[0]
        .text;
    assert!(text.contains("distance 3.0000, at most 2.5"), "{text}");
}

#[test]
fn a_score_that_is_no_number_is_rejected() {
    let manifest = manifest("binary", 2, "activation = \"sigmoid\"", "");
    let found = of_logits(&manifest, &[f32::NAN]);
    assert_eq!(found.decision, Decision::Rejected);
    assert_eq!(found.rejections[0].code, WarningCode::ScoreNotFinite);
}

proptest! {
    #[test]
    fn calibrated_scores_are_probabilities_in_the_logits_order(
        z in -40.0_f32..40.0, other in -40.0_f32..40.0,
        a in 0.01_f64..5.0, b in -5.0_f64..5.0, site in 0.001_f64..0.999,
    ) {
        let post = format!(
            "activation = \"sigmoid\"\ncalibration = {{ kind = \"platt\", a = {a:?}, b = {b:?} }}\n\
             site_prevalence = {site:?}\ntraining_prevalence = 0.4"
        );
        let manifest = manifest("binary", 2, &post, "");
        let [one, two] = [z, other].map(|z| of_logits(&manifest, &[z]).calibrated);
        for p in [&one, &two] {
            prop_assert!((p[0] + p[1] - 1.0).abs() < 1e-12);
            prop_assert!(p.iter().all(|p| (0.0..=1.0).contains(p)));
        }
        // Far out both are 1 or 0 to the last bit.
        let ordered = if z <= other { one[1] <= two[1] } else { one[1] >= two[1] };
        prop_assert!(ordered);
    }

    #[test]
    fn temperature_keeps_the_best_of_several(
        logits in prop::collection::vec(-20.0_f32..20.0, 2..12), t in 0.05_f64..20.0,
    ) {
        let post = format!(
            "activation = \"softmax\"\ncalibration = {{ kind = \"temperature\", temperature = {t:?} }}"
        );
        let manifest = manifest("multiclass", logits.len(), &post, "");
        let found = of_logits(&manifest, &logits);
        prop_assert!((found.calibrated.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        prop_assert_eq!(logits[found.label], best);
    }
}
