//! `latchkey doctor`: what may be wrong here, and how to mend it.

use clap::Args;

use crate::{
    doctor::{self, Finding, State, Subject},
    failure::AlreadyTold,
    output::{self, Paint},
    settings::Place,
};

const EXAMPLES: &str = "\
Examples:
  latchkey doctor
  latchkey doctor --data-dir /var/lib/latchkey --json

It changes nothing and works beside a running server. Exit 1 if a check fails; warnings do not count.";

/// Check the installation: each finding with what to do about it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print one JSON object per check
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let findings = match arguments.place.load(&[]) {
        Ok(config) => doctor::examine(&Subject::new(config)).await,
        Err(error) => vec![doctor::unreadable(&error)],
    };
    let paint = Paint::stdout();
    for finding in &findings {
        if arguments.json {
            output::json(finding)?;
        } else {
            output::line(&text(finding, paint))?;
        }
    }
    if findings.iter().any(|finding| finding.state == State::Fail) {
        return Err(AlreadyTold.into());
    }
    Ok(())
}

fn text(finding: &Finding, paint: Paint) -> String {
    let state = match finding.state {
        State::Ok => paint.good("ok  "),
        State::Warn => paint.warn("warn"),
        State::Fail => paint.bad("FAIL"),
    };
    let mut text = format!("{state}  {:<11} {}", finding.check, finding.found);
    if let Some(fix) = &finding.fix {
        text.push_str("\n                  → ");
        text.push_str(fix);
    }
    text
}
