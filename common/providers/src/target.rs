//! [`Target`]: a path and query proven to stay below a service's base address (`reliability.md` A16).
//!
//! A raw call's path comes from a partner as it stood in the request. Servers differ in what they make of
//! dot segments, backslashes, doubled slashes and escapes of escapes, so whatever could be read as leaving
//! the base address is refused instead of repaired.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, de};
use url::Url;

/// Longest path and query, in bytes: what common servers take in a request line.
pub const TARGET_BYTES: usize = 8 * 1024;

/// Escapes are decoded this often to see what a chain of servers could see.
const DECODE_ROUNDS: usize = 4;

/// Path and query below a base address: `/messages/1?full=true`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Target(String);

/// A path that could leave the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It holds something that servers read differently.
    #[error("the path holds {0}, which is not allowed")]
    Forbidden(&'static str),
    /// It is too long.
    #[error("the path and query are longer than {TARGET_BYTES} bytes")]
    TooLong,
    /// Joined to the base it would leave it.
    #[error("the path leaves the service")]
    Leaves,
}

impl Target {
    /// The target of a raw call: `path` and `query` as they stood in the request, encoded. A leading slash
    /// may be missing.
    pub fn raw(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut text = format!("{slash}{path}");
        check_path(&text)?;
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\';
            if !query.bytes().all(plain) {
                return Err(TargetError::Forbidden("a query that is not escaped"));
            }
            text.push('?');
            text.push_str(query);
        }
        if text.len() > TARGET_BYTES {
            return Err(TargetError::TooLong);
        }
        Ok(Self(text))
    }

    /// Path and query, starting with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path alone: what receipts show.
    pub fn path(&self) -> &str {
        self.0.split('?').next().unwrap_or_default()
    }

    /// The address below `base`; refuses what would leave it.
    pub fn join(&self, base: &Url) -> Result<Url, TargetError> {
        let base_path = base.path().trim_end_matches('/');
        let origin = &base[..url::Position::BeforePath];
        let joined = Url::parse(&format!("{origin}{base_path}{}", self.0))
            .map_err(|_| TargetError::Leaves)?;
        let stays = joined[..url::Position::BeforePath] == *origin
            && joined.path() == format!("{base_path}{}", self.path());
        if stays {
            Ok(joined)
        } else {
            Err(TargetError::Leaves)
        }
    }
}

fn check_path(path: &str) -> Result<(), TargetError> {
    let forbidden = |what| Err(TargetError::Forbidden(what));
    if path.len() > TARGET_BYTES {
        return Err(TargetError::TooLong);
    }
    if path
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || b"?#".contains(&byte))
    {
        return forbidden("a character that must be escaped");
    }
    if path.contains("//") {
        return forbidden("an empty segment");
    }
    let mut seen = path.to_owned();
    for _ in 0..DECODE_ROUNDS {
        if seen.contains('\\') {
            return forbidden("a backslash");
        }
        if seen.chars().any(char::is_control) {
            return forbidden("a control character");
        }
        // Some servers cut parameters off before they resolve dots: `/..;x/`.
        let bare = |segment: &str| {
            segment
                .split(';')
                .next()
                .is_some_and(|s| matches!(s, "." | ".."))
        };
        if seen.split('/').any(bare) {
            return forbidden("a dot segment");
        }
        if seen.starts_with("//") || seen.starts_with("/@") {
            return forbidden("another host");
        }
        let Ok(decoded) = percent_decode_str(&seen).decode_utf8() else {
            return forbidden("an escape that is not UTF-8");
        };
        if decoded == seen {
            break;
        }
        seen = decoded.into_owned();
    }
    // What the address parser would rewrite, servers could too.
    let parsed = Url::parse(&format!("https://host{path}")).map_err(|_| TargetError::Leaves)?;
    if parsed.path() != path || parsed.host_str() != Some("host") {
        return forbidden("a character that must be escaped");
    }
    Ok(())
}

/// The path without the query.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.path()).finish()
    }
}

/// Reads what a job carries, and checks it again.
impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (path, query) = text
            .split_once('?')
            .map_or((&*text, None), |(p, q)| (p, Some(q)));
        Self::raw(path, query).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Url {
        Url::parse("https://api.example/v3").unwrap()
    }

    fn joined(path: &str, query: Option<&str>) -> Result<String, TargetError> {
        Ok(Target::raw(path, query)?.join(&base())?.into())
    }

    #[test]
    fn ordinary_paths_arrive_as_they_are() {
        for (path, query, expected) in [
            ("/users/me", None, "https://api.example/v3/users/me"),
            ("users/@me", None, "https://api.example/v3/users/@me"),
            (
                "/users/",
                Some("a=1&b=%2F"),
                "https://api.example/v3/users/?a=1&b=%2F",
            ),
            ("", None, "https://api.example/v3/"),
            (
                "/repos/a/b/git/refs/heads%2Fmain",
                None,
                "https://api.example/v3/repos/a/b/git/refs/heads%2Fmain",
            ),
            (
                "/calendars/al%C3%A9%40x.example/events:list",
                None,
                "https://api.example/v3/calendars/al%C3%A9%40x.example/events:list",
            ),
            ("/a...b/..c/.d", None, "https://api.example/v3/a...b/..c/.d"),
            (
                "/x",
                Some("redirect=https://evil.example/../@"),
                "https://api.example/v3/x?redirect=https://evil.example/../@",
            ),
        ] {
            assert_eq!(joined(path, query).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn whatever_could_leave_is_refused() {
        for path in [
            "//evil.example",
            "///evil.example",
            "/a//b",
            "https://evil.example/",
            "http:%2F%2Fevil.example/..",
            "@evil.example/x",
            "/@evil.example",
            "%40evil.example",
            "/%40evil.example",
            "/%2540evil.example",
            "\\\\evil.example",
            "/a\\b",
            "/a%5Cb",
            "/a%255Cb",
            "/%5c%5cevil.example",
            "/..",
            "/../x",
            "/a/../../x",
            "/.",
            "/a/./b",
            "/..;/x",
            "/..;a=b",
            "/..%3b/x",
            "/%2e%2e;/x",
            "/%2e%2e/x",
            "/%2E./x",
            "/.%2e/x",
            "/%252e%252e/x",
            "/%25252e%25252e/x",
            "/a%2f..%2fb",
            "/a%2F%2e%2e%2Fb",
            "/%2F%2Fevil.example",
            "/%2fevil.example",
            "/a\r\nHost: evil",
            "/a%0d%0aHost:%20evil",
            "/a%250d%250ab",
            "/a\tb",
            "/a b",
            "/a%00b",
            "/\u{e9}",
            "/%ff",
            "/a?b",
            "/a#b",
            "/\"",
            "/<x>",
            "/\u{ff0e}\u{ff0e}/x",
        ] {
            assert!(joined(path, None).is_err(), "{path}");
        }
        for query in ["a b", "a\r\nb", "a#b", "a\\b", "\u{e9}", "a\u{0}"] {
            assert!(joined("/x", Some(query)).is_err(), "{query}");
        }
        assert_eq!(
            Target::raw(&"x".repeat(TARGET_BYTES), None),
            Err(TargetError::TooLong)
        );
    }

    #[test]
    fn a_stored_target_is_checked_again() {
        let target = Target::raw("/a", Some("b=?c")).unwrap();
        let text = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&text).unwrap(), target);
        assert!(serde_json::from_str::<Target>("\"/../b\"").is_err());
        assert_eq!(format!("{target:?}"), "Target(\"/a\")");
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_base(
            path in r"([/\\.@?#:%a-c]|%2e|%2E|%2f|%5c|%40|%25|%0d|%0a|//|\.\.|evil\.example|\PC){0,24}",
            query in proptest::option::of(r"[&=#@/\\.%a-c\r\n]{0,12}"),
        ) {
            if let Ok(url) = Target::raw(&path, query.as_deref()).and_then(|target| target.join(&base())) {
                prop_assert_eq!(url.scheme(), "https");
                prop_assert_eq!(url.host_str(), Some("api.example"));
                prop_assert_eq!(url.port(), None);
                prop_assert!(url.username().is_empty() && url.password().is_none());
                prop_assert!(url.path().starts_with("/v3/"));
                prop_assert!(url.fragment().is_none());
                let decoded = percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
                prop_assert!(!decoded.split(['/', '\\']).any(|segment| segment == ".."));
            }
        }
    }
}
