//! Catalogue strings with placeholders: `{app.<field>}` from the auth config, `{connection.<param>}` from
//! what the end user was asked, `{token.<name>}` from what the token answer left behind.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// Where placeholders take their values from.
#[derive(Clone, Copy, Debug)]
pub struct Vars<'a> {
    /// `{app.…}`: the parameters of the auth config. `{app.client_id}` comes from [`crate::Client`].
    pub app: &'a Map<String, Value>,
    /// `{connection.…}`: what was asked before connecting.
    pub connection: &'a Map<String, Value>,
    /// `{token.…}`: [`crate::TokenSet::extra`].
    pub token: &'a Map<String, Value>,
}

/// Which map a placeholder looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `{app.…}`
    App,
    /// `{connection.…}`
    Connection,
    /// `{token.…}`
    Token,
}

impl Source {
    fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Connection => "connection",
            Self::Token => "token",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Slot(Source, String),
}

/// A string with placeholders, parsed when the catalogue is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A placeholder that could not be filled, or text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is malformed.
    #[error(
        "'{0}' is not a template: placeholders look like {{app.base_url}}, from app, connection or token"
    )]
    Malformed(String),
    /// Nothing fills this placeholder.
    #[error("nothing was given for {{{0}}}")]
    Missing(String),
}

impl Template {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let malformed = || TemplateError::Malformed(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if !rest[open..].starts_with('{') {
                return Err(malformed());
            }
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let close = rest[open..].find('}').ok_or_else(malformed)? + open;
            let (source, name) = rest[open + 1..close]
                .split_once('.')
                .ok_or_else(malformed)?;
            let source = match source {
                "app" => Source::App,
                "connection" => Source::Connection,
                "token" => Source::Token,
                _ => return Err(malformed()),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(malformed());
            }
            parts.push(Part::Slot(source, name.to_owned()));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text with every placeholder filled.
    pub fn fill(&self, vars: &Vars<'_>) -> Result<String, TemplateError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Slot(source, name) => {
                    let map = match source {
                        Source::App => vars.app,
                        Source::Connection => vars.connection,
                        Source::Token => vars.token,
                    };
                    match map.get(name) {
                        Some(Value::String(text)) => out.push_str(text),
                        Some(Value::Number(number)) => out.push_str(&number.to_string()),
                        _ => {
                            let name = format!("{}.{name}", source.word());
                            return Err(TemplateError::Missing(name));
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    /// The placeholders in it.
    pub fn slots(&self) -> impl Iterator<Item = (Source, &str)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Slot(source, name) => Some((*source, name.as_str())),
            Part::Text(_) => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Slot(source, name) => write!(f, "{{{}.{name}}}", source.word())?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}
