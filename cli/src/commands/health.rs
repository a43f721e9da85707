//! `latchkey health`: whether the server here lives and is ready, for container runtimes and scripts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use axum::http::Method;
use clap::Args;

use crate::{
    http::{Http, Request},
    output,
    settings::Place,
};

const EXAMPLES: &str = "\
Examples:
  latchkey health                 exit 0 if it takes requests
  latchkey health --live          exit 0 if it lives, also while it stops or its database is away

It asks the admin port of the settings (LATCHKEY_ADMIN_LISTEN).";

/// Ask the server here whether it is ready: exit 0 or 1
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Ask only whether it lives
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[])?;
    let path = if arguments.live { "livez" } else { "readyz" };
    let url = format!("http://{}/{path}", reached(config.admin_listen));
    let request = Request::new(Method::GET, url.parse().context("an odd admin address")?);
    let answer = Http::new()?.send(request).await?;
    ensure!(
        answer.status == 200,
        "{url} answers {}: {}",
        answer.status,
        answer.text()
    );
    output::line(answer.text().trim())
}

/// Where something that listens there is reached from this machine.
fn reached(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_here() {
        for (listens, there) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:2", "10.0.0.1:2"),
        ] {
            assert_eq!(reached(listens.parse().unwrap()), there.parse().unwrap());
        }
    }
}
