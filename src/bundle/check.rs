//! What the manifest's types cannot say: whether its parts agree with each other.
//!
//! Every problem is found at once, each beginning with the key at fault.
//! This file must never read a file.

use std::collections::BTreeSet;

use super::manifest::{Activation, Calibration, Manifest, OutputRole, OutputTensor, SCHEMA, Task};
use crate::domain::DataType;
use crate::imaging::QUALITY_STATISTICS;
use crate::imaging::recipe::Recipe;

impl Manifest {
    /// Checks what the types cannot say; returns every problem, each beginning with its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        require(self.schema == SCHEMA, "schema: this build reads 1");
        let labels: BTreeSet<&String> = self.labels.iter().collect();
        require(labels.len() == self.labels.len(), "labels: each label stands once");
        match self.task {
            Task::Binary => require(self.labels.len() == 2, "labels: task = \"binary\" has two"),
            Task::Multiclass => {
                require(self.labels.len() >= 2, "labels: task = \"multiclass\" has two or more");
            }
            Task::Segmentation => {}
        }
        let model = &self.model;
        require(is_file_name(&model.file), "model.file: a file name without a folder is expected");
        require(!model.inputs.is_empty(), "model.input: at least one is needed");
        require(!model.outputs.is_empty(), "model.output: at least one is needed");
        require(
            !self.intended_use.medical || !self.intended_use.notice.is_empty(),
            "intended_use.notice: a medical model needs one",
        );
        require(self.batching.max_batch >= 1, "batching.max_batch: at least 1");
        require(self.batching.max_run_ms >= 1, "batching.max_run_ms: at least 1");
        if let Some(baseline) = &self.baseline {
            require(is_file_name(&baseline.file), "baseline.file: a file name without a folder");
        }
        self.tensor_problems(&mut problems);
        self.decision_problems(&mut problems);
        self.role_problems(&mut problems);
        self.reject_problems(&mut problems);
        if let Some(Err(error)) = self.preprocess.as_ref().map(Recipe::check) {
            problems.push(format!("preprocess: {error}"));
        }
        problems
    }

    fn tensor_problems(&self, problems: &mut Vec<String>) {
        let model = &self.model;
        let shapes = model
            .inputs
            .iter()
            .map(|input| (&input.name, &input.shape))
            .chain(model.outputs.iter().map(|output| (&output.name, &output.shape)));
        for (name, shape) in shapes {
            if shape.iter().any(|dim| *dim == 0 || *dim < -1) {
                problems.push(format!("model: '{name}' has a dimension below 1 that is not -1"));
            }
        }
        let shown = |output: &&OutputTensor| output.role.is_public();
        let scores = model.outputs.iter().find(shown);
        let classes = scores.and_then(|output| output.shape.last().copied());
        let expected = i64::try_from(self.labels.len()).unwrap_or(i64::MAX);
        let single = self.task == Task::Binary && classes == Some(1);
        if self.task != Task::Segmentation && classes != Some(expected) && !single {
            problems.push(format!(
                "model.output: an output with role \"scores\" or \"logits\" and {expected} columns \
                 is needed, one for each label"
            ));
        }
    }

    fn decision_problems(&self, problems: &mut Vec<String>) {
        let post = &self.postprocess;
        let inside = |x: f64| (0.0..=1.0).contains(&x);
        if !inside(post.threshold) {
            problems.push("postprocess.threshold: between 0 and 1".to_owned());
        }
        if post.abstain.is_some_and(|[lo, hi]| !(inside(lo) && inside(hi) && lo <= hi)) {
            problems.push("postprocess.abstain: 0 <= lo <= hi <= 1 must hold".to_owned());
        }
        let share = |p: f64| p > 0.0 && p < 1.0;
        let shares = [("site", post.site_prevalence), ("training", post.training_prevalence)];
        for (key, _) in shares.iter().filter(|(_, p)| p.is_some_and(|p| !share(p))) {
            problems.push(format!("postprocess.{key}_prevalence: between 0 and 1"));
        }
        if post.site_prevalence.is_some() && post.training_prevalence.is_none() {
            problems.push("postprocess.site_prevalence: needs training_prevalence".to_owned());
        }
        let binary_only = post.site_prevalence.is_some()
            || matches!(post.calibration, Some(Calibration::Platt { .. }));
        if binary_only && self.task != Task::Binary {
            problems.push(
                "postprocess: kind = \"platt\" and site_prevalence are for task = \"binary\""
                    .to_owned(),
            );
        }
        let calibrated = match post.calibration {
            Some(Calibration::Temperature { temperature }) => {
                temperature.is_finite() && temperature > 0.0
            }
            Some(Calibration::Platt { a, b }) => a.is_finite() && b.is_finite(),
            None => true,
        };
        if !calibrated {
            problems.push(
                "postprocess.calibration: finite parameters, a temperature above 0".to_owned(),
            );
        }
    }

    /// What an image answer is made of: one output of each role, of the shape that the role has.
    fn role_problems(&self, problems: &mut Vec<String>) {
        let outputs = &self.model.outputs;
        for (at, output) in outputs.iter().enumerate() {
            let (name, role) = (&output.name, output.role);
            if outputs[..at].iter().any(|other| other.role == role) {
                problems.push(format!("model.output: '{name}' has the role of another output"));
            }
            let labels = i64::try_from(self.labels.len()).unwrap_or(i64::MAX);
            let fits = match (role, output.shape.as_slice()) {
                (OutputRole::Cam, [_, classes, _, _]) => *classes == labels,
                (OutputRole::Cam, _) => false,
                (OutputRole::Ood, shape) => matches!(shape, [_] | [_, 1]),
                (OutputRole::Embedding, shape) => matches!(shape, [_, _]),
                (OutputRole::Mask, shape) => matches!(shape, [_, 1, _, _]),
                (OutputRole::Scores | OutputRole::Logits, _) => true,
            };
            if !fits {
                problems.push(format!(
                    "model.output: '{name}' has another shape than its role: cam is [-1, one for \
                     each label, h, w], ood [-1] or [-1, 1], embedding [-1, d], mask [-1, 1, h, w]"
                ));
            }
        }
        let has = |role| outputs.iter().any(|output| output.role == role);
        if self.preprocess.is_none() {
            return;
        }
        let images = |shape: &[i64]| matches!(shape, [-1, _, _, _]);
        match self.model.inputs.as_slice() {
            [input] if input.dtype == DataType::Fp32 && images(&input.shape) => {}
            _ => problems.push(
                "preprocess: a recipe makes one FP32 input of four dimensions, the first of them -1"
                    .to_owned(),
            ),
        }
        if self.task == Task::Segmentation && !has(OutputRole::Mask) {
            problems.push("model.output: a segmentation has one with role \"mask\"".to_owned());
        }
        if self.task != Task::Segmentation
            && !has(OutputRole::Scores)
            && self.postprocess.activation == Activation::None
        {
            problems.push(
                "postprocess.activation: logits alone need \"softmax\" or \"sigmoid\"".to_owned(),
            );
        }
    }

    fn reject_problems(&self, problems: &mut Vec<String>) {
        let Some(reject) = &self.reject else { return };
        for gate in &reject.quality {
            let name = &gate.statistic;
            if !QUALITY_STATISTICS.contains(&name.as_str()) {
                let known = QUALITY_STATISTICS.join(", ");
                problems.push(format!("reject.quality: '{name}' is none of {known}"));
            }
            let bounds = [gate.min, gate.max];
            let finite = bounds.iter().flatten().all(|bound| bound.is_finite());
            let ordered = match bounds {
                [Some(min), Some(max)] => min <= max,
                [None, None] => false,
                _ => true,
            };
            if !(finite && ordered) {
                problems.push(format!("reject.quality: '{name}' needs min, max or min <= max"));
            }
        }
        if let Some(gate) = &reject.ood {
            if !gate.threshold.is_finite() {
                problems.push("reject.ood.threshold: a finite number".to_owned());
            }
            if !self.model.outputs.iter().any(|output| output.role == OutputRole::Ood) {
                problems.push("reject.ood: needs an output with role \"ood\"".to_owned());
            }
        }
    }
}

/// Whether a text is the name of a file in the same folder.
fn is_file_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_answer_is_made_of_is_held_to_its_role() {
        let good = include_str!("../../tests/models/spots/1/bundle.toml");
        let problems = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            let manifest: Manifest = toml::from_str(&good.replace(from, to)).unwrap();
            manifest.problems()
        };
        assert_eq!(problems("SPOTTED", "SPOTTED"), Vec::<String>::new());
        for (from, to, words) in [
            ("statistic = \"std\"", "statistic = \"rotation\"", "'rotation' is none of mean"),
            ("min = 4.0, ", "", "'std' needs min, max"),
            ("max = 2.5", "max = 0.1", "'aspect' needs min, max or min <= max"),
            ("role = \"ood\"", "role = \"embedding\"", "has the role of another output"),
            ("role = \"ood\"", "role = \"mask\"", "needs an output with role \"ood\""),
            ("[-1, 2, 8, 8]", "[-1, 1, 8, 8]", "'cam' has another shape than its role"),
            ("[-1, 1, 32, 32]", "[1, 32, 32]", "one FP32 input of four dimensions"),
            ("threshold = 0.5\nabstain", "site_prevalence = 0.1\nabstain", "training_prevalence"),
            ("{ threshold = 0.5", "{ threshold = nan", "reject.ood.threshold"),
        ] {
            let found = problems(from, to);
            let said = found.iter().any(|problem| problem.contains(words));
            assert!(said, "{from} -> {to}: {found:?}");
        }
        let several = good.replace("task = \"binary\"", "task = \"multiclass\"");
        let manifest: Manifest = toml::from_str(&several).unwrap();
        assert!(manifest.problems().iter().any(|problem| problem.contains("platt")));
        let logits = include_str!("../../tests/models/colours/1/bundle.toml");
        let logits = logits.replace("activation = \"softmax\"", "activation = \"none\"");
        let manifest: Manifest = toml::from_str(&logits).unwrap();
        assert!(manifest.problems().iter().any(|problem| problem.contains("activation")));
    }
}
