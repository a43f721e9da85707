//! `latchkey version`: which program this is.

use clap::Args;
use serde_json::json;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  latchkey version
  latchkey version --json";

/// Show which version this is
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (version, os, arch) = (
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    );
    if arguments.json {
        return output::json(
            &json!({ "name": "latchkey", "version": version, "os": os, "arch": arch }),
        );
    }
    output::line(&format!("latchkey {version} ({os}, {arch})"))
}
