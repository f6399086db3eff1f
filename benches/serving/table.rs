//! Figures by name, one a repetition, shown as median and range.
//!
//! This file must never drop a repetition.

/// The figures.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    figures: Vec<f64>,
    digits: usize,
    aim: Option<String>,
}

/// The median; NaN of nothing.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[all.len() / 2],
        all => (all[all.len() / 2 - 1] + all[all.len() / 2]) / 2.0,
    }
}

impl Table {
    /// A figure for orientation.
    pub fn add(&mut self, name: &str, figure: f64) {
        self.put(name, figure, 1, None);
    }

    /// A ratio for orientation.
    pub fn plain(&mut self, name: &str, figure: f64) {
        self.put(name, figure, 3, None);
    }

    /// A ratio that should be at least `aim`.
    pub fn ratio(&mut self, name: &str, figure: f64, aim: f64) {
        self.put(name, figure, 3, Some(format!("≥ {aim:.2}")));
    }

    /// A cost that should be at most `aim`.
    pub fn cost(&mut self, name: &str, figure: f64, aim: f64) {
        self.put(name, figure, 1, Some(format!("≤ {aim}")));
    }

    fn put(&mut self, name: &str, figure: f64, digits: usize, aim: Option<String>) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.figures.push(figure),
            None => {
                self.rows.push(Row { name: name.to_owned(), figures: vec![figure], digits, aim });
            }
        }
    }

    /// Prints a Markdown table.
    pub fn print(mut self) {
        println!("| figure | median | least … greatest | aim |\n|---|---|---|---|");
        for Row { name, figures, digits, aim } in &mut self.rows {
            let middle = median(figures);
            let (least, most) = (figures[0], figures[figures.len() - 1]);
            let aim = aim.as_deref().unwrap_or("");
            println!("| {name} | {middle:.digits$} | {least:.digits$} … {most:.digits$} | {aim} |");
        }
    }
}
