//! The table of a run, and its JSON file.

use std::path::Path;

/// One row: rates of both sides, round by round.
pub struct Row {
    pub database: String,
    pub name: String,
    /// What the ratio must reach; 0 where a row only tells.
    pub at_least: f64,
    pub ours: Vec<f64>,
    pub raw: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    /// The ratios of the rounds: both sides of a round ran under the same conditions.
    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.raw).map(|(ours, raw)| ours / raw).collect()
    }

    pub fn ratio(&self) -> f64 {
        median(&self.ratios())
    }

    pub fn print(&self) {
        let ratios = self.ratios();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        let verdict = match self.at_least {
            0.0 => String::new(),
            least if self.ratio() >= least => format!("{least:.2} ok"),
            least => format!("{least:.2} MISSED"),
        };
        println!(
            "| {:<10} | {:<44} | {:>9.0} | {:>9.0} | {:>6.2} | {low:.2}..{high:<5.2} | {verdict:<11} |",
            self.database,
            self.name,
            median(&self.ours),
            median(&self.raw),
            self.ratio(),
        );
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "database": self.database, "row": self.name, "at_least": self.at_least,
            "ratio": self.ratio(), "ours_per_s": self.ours, "raw_per_s": self.raw,
        })
    }
}

pub fn print_head() {
    println!(
        "| {:<10} | {:<44} | {:>9} | {:>9} | {:>6} | {:<11} | {:<11} |",
        "database", "row", "ours/s", "raw/s", "ratio", "spread", "at least"
    );
    println!(
        "| {:-<10} | {:-<44} | {:->8}: | {:->8}: | {:->5}: | {:-<11} | {:-<11} |",
        "", "", "", "", "", "", ""
    );
}

pub fn write_json(path: &Path, rows: &[Row]) {
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    std::fs::write(path, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
}
