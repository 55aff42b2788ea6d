//! Figures with their n, as a table and as JSON, and whether each bar held.

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
    rounds: usize,
    p50: f64,
    p99: f64,
    max: f64,
    /// Median over the rounds of this row's p50 divided by the floor's p50 of the same round.
    ratio_to_floor: Option<f64>,
    /// The same, to the floor that takes our steps.
    ratio_to_steps: Option<f64>,
    #[serde(skip)]
    p50_of_rounds: Vec<f64>,
}

/// Who [`Limit::TimesSteps`] is about, as the table names it.
pub(crate) const STEPS: &str = "steps";

/// What a figure must not exceed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// So many times the floor.
    Times(f64),
    /// So many times the floor that takes our steps.
    TimesSteps(f64),
    /// The floor and so much more, in the row's unit.
    FloorPlus(f64),
    /// So much, in the row's unit.
    Most(f64),
}

/// Which figure of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    /// The median; against the floor, the median ratio of the rounds.
    P50,
    /// The 99th percentile of all samples.
    P99,
}

/// A bar and how the figure stands to it.
#[derive(Debug, Serialize)]
struct Verdict {
    work: String,
    bar: String,
    measured: f64,
    holds: bool,
}

/// All rows of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    helper_target: String,
    kernel: String,
    cores: usize,
    rows: Vec<Row>,
    bars: Vec<Verdict>,
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
            bars: Vec::new(),
        }
    }

    /// Adds a row from samples of one round; nothing when there are none.
    pub(crate) fn add(&mut self, work: &str, who: &str, unit: &'static str, samples: Vec<f64>) {
        self.add_rounds(work, who, unit, vec![samples]);
    }

    /// Adds a row from samples round by round; nothing when there are none. The floors of a work come first.
    pub(crate) fn add_rounds(
        &mut self,
        work: &str,
        who: &str,
        unit: &'static str,
        rounds: Vec<Vec<f64>>,
    ) {
        let p50_of_rounds: Vec<f64> = rounds
            .iter()
            .filter(|samples| !samples.is_empty())
            .map(|samples| quantile(&sorted(samples.clone()), 0.5))
            .collect();
        let samples = sorted(rounds.into_iter().flatten().collect());
        if samples.is_empty() {
            return;
        }
        let p50 = quantile(&samples, 0.5);
        let ratio_to = |who| {
            let floor = self.row(work, who)?;
            // A floor that takes nothing has no multiples.
            Some(ratio(&p50_of_rounds, &floor.p50_of_rounds)).filter(|ratio| ratio.is_finite())
        };
        let (ratio_to_floor, ratio_to_steps) = (ratio_to("floor"), ratio_to(STEPS));
        self.rows.push(Row {
            work: work.to_owned(),
            who: who.to_owned(),
            unit,
            n: samples.len(),
            rounds: p50_of_rounds.len(),
            p50,
            p99: quantile(&samples, 0.99),
            max: samples.last().copied().unwrap_or_default(),
            ratio_to_floor,
            ratio_to_steps,
            p50_of_rounds,
        });
    }

    /// Holds our row of this work against a bar. Nothing when it was not measured.
    pub(crate) fn bar(&mut self, work: &str, figure: Figure, limit: Limit) {
        let Some(ours) = self.row(work, "ours") else {
            return;
        };
        let (name_of_floor, paired) = match limit {
            Limit::TimesSteps(_) => (STEPS, ours.ratio_to_steps),
            _ => ("floor", ours.ratio_to_floor),
        };
        let floor = self.row(work, name_of_floor);
        let (name, value, floor) = match figure {
            Figure::P50 => ("p50", ours.p50, floor.map(|row| row.p50)),
            Figure::P99 => ("p99", ours.p99, floor.map(|row| row.p99)),
        };
        let unit = ours.unit;
        let (bar, measured, most) = match (limit, floor) {
            (Limit::Most(most), _) => (format!("{name} <= {most} {unit}"), value, most),
            (_, None) => return,
            (Limit::Times(times) | Limit::TimesSteps(times), Some(floor)) => {
                let paired = paired.filter(|_| matches!(figure, Figure::P50));
                let measured = paired.unwrap_or(value / floor);
                let bar = format!("{name} <= {times:.2} x {name_of_floor}");
                (bar, measured, times)
            }
            (Limit::FloorPlus(more), Some(floor)) => {
                let bar = format!("{name} <= floor + {more} {unit}");
                (bar, value - floor, more)
            }
        };
        self.bars.push(Verdict {
            work: work.to_owned(),
            bar,
            measured,
            holds: measured <= most,
        });
    }

    fn row(&self, work: &str, who: &str) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.work == work && row.who == who)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "kernel {}, {} cores, zhylon-exec for {}; load generator and measured programs not pinned\n\n\
             {:<48} {:<12} {:>5} {:>6} {:>10} {:>10} {:>10} {:<6} {:>8} {:>8}\n",
            self.kernel,
            self.cores,
            self.helper_target,
            "work",
            "who",
            "n",
            "rounds",
            "p50",
            "p99",
            "max",
            "unit",
            "x floor",
            "x steps"
        );
        for row in &self.rows {
            let text_of =
                |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let _ = writeln!(
                text,
                "{:<48} {:<12} {:>5} {:>6} {:>10.3} {:>10.3} {:>10.3} {:<6} {:>8} {:>8}",
                row.work,
                row.who,
                row.n,
                row.rounds,
                row.p50,
                row.p99,
                row.max,
                row.unit,
                text_of(row.ratio_to_floor),
                text_of(row.ratio_to_steps)
            );
        }
        if !self.bars.is_empty() {
            let _ = writeln!(text, "\n{:<48} {:<26} {:>10}", "bar of", "bar", "measured");
        }
        for bar in &self.bars {
            let holds = if bar.holds { "holds" } else { "MISSED" };
            let _ = writeln!(
                text,
                "{:<48} {:<26} {:>10.3} {holds}",
                bar.work, bar.bar, bar.measured
            );
        }
        text
    }

    /// For machines.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// Median ratio of what was measured in the same round; of the medians where the rounds are not the same ones.
fn ratio(ours: &[f64], floor: &[f64]) -> f64 {
    let median = |values: &[f64]| quantile(&sorted(values.to_vec()), 0.5);
    if ours.len() == floor.len() {
        let pairs = ours.iter().zip(floor).map(|(ours, floor)| ours / floor);
        return median(&pairs.collect::<Vec<_>>());
    }
    median(ours) / median(floor)
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    samples
}

/// Nearest rank.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((quantile(&sorted, 0.5) - 50.0).abs() < f64::EPSILON);
        assert!((quantile(&sorted, 0.99) - 99.0).abs() < f64::EPSILON);
        assert!((quantile(&[7.0], 0.99) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_slow_round_of_both_is_no_ratio() {
        let mut report = Report::new("none");
        report.add_rounds("w", "floor", "ms", vec![vec![1.0], vec![10.0], vec![2.0]]);
        report.add_rounds("w", "ours", "ms", vec![vec![2.0], vec![20.0], vec![4.0]]);
        report.bar("w", Figure::P50, Limit::Times(2.0));
        report.bar("w", Figure::P50, Limit::Times(1.9));
        report.bar("w", Figure::P99, Limit::FloorPlus(9.0));
        report.bar("w", Figure::P99, Limit::Most(20.0));
        report.add_rounds("s", STEPS, "ms", vec![vec![2.0]]);
        report.add_rounds("s", "ours", "ms", vec![vec![3.0]]);
        report.bar("s", Figure::P50, Limit::TimesSteps(1.5));
        report.bar("s", Figure::P50, Limit::TimesSteps(1.4));
        report.bar("s", Figure::P50, Limit::Times(9.0));
        report.bar("not measured", Figure::P50, Limit::Most(0.0));
        let held: Vec<bool> = report.bars.iter().map(|bar| bar.holds).collect();
        assert_eq!(held, [true, false, false, true, true, false]);
    }
}
