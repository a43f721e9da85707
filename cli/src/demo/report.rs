//! [`Report`]: one line a step, with what was asked, what came back and how long it took; below it every
//! comparison of ours with the provider's. Disagreements are counted and shown, never smoothed over.

use std::{fmt::Display, time::Duration};

use latchkey_domain::{Clock, SystemClock};
use serde::Serialize;
use serde_json::json;

use crate::output::{self, Paint};

/// Columns of what was asked; the answer begins after it.
const ASKED_WIDTH: usize = 56;
/// Columns of the answer; the time begins after it.
const ANSWERED_WIDTH: usize = 50;

/// What a demo prints and counts.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    paint: Paint,
    clock: SystemClock,
    began: Duration,
    steps: usize,
    agreed: usize,
    disagreed: usize,
}

/// A step that is under way.
#[derive(Debug)]
pub(crate) struct Step {
    asked: String,
    began: Duration,
    took: Option<Duration>,
    checks: Vec<Check>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    what: String,
    expected: String,
    found: String,
    agrees: bool,
    /// Whether the sandbox's count (expected) stands beside ours (found).
    both_sides: bool,
}

impl Step {
    /// Compares a value with what it must be.
    pub(crate) fn equal(&mut self, what: &str, expected: impl Display, found: impl Display) {
        let (expected, found) = (expected.to_string(), found.to_string());
        let agrees = expected == found;
        self.note(what, expected, found, agrees, false);
    }

    /// Compares how much a counter has grown with how much it must have.
    pub(crate) fn grown(&mut self, what: &str, expected: u64, found: u64) {
        self.equal(what, format!("+{expected}"), format!("+{found}"));
    }

    /// Compares the sandbox's count with ours.
    pub(crate) fn both(&mut self, what: &str, sandbox: u64, ours: u64) {
        self.note(
            what,
            sandbox.to_string(),
            ours.to_string(),
            sandbox == ours,
            true,
        );
    }

    /// Notes whether something holds, with what was found.
    pub(crate) fn holds(&mut self, what: &str, holds: bool, found: impl Display) {
        self.note(what, what.to_owned(), found.to_string(), holds, false);
    }

    fn note(
        &mut self,
        what: &str,
        expected: String,
        found: String,
        agrees: bool,
        both_sides: bool,
    ) {
        let what = what.to_owned();
        self.checks.push(Check {
            what,
            expected,
            found,
            agrees,
            both_sides,
        });
    }

    /// Shows this as the step's time, not the time since its beginning.
    pub(crate) fn took(&mut self, took: Duration) {
        self.took = Some(took);
    }
}

impl Report {
    /// An empty report; with `json` every line is an object.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            paint: Paint::stdout(),
            clock: SystemClock,
            began: SystemClock.monotonic(),
            steps: 0,
            agreed: 0,
            disagreed: 0,
        }
    }

    /// Whether programs read it.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// How many comparisons did not agree.
    pub(crate) const fn disagreed(&self) -> usize {
        self.disagreed
    }

    /// Says something between steps.
    pub(crate) fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.json {
            Ok(())
        } else {
            output::line(text)
        }
    }

    /// Begins a part of the demo.
    pub(crate) fn part(&self, title: &str) -> anyhow::Result<()> {
        self.say(&format!("\n{}", self.paint.bold(title)))
    }

    /// Begins a step; `asked` is what is asked, as a person would type or press it.
    pub(crate) fn step(&self, asked: impl Into<String>) -> Step {
        Step {
            asked: asked.into(),
            began: self.clock.monotonic(),
            took: None,
            checks: Vec::new(),
        }
    }

    /// Ends a step with what came back.
    pub(crate) fn end(&mut self, step: Step, answered: impl AsRef<str>) -> anyhow::Result<()> {
        let Step {
            asked,
            began,
            took,
            checks,
        } = step;
        let answered = answered.as_ref();
        self.count(&checks);
        let took = took.unwrap_or_else(|| self.clock.monotonic().saturating_sub(began));
        if self.json {
            return output::json(&json!({
                "step": self.steps, "asked": asked, "answered": answered,
                "took_ms": millis(took), "checks": checks,
            }));
        }
        output::line(&line(self.steps, &asked, answered, took, self.paint))?;
        shown_checks(&checks, self.paint)
            .iter()
            .try_for_each(|text| output::line(text))
    }

    fn count(&mut self, checks: &[Check]) {
        self.steps += 1;
        let bad = checks.iter().filter(|check| !check.agrees).count();
        self.disagreed += bad;
        self.agreed += checks.len() - bad;
    }

    /// Ends the report; a program reads one last object.
    pub(crate) fn close(&self, failure: Option<&anyhow::Error>) -> anyhow::Result<()> {
        let took = self.clock.monotonic().saturating_sub(self.began);
        if self.json {
            return output::json(&json!({
                "done": failure.is_none(), "steps": self.steps, "agreed": self.agreed,
                "disagreed": self.disagreed, "took_ms": millis(took),
                "error": failure.map(|error| format!("{error:#}")),
            }));
        }
        let (steps, agreed, disagreed) = (self.steps, self.agreed, self.disagreed);
        let counted = format!(
            "{steps} steps, {agreed} comparisons agree, {disagreed} disagree, {}",
            shown(took)
        );
        let verdict = match (failure, disagreed) {
            (None, 0) => self.paint.good("Everything agrees."),
            (None, _) => self.paint.bad("Something disagrees: see the lines with ✗."),
            (Some(_), _) => self.paint.bad("The demo broke off."),
        };
        output::line(&format!("\n{verdict} {counted}."))
    }
}

fn line(n: usize, asked: &str, answered: &str, took: Duration, paint: Paint) -> String {
    // Padded before it is painted: colours have no width.
    let time = paint.dim(&format!("{:>8}", shown(took)));
    let asked_wide = asked.chars().count() > ASKED_WIDTH;
    let gap = if asked_wide {
        format!("\n{:1$}", "", ASKED_WIDTH + 5)
    } else {
        " ".to_owned()
    };
    format!("{n:>3} {asked:<ASKED_WIDTH$}{gap}{answered:<ANSWERED_WIDTH$} {time}")
}

/// The comparisons that agree on few lines, each other on its own.
fn shown_checks(all: &[Check], paint: Paint) -> Vec<String> {
    const WIDTH: usize = 108;
    let mut lines: Vec<String> = Vec::new();
    for check in all.iter().filter(|check| check.agrees) {
        let text = if check.expected == check.what {
            format!("{} ({})", check.what, check.found)
        } else if check.both_sides {
            format!(
                "{}: sandbox {} = latchkey {}",
                check.what, check.expected, check.found
            )
        } else {
            format!("{} {}", check.what, check.found)
        };
        match lines.last_mut() {
            Some(last) if last.chars().count() + text.chars().count() < WIDTH => {
                last.push_str(" · ");
                last.push_str(&text);
            }
            _ => lines.push(format!("    ✓ {text}")),
        }
    }
    let mut lines: Vec<String> = lines.iter().map(|line| paint.good(line)).collect();
    lines.extend(all.iter().filter(|check| !check.agrees).map(|check| {
        let Check {
            what,
            expected,
            found,
            both_sides,
            ..
        } = check;
        let (first, second) = if *both_sides {
            ("sandbox", "latchkey")
        } else {
            ("expected", "found")
        };
        paint.bad(&format!(
            "    ✗ {what}: {first} {expected}, {second} {found}"
        ))
    }));
    lines
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as people read it.
pub(crate) fn shown(span: Duration) -> String {
    match span.as_millis() {
        0 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        ms @ 1..=999 => format!("{ms} ms"),
        _ => format!("{:.1} s", span.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disagreements_are_counted_and_stand_alone() {
        let mut report = Report::new(true);
        let mut step = report.step("POST /x");
        step.equal("reuse", 0, 0);
        step.both("refreshes", 5, 5);
        step.equal("misses", 0, 3);
        step.holds("a receipt", true, "revoked");
        let lines = shown_checks(&step.checks, Paint::plain());
        assert_eq!(
            lines,
            [
                "    ✓ reuse 0 · refreshes: sandbox 5 = latchkey 5 · a receipt (revoked)",
                "    ✗ misses: expected 0, found 3",
            ]
        );
        report.count(&step.checks);
        assert_eq!((report.disagreed, report.agreed), (1, 3));
    }

    #[test]
    fn lines_line_up() {
        let of = |asked: &str| line(1, asked, "200", Duration::from_millis(12), Paint::plain());
        let (short, long) = (of("GET /a"), of(&"x".repeat(80)));
        assert!(short.ends_with("   12 ms") && !short.contains('\n'));
        let second = long.lines().nth(1).unwrap();
        assert_eq!(second.chars().count(), short.chars().count());
        assert_eq!(second.find("200"), short.find("200"));
        assert_eq!(shown(Duration::from_micros(300)), "0.3 ms");
        assert_eq!(shown(Duration::from_millis(1500)), "1.5 s");
    }
}
