//! `latchkey demo`: the main job once, from outside, on real sockets.

use std::path::PathBuf;

use clap::Args;

use crate::demo;

const EXAMPLES: &str = "\
Examples:
  latchkey demo                           the whole walk; exit 1 if anything disagrees
  latchkey demo --keep                    and leave it running to try things
  latchkey demo --browser                 you consent, in your own browser
  latchkey demo --json                    one JSON object a step
  latchkey demo --catalog acme.toml --client-file client.json
                                          against a real server instead of the sandbox
  RUST_LOG=trace latchkey demo 2>log      with the log of both processes";

/// Run the main job once: partner, connect, calls, refreshes, a crash, revocation, bill
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Leave it running afterwards and print URLs and key; Ctrl-C ends it
    #[arg(long)]
    keep: bool,
    /// Let a person consent in a browser
    #[arg(long)]
    browser: bool,
    /// Use this catalogue file's provider, a real one, instead of the sandbox (implies --browser)
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// With --catalog: where client id and secret stand [default: asks]
    #[arg(long, value_name = "FILE", requires = "catalog")]
    client_file: Option<PathBuf>,
    /// With --catalog: a value that the file asks for; repeat for several
    #[arg(long = "param", value_name = "NAME=VALUE", requires = "catalog")]
    params: Vec<String>,
    /// With --catalog: what to GET below its first service [default: /]
    #[arg(long, value_name = "PATH", requires = "catalog")]
    call: Option<String>,
    /// Print one JSON object a step
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        keep,
        browser,
        catalog,
        client_file,
        params,
        call,
        json,
    } = arguments;
    let server = match catalog {
        Some(file) => demo::Provider::Real(demo::RealServer {
            file,
            client: crate::credentials::read(client_file.as_deref())?,
            params: super::auth_config::pairs(&params)?,
            call: call.unwrap_or_else(|| "/".to_owned()),
        }),
        None => demo::Provider::Sandbox { browser },
    };
    demo::run(demo::Options {
        keep,
        json,
        provider: server,
    })
    .await
}
