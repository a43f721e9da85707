//! Catalogue strings with placeholders: `{app.<field>}` from the auth config, `{connection.<param>}` from
//! what the end user was asked, `{token.<name>}` from what the token answer left behind.

use std::{borrow::Cow, fmt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// What is escaped in a path segment: all but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where placeholders take their values from.
#[derive(Clone, Copy, Debug)]
pub struct Vars<'a> {
    /// `{app.client_id}`: the client id of the auth config, which is no secret.
    pub client_id: &'a str,
    /// `{app.…}`: the parameters of the auth config.
    pub app: &'a Map<String, Value>,
    /// `{connection.…}`: what was asked before connecting.
    pub connection: &'a Map<String, Value>,
    /// `{token.…}`: [`crate::TokenSet::extra`].
    pub token: &'a Map<String, Value>,
}

impl Vars<'_> {
    fn get(&self, source: Source, name: &str) -> Option<Cow<'_, str>> {
        let map = match source {
            // In an address the id must stay one segment, whatever characters it has.
            Source::App if name == "client_id" => {
                return Some(utf8_percent_encode(self.client_id, SEGMENT).into());
            }
            Source::App => self.app,
            Source::Connection => self.connection,
            Source::Token => self.token,
        };
        match map.get(name)? {
            Value::String(text) => Some(text.as_str().into()),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        }
    }
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
    /// The word before the dot.
    pub fn word(self) -> &'static str {
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
                    let filled = vars.get(*source, name).ok_or_else(|| {
                        TemplateError::Missing(format!("{}.{name}", source.word()))
                    })?;
                    out.push_str(&filled);
                }
            }
        }
        Ok(out)
    }

    /// The template with the scheme at its beginning replaced; `None` where it begins otherwise.
    pub fn with_scheme_as(&self, scheme: &str, prefix: &str) -> Option<Self> {
        let Some(Part::Text(text)) = self.parts.first() else {
            return None;
        };
        let rest = text.strip_prefix(scheme)?;
        let mut parts = self.parts.clone();
        parts[0] = Part::Text(format!("{prefix}{rest}"));
        Some(Self { parts })
    }

    /// The rest of a text that begins as this template does, each placeholder holding anything but a slash.
    pub fn rest_of<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut rest = text;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Slot(..) => {
                    let segment = rest.find(['/', '?']).unwrap_or(rest.len());
                    let next = match parts.peek() {
                        // What follows inside this segment ends the value; else the segment does.
                        Some(Part::Text(next)) => next.split('/').next().filter(|n| !n.is_empty()),
                        _ => None,
                    };
                    let end = match next {
                        Some(next) => rest[..segment].find(next)?,
                        None => segment,
                    };
                    rest = &rest[end..];
                }
            }
        }
        Some(rest)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_from_their_source() {
        let app = json!({"base_url": "http://127.0.0.1:9", "port": 7});
        let token = json!({"shard": "eu1"});
        let none = Map::new();
        let vars = Vars {
            client_id: "a/b",
            app: app.as_object().unwrap(),
            connection: &none,
            token: token.as_object().unwrap(),
        };
        let fill = |text: &str| Template::parse(text).unwrap().fill(&vars);
        assert_eq!(fill("{app.base_url}/x").unwrap(), "http://127.0.0.1:9/x");
        assert_eq!(fill("{app.port}-{token.shard}").unwrap(), "7-eu1");
        assert_eq!(fill("/apps/{app.client_id}").unwrap(), "/apps/a%2Fb");
        assert_eq!(
            fill("{connection.shop}"),
            Err(TemplateError::Missing("connection.shop".to_owned()))
        );
    }

    #[test]
    fn a_template_is_found_at_the_beginning_of_a_text() {
        let rest =
            |template: &str, text: &'static str| Template::parse(template).unwrap().rest_of(text);
        let shop = "https://{connection.shop}.shop.example/a/{token.id}/b";
        assert_eq!(
            rest(shop, "https://acme.shop.example/a/7/b/c?d"),
            Some("/c?d")
        );
        assert_eq!(rest(shop, "https://acme.evil.example/a/7/b"), None);
        assert_eq!(rest(shop, "https://acme.shop.example/a/7/x"), None);
        assert_eq!(
            rest("https://{app.host}", "https://h.example/x"),
            Some("/x")
        );
        assert_eq!(rest("https://h.example", "https://h.example"), Some(""));
    }

    #[test]
    fn malformed_texts_are_refused_and_good_ones_print_back() {
        for bad in [
            "{",
            "}",
            "{app}",
            "{app.}",
            "{env.HOME}",
            "{app.a b}",
            "a}b",
            "{app.x{app.y}}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let text = "https://{connection.shop}.example.com/{app.client_id}";
        assert_eq!(Template::parse(text).unwrap().to_string(), text);
        assert_eq!(Template::parse(text).unwrap().slots().count(), 2);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = Template::parse(&text);
        }
    }
}
