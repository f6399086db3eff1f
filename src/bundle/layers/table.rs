//! The layer table for people.
//!
//! This file must never compute: it prints what is there.

use super::{Layer, LayerTable, Totals};

impl LayerTable {
    /// A line for each layer, then the sums.
    pub fn text(&self) -> String {
        let head = ["#", "layer", "operator", "output", "parameters", "MACs", "receptive field"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.layers.iter().enumerate().map(|(at, layer)| cells(at + 1, layer)));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
        let mut lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
        lines.push(String::new());
        lines.push(format!("total: {}", sums(&self.totals)));
        if self.beside != Totals::default() {
            let beside = sums(&self.beside);
            lines.push(format!("beside the scores (layers with *): {beside}"));
        }
        lines.join("\n")
    }
}

fn line(row: &[String; 7], widths: &[usize; 7]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
        let fill = " ".repeat(width - cell.chars().count());
        // Numbers end below each other.
        if matches!(column, 0 | 4..) { fill + cell } else { cell.clone() + &fill }
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn cells(number: usize, layer: &Layer) -> [String; 7] {
    let kernel = layer.kernel.as_ref().map(|kernel| format!(" {}", joined(kernel, "×")));
    let count = |count: u64| if count == 0 { String::new() } else { grouped(count) };
    let parameters = match layer.statistics {
        0 => count(layer.parameters),
        statistics => format!("{} + {}", grouped(layer.parameters), grouped(statistics)),
    };
    [
        number.to_string(),
        format!("{}{}", layer.name, if layer.for_scores { "" } else { " *" }),
        format!("{}{}", layer.op, kernel.unwrap_or_default()),
        layer.output.as_ref().map_or_else(|| "?".to_owned(), |shape| joined(shape, " × ")),
        parameters,
        count(layer.macs),
        layer.receptive_field.to_string(),
    ]
}

/// Dimensions; n is the number of rows.
pub(super) fn joined(shape: &[i64], by: &str) -> String {
    let dims = shape.iter().map(|&dim| match dim {
        -1 => "n".to_owned(),
        ..-1 => format!("{}n", dim.unsigned_abs()),
        dim => dim.to_string(),
    });
    dims.collect::<Vec<_>>().join(by)
}

fn sums(totals: &Totals) -> String {
    let statistics = match totals.statistics {
        0 => String::new(),
        statistics => format!(" + {} running statistics", grouped(statistics)),
    };
    let (parameters, macs) = (grouped(totals.parameters), grouped(totals.macs));
    format!("{parameters} parameters{statistics}, {macs} MACs a row")
}

/// Digits in threes: 225,034.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
