//! [`Report`]: the figures of one measurement, for people and for programs.

use serde_json::{Map, Value, json};

use crate::output::{self, Paint};

/// What a figure is measured against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// It should be this or more.
    AtLeast(f64),
    /// It should be this or less.
    AtMost(f64),
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bar) => format!("at least {}", number(bar)),
            Self::AtMost(bar) => format!("at most {}", number(bar)),
        }
    }
}

/// A figure with what it means.
#[derive(Clone, Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    meaning: String,
    bar: Option<Bar>,
}

/// The figures of one measurement, and how busy the machine was.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    bench: &'static str,
    figures: Vec<Figure>,
    facts: Map<String, Value>,
    load_before: Option<String>,
}

impl Report {
    /// Begins one: the machine's load is read now and again at the end.
    pub(crate) fn begin(bench: &'static str) -> Self {
        Self {
            bench,
            figures: Vec::new(),
            facts: Map::new(),
            load_before: load(),
        }
    }

    /// Adds a figure: its name in JSON, and what it means for people.
    pub(crate) fn figure(&mut self, name: &'static str, value: f64, meaning: impl Into<String>) {
        self.add(name, value, meaning.into(), None);
    }

    /// Adds a figure with a bar.
    pub(crate) fn measured(
        &mut self,
        name: &'static str,
        value: f64,
        bar: Bar,
        meaning: impl Into<String>,
    ) {
        self.add(name, value, meaning.into(), Some(bar));
    }

    /// Adds something that is no figure: counts, sizes, settings of the run.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    fn add(&mut self, name: &'static str, value: f64, meaning: String, bar: Option<Bar>) {
        self.figures.push(Figure {
            name,
            value,
            meaning,
            bar,
        });
    }

    /// Prints it.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            return output::json(&self.json());
        }
        output::line(&self.text(Paint::stdout()))
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("bench".to_owned(), self.bench.into());
        for figure in &self.figures {
            object.insert(figure.name.to_owned(), rounded(figure.value));
        }
        let missed: Vec<_> = self
            .figures
            .iter()
            .filter(|f| f.misses())
            .map(|f| f.name)
            .collect();
        object.insert("missed_bars".to_owned(), json!(missed));
        object.extend(self.facts.clone());
        object.insert("load_before".to_owned(), json!(self.load_before));
        object.insert("load_after".to_owned(), json!(load()));
        object.insert("cores".to_owned(), json!(cores()));
        object.insert("debug_build".to_owned(), cfg!(debug_assertions).into());
        Value::Object(object)
    }

    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for figure in &self.figures {
            let value = format!("{:>12}", number(figure.value));
            let value = match figure.bar {
                None => paint.bold(&value),
                Some(_) if figure.misses() => paint.bad(&value),
                Some(_) => paint.good(&value),
            };
            let bar = figure
                .bar
                .map_or_else(String::new, |bar| format!(" ({})", bar.text()));
            text = text + &value + "  " + &figure.meaning + &bar + "\n";
        }
        let facts = self
            .facts
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let facts = facts.collect::<Vec<_>>().join(", ");
        let (before, after) = (
            self.load_before.clone().unwrap_or_default(),
            load().unwrap_or_default(),
        );
        let debug = if cfg!(debug_assertions) {
            "; a debug build"
        } else {
            ""
        };
        let machine = format!(
            "{} cores, load {before} before and {after} after{debug}",
            cores()
        );
        text.push_str(&paint.dim(&if facts.is_empty() {
            machine
        } else {
            format!("{facts}; {machine}")
        }));
        text
    }
}

impl Figure {
    fn misses(&self) -> bool {
        self.bar.is_some_and(|bar| !bar.holds(self.value))
    }
}

/// How busy the machine is: the averages over 1, 5 and 15 minutes, where the system tells them.
fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some(
        text.split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// Three digits after the point are more than any of these figures holds.
fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_what_was_missed() {
        let mut report = Report::begin("x");
        report.measured("fast_ms", 2.0, Bar::AtMost(3.0), "fast");
        report.measured("rate", 4_000.4, Bar::AtLeast(5_000.0), "rate");
        report.figure("ratio", 0.123_456, "ratio");
        report.fact("jobs", 7);
        let json = report.json();
        assert_eq!(json["missed_bars"], json!(["rate"]));
        assert_eq!(json["ratio"], 0.123);
        assert_eq!(json["jobs"], 7);
        let text = report.text(Paint::plain());
        assert!(
            text.contains("        4000  rate (at least 5000)\n"),
            "{text}"
        );
        assert!(text.contains("jobs 7; "), "{text}");
    }
}
