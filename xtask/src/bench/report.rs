//! The samples of a run, and the table that they become: medians with their spread, ratio, goal, reached or not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Options;
use super::broker::Kind;
use super::kafka;
use super::machine;
use super::rows::{ROWS, Row};

/// Above this many cores used by others during a sample, the row is marked.
const NEIGHBOURS_MAX: f64 = 0.2;

#[derive(Debug, Default)]
struct Samples {
    kafka: Vec<f64>,
    ottla: Vec<f64>,
    /// Cores that other processes used during each sample.
    others: Vec<f64>,
}

impl Samples {
    fn of(&self, kind: Kind) -> &[f64] {
        match kind {
            Kind::Kafka => &self.kafka,
            Kind::Ottla => &self.ottla,
        }
    }

    fn disturbed(&self) -> bool {
        median(&self.others).is_some_and(|others| others > NEIGHBOURS_MAX)
    }
}

#[derive(Debug)]
pub struct Report {
    machine: String,
    quick: bool,
    only: Option<String>,
    samples: BTreeMap<&'static str, Samples>,
}

impl Report {
    pub fn new(options: &Options) -> Report {
        let report = Report {
            machine: machine::description(),
            quick: options.quick,
            only: options.only.clone(),
            samples: BTreeMap::new(),
        };
        println!("on {}", report.machine);
        report
    }

    /// Adds a sample and prints it, so that a long run shows that it lives.
    pub fn add(&mut self, name: &'static str, kind: Kind, value: f64) {
        let unit = ROWS.iter().find(|row| row.name == name).map_or("", |row| row.unit);
        println!("  {name:14} {:13} {} {unit}", kind.name(), number(value));
        let samples = self.samples.entry(name).or_default();
        match kind {
            Kind::Kafka => samples.kafka.push(value),
            Kind::Ottla => samples.ottla.push(value),
        }
    }

    /// Remembers how many cores others used during a sample of the row.
    pub fn neighbours(&mut self, name: &'static str, cores: f64) {
        self.samples.entry(name).or_default().others.push(cores);
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| self.only.as_deref().is_none_or(|only| row.name.starts_with(only)))
    }

    fn medians(&self, row: &Row) -> (Option<f64>, Option<f64>) {
        let samples = self.samples.get(row.name);
        (samples.and_then(|s| median(&s.kafka)), samples.and_then(|s| median(&s.ottla)))
    }

    fn table(&self) -> String {
        let peer = format!("Apache Kafka {}", kafka::VERSION);
        let mut lines = vec![["what", "unit", &peer, "Ottla", "ratio", "goal", "reached"].map(String::from)];
        let (mut reached, mut judged) = (0, 0);
        for row in self.rows() {
            let (kafka, ottla) = self.medians(row);
            let ratio = kafka.zip(ottla).map_or("–".into(), |(k, o)| format!("{:.2}×", o / k));
            let verdict = row.goal.reached(kafka, ottla);
            judged += usize::from(verdict.is_some());
            reached += usize::from(verdict == Some(true));
            let cell = |kind| self.samples.get(row.name).map_or("–".into(), |s| spread(s.of(kind)));
            let mark = if self.samples.get(row.name).is_some_and(Samples::disturbed) { " *" } else { "" };
            lines.push([
                format!("{}{mark}", row.title),
                row.unit.into(),
                cell(Kind::Kafka),
                cell(Kind::Ottla),
                ratio,
                row.goal.text(row.unit),
                verdict.map_or("–", |yes| if yes { "yes" } else { "NO" }).into(),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        let draw = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let pad = |(text, width): (&String, &usize)| format!("{text}{}", " ".repeat(width - text.chars().count()));
        let mut out = String::new();
        for (i, line) in lines.iter().enumerate() {
            out += &draw(line.iter().zip(&widths).map(pad).collect());
            if i == 0 {
                out += &draw(widths.iter().map(|w| "-".repeat(*w)).collect());
            }
        }
        out += &format!(
            "\n{reached} of {judged} goals reached. Each value is the median of its runs, with the lowest and the highest.\n"
        );
        if self.samples.values().any(Samples::disturbed) {
            out += "* other processes used more than 0.2 cores during these runs; measure again on a quiet machine.\n";
        }
        out
    }

    pub fn print(&self) {
        println!("\n{}, {}\n\n{}", self.machine, if self.quick { "quick run" } else { "full run" }, self.table());
    }

    /// Writes latest.md and latest.json.
    ///
    /// # Errors
    /// A sentence, when the folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("cannot write {}: {e}", dir.display());
        fs::create_dir_all(dir).map_err(failed)?;
        let head = format!("# Ottla beside Apache Kafka {}\n\n{}\n\n", kafka::VERSION, self.machine);
        fs::write(dir.join("latest.md"), head + &self.table()).map_err(failed)?;
        let rows: Vec<Value> = self
            .rows()
            .map(|row| {
                let (kafka, ottla) = self.medians(row);
                let samples = self.samples.get(row.name);
                json!({
                    "name": row.name, "title": row.title, "unit": row.unit, "goal": row.goal.text(row.unit),
                    "kafka": kafka, "ottla": ottla, "reached": row.goal.reached(kafka, ottla),
                    "kafka_samples": samples.map(|s| &s.kafka), "ottla_samples": samples.map(|s| &s.ottla),
                    "other_cores": samples.map(|s| &s.others),
                })
            })
            .collect();
        let all = json!({ "machine": self.machine, "quick": self.quick, "peer": kafka::VERSION, "rows": rows });
        fs::write(dir.join("latest.json"), format!("{all:#}\n")).map_err(failed)?;
        println!("written to {}", dir.join("latest.md").display());
        Ok(())
    }
}

/// The middle value, the mean of the two middle ones of an even count; None without samples.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// "1.21 (1.10–1.40)", or the value alone when there is one.
fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "–".into() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 { number(middle) } else { format!("{} ({}–{})", number(middle), number(low), number(high)) }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, f64::NAN, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_spread_names_both_ends() {
        assert_eq!(spread(&[1.0, 2.0, 4.0]), "2.00 (1.00–4.00)");
        assert_eq!(spread(&[250.4]), "250");
        assert_eq!(spread(&[]), "–");
    }
}
