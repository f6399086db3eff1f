//! Answers about images for people and for spreadsheets: a line for each file.
//!
//! This file must never leave a file out, nor the notice.

use super::images::{ImageAnswer, ImageAnswers, ImageOutcome};

impl ImageAnswers {
    /// A table: decision, label and score, file, warnings.
    pub fn table(&self) -> String {
        let short: String = self.bundle_sha256.to_string().chars().take(12).collect();
        let mut lines = vec![format!("{} version {} ({short})", self.model, self.version)];
        if !self.notice.is_empty() {
            lines.push(self.notice.clone());
        }
        lines.push(String::new());
        let width = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(5);
        for ImageAnswer { file, outcome } in &self.images {
            let file = file.display();
            lines.push(match outcome {
                ImageOutcome::Failed { error } => format!("failed    {file}: {error}"),
                ImageOutcome::Answered { decision, label, scores, warnings, .. } => {
                    let label = label.as_deref().unwrap_or("-");
                    let score = scores.iter().find(|score| score.label == label);
                    let score =
                        score.map_or("     -".to_owned(), |s| format!("{:.4}", s.calibrated));
                    let codes: Vec<&str> =
                        warnings.iter().map(|warning| warning.code.name()).collect();
                    let codes = if codes.is_empty() {
                        String::new()
                    } else {
                        format!("  [{}]", codes.join(", "))
                    };
                    format!("{decision:8}  {label:width$}  {score}  {file}{codes}")
                }
            });
        }
        if self.passed_over > 0 {
            lines.push(format!("\n{} files are no images and were passed over", self.passed_over));
        }
        lines.join("\n")
    }

    /// Comma-separated values (RFC 4180) with a head: file, decision, label, each class's scores,
    /// warnings, overlay, error, model, version, notice.
    ///
    /// # Errors
    /// What the writer says.
    pub fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let words = ["file", "decision", "label"].map(str::to_owned);
        let of_class = |label: &String| [format!("raw {label}"), format!("calibrated {label}")];
        let rest =
            ["warnings", "overlay", "error", "model", "version", "notice"].map(str::to_owned);
        let classes = self.labels.iter().flat_map(of_class);
        writer.write_record(words.into_iter().chain(classes).chain(rest))?;
        for ImageAnswer { file, outcome } in &self.images {
            let mut record = vec![file.display().to_string()];
            let (words, scores, tail) = match outcome {
                ImageOutcome::Failed { error } => (
                    ["failed".to_owned(), String::new()],
                    None,
                    [String::new(), String::new(), error.clone()],
                ),
                ImageOutcome::Answered { decision, label, scores, warnings, overlay } => {
                    let codes: Vec<&str> =
                        warnings.iter().map(|warning| warning.code.name()).collect();
                    let overlay = overlay.as_ref().map(|path| path.display().to_string());
                    let words = [(*decision).to_owned(), label.clone().unwrap_or_default()];
                    (
                        words,
                        Some(scores),
                        [codes.join(" "), overlay.unwrap_or_default(), String::new()],
                    )
                }
            };
            record.extend(words);
            for label in &self.labels {
                let found = scores.and_then(|scores| scores.iter().find(|s| s.label == *label));
                record.push(found.map(|score| score.raw.to_string()).unwrap_or_default());
                record.push(found.map(|score| score.calibrated.to_string()).unwrap_or_default());
            }
            record.extend(tail);
            record.extend([self.model.to_string(), self.version.to_string(), self.notice.clone()]);
            writer.write_record(record)?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
