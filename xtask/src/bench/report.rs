//! Figures with their n, as a table and as JSON.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    work: String,
    who: String,
    unit: &'static str,
    n: usize,
    p50: f64,
    p99: f64,
    max: f64,
    /// p50 divided by the p50 of the row named `floor` of the same work.
    ratio_to_floor: Option<f64>,
}

/// All rows of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    helper_target: String,
    kernel: String,
    cores: usize,
    rows: Vec<Row>,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(helper_target: &str) -> Self {
        Self {
            helper_target: helper_target.to_owned(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rows: Vec::new(),
        }
    }

    /// Adds a row from samples; nothing when there are none.
    pub(crate) fn add(&mut self, work: &str, who: &str, unit: &'static str, mut samples: Vec<f64>) {
        if samples.is_empty() {
            return;
        }
        samples.sort_by(f64::total_cmp);
        let p50 = quantile(&samples, 0.5);
        let floor = self
            .rows
            .iter()
            .find(|row| row.work == work && row.who == "floor");
        self.rows.push(Row {
            work: work.to_owned(),
            who: who.to_owned(),
            unit,
            n: samples.len(),
            p50,
            p99: quantile(&samples, 0.99),
            max: samples.last().copied().unwrap_or_default(),
            ratio_to_floor: floor.map(|floor| p50 / floor.p50),
        });
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "kernel {}, {} cores, zhylon-exec for {}\n\n{:<44} {:<12} {:>5} {:>10} {:>10} {:>10} {:<6} {:>8}\n",
            self.kernel,
            self.cores,
            self.helper_target,
            "work",
            "who",
            "n",
            "p50",
            "p99",
            "max",
            "unit",
            "x floor"
        );
        for row in &self.rows {
            let ratio = row
                .ratio_to_floor
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let _ = writeln!(
                text,
                "{:<44} {:<12} {:>5} {:>10.3} {:>10.3} {:>10.3} {:<6} {:>8}",
                row.work, row.who, row.n, row.p50, row.p99, row.max, row.unit, ratio
            );
        }
        text
    }

    /// For machines.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// Nearest rank.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn nearest_rank() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((quantile(&sorted, 0.5) - 50.0).abs() < f64::EPSILON);
        assert!((quantile(&sorted, 0.99) - 99.0).abs() < f64::EPSILON);
        assert!((quantile(&[7.0], 0.99) - 7.0).abs() < f64::EPSILON);
    }
}
