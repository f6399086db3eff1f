//! Answers for people: a line for each row.
//!
//! This file must never leave a row out.

use super::{Answer, Answers, Output};

/// Elements of a row that are shown of an output that is not a score for each class.
const SHOWN: usize = 10;

impl Answers {
    /// A table: file, row, the best class where the model has classes, and the elements.
    pub fn table(&self) -> String {
        let short: String = self.bundle_sha256.to_string().chars().take(12).collect();
        let mut lines = vec![format!("{} version {} ({short})", self.model, self.version)];
        for answer in &self.predictions {
            lines.push(String::new());
            self.lines_of(answer, &mut lines);
        }
        lines.join("\n")
    }

    fn lines_of(&self, answer: &Answer, lines: &mut Vec<String>) {
        let files: Vec<String> =
            answer.files.iter().map(|path| path.display().to_string()).collect();
        lines.push(files.join(", "));
        let rows = answer.outputs.iter().map(Output::rows).max().unwrap_or(0);
        for row in 0..rows {
            let cells: Vec<String> =
                answer.outputs.iter().filter_map(|output| self.cell(output, row)).collect();
            lines.push(format!("{row:>6}  {}", cells.join("  ")));
        }
    }

    fn cell(&self, output: &Output, row: usize) -> Option<String> {
        let width = output.data.len() / output.rows().max(1);
        let elements = output.data.get(row * width..(row + 1) * width)?;
        let shown: Vec<String> = elements
            .iter()
            .take(SHOWN)
            .map(|element| match element.as_f64() {
                Some(number) if element.is_f64() => format!("{number:.4}"),
                _ => element.to_string(),
            })
            .collect();
        let more = if elements.len() > SHOWN { " …" } else { "" };
        let values = format!("{}: {}{more}", output.name, shown.join(" "));
        // As many scores as there are labels: one for each class.
        let best = elements
            .iter()
            .enumerate()
            .filter_map(|(class, score)| Some((class, score.as_f64()?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|_| !self.labels.is_empty() && elements.len() == self.labels.len());
        Some(match best.and_then(|(class, score)| Some((self.labels.get(class)?, score))) {
            Some((label, score)) => format!("{label} ({score:.4})  {values}"),
            None => values,
        })
    }
}

impl Output {
    /// Its rows; a scalar is one.
    fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}
