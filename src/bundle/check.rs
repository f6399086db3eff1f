//! What the manifest's types cannot say: whether its parts agree with each other.
//!
//! Every problem is found at once, each beginning with the key at fault.
//! This file must never read a file.

use std::collections::BTreeSet;

use super::manifest::{Calibration, Manifest, OutputTensor, SCHEMA, Task};
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
        if post.site_prevalence.is_some_and(|p| !(p > 0.0 && p < 1.0)) {
            problems.push("postprocess.site_prevalence: between 0 and 1".to_owned());
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
}

/// Whether a text is the name of a file in the same folder.
fn is_file_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\\', '\0'])
}
