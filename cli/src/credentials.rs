//! OAuth client credentials: from a prompt, a file or standard input. Never from an argument, which other
//! users of the machine can see and which stays in the shell's history.

use std::{
    fs::File,
    io::{IsTerminal, Read, Write},
    path::Path,
};

use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::failure::asked_wrongly;

/// Bytes of a credentials file: the ones that providers hand out are some hundred.
const MAX_BYTES: u64 = 64 * 1024;

/// An OAuth client. Public clients have no secret.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The client id.
    pub(crate) client_id: String,
    /// The client secret.
    pub(crate) client_secret: Option<SecretString>,
}

/// A file as providers hand it out: plain, or below `web` or `installed` (Google).
#[derive(Deserialize)]
struct Json {
    client_id: Option<String>,
    client_secret: Option<String>,
    web: Option<Box<Json>>,
    installed: Option<Box<Json>>,
}

/// Reads the credentials from `file` (`-` is standard input), else asks for them.
///
/// # Errors
/// What does not read; asked wrongly when there is neither a file nor somebody to ask.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Credentials> {
    match file {
        Some(path) if path.as_os_str() == "-" => {
            parse(&take(std::io::stdin().lock())?).context("standard input does not hold a client")
        }
        Some(path) => {
            let place = || format!("cannot read the client from {}", path.display());
            let text = File::open(path)
                .map_err(Into::into)
                .and_then(take)
                .with_context(place)?;
            parse(&text).with_context(place)
        }
        None if std::io::stdin().is_terminal() => ask(),
        None => Err(asked_wrongly(
            "the client id and secret are missing: pass --client-file FILE, or --client-file - and send \
             them on standard input (first line the id, second the secret)",
        )),
    }
}

fn take(from: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    from.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(asked_wrongly(format!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    Ok(text)
}

fn ask() -> anyhow::Result<Credentials> {
    let mut client_id = String::new();
    write!(std::io::stderr(), "Client id: ")?;
    std::io::stdin().read_line(&mut client_id)?;
    let secret = rpassword::prompt_password("Client secret (empty for a public client): ")
        .context("cannot read the secret from the terminal")?;
    made(
        client_id.trim().to_owned(),
        Some(SecretString::from(secret)),
    )
}

/// JSON as providers hand it out, or two lines.
fn parse(text: &str) -> anyhow::Result<Credentials> {
    if text.trim_start().starts_with('{') {
        // The error's text may hold what it could not read: keep its place alone.
        let json: Json = serde_json::from_str(text).map_err(|error| {
            asked_wrongly(format!(
                "it is not JSON with client_id (line {})",
                error.line()
            ))
        })?;
        let inner = json.web.or(json.installed).map_or(
            Json {
                web: None,
                installed: None,
                ..json
            },
            |j| *j,
        );
        return made(
            inner.client_id.unwrap_or_default(),
            inner.client_secret.map(SecretString::from),
        );
    }
    let mut lines = text.lines().map(str::trim);
    let client_id = lines.next().unwrap_or_default().to_owned();
    made(
        client_id,
        lines.next().map(|line| SecretString::from(line.to_owned())),
    )
}

fn made(client_id: String, secret: Option<SecretString>) -> anyhow::Result<Credentials> {
    if client_id.is_empty() {
        return Err(asked_wrongly("the client id is empty"));
    }
    let client_secret = secret.filter(|secret| !secret.expose_secret().is_empty());
    Ok(Credentials {
        client_id,
        client_secret,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, Option<String>) {
        let read = parse(text).unwrap();
        (
            read.client_id,
            read.client_secret
                .map(|secret| secret.expose_secret().to_owned()),
        )
    }

    #[test]
    fn every_form_reads() {
        let pair = ("id-1".to_owned(), Some("s3".to_owned()));
        assert_eq!(of("id-1\ns3\n"), pair);
        assert_eq!(of(" id-1 \r\n s3 \r\n"), pair);
        assert_eq!(of(r#"{"client_id":"id-1","client_secret":"s3"}"#), pair);
        assert_eq!(
            of(r#"{"web":{"client_id":"id-1","client_secret":"s3","auth_uri":"x"}}"#),
            pair
        );
        assert_eq!(of("id-1"), ("id-1".to_owned(), None));
        assert_eq!(of("id-1\n\n"), ("id-1".to_owned(), None));
    }

    #[test]
    fn what_does_not_read_never_shows_content() {
        for text in [
            "",
            "\n",
            "{}",
            "{\"client_secret\":\"hush\"",
            "{\"client_id\":5,\"x\":\"hush\"}",
        ] {
            let error = format!("{:?}", parse(text).unwrap_err());
            assert!(!error.contains("hush"), "{error}");
        }
        assert!(take(std::io::repeat(b'x')).is_err());
        let read = parse("id\nhush").unwrap();
        assert!(!format!("{read:?}").contains("hush"));
    }
}
