//! Connections that hold no OAuth tokens: which kinds of credentials a provider takes, what is asked for each,
//! and how they are presented.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    call::CallError,
    entry::{Provider, TokenHeader},
};

/// The token type of keys in a sealed token set.
pub const API_KEY: &str = "api_key";
/// The token type of a user name and password, which are kept as RFC 7617 sends them.
pub const BASIC: &str = "basic";

/// A kind of credentials that a provider takes beside OAuth (`[[keys]]`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyScheme {
    /// Which kind.
    pub kind: KeyKind,
    /// Where a key goes; where access tokens go, if it is not said. Passwords go where RFC 7617 says.
    pub header: Option<TokenHeader>,
}

/// A kind of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// A key that the provider gave out.
    ApiKey,
    /// User name and password.
    Basic,
    /// A token that goes where access tokens go, such as a personal access token.
    BearerToken,
}

impl Provider {
    /// How this provider takes credentials of this kind, if it does.
    pub fn key_scheme(&self, kind: KeyKind) -> Option<&KeyScheme> {
        self.keys.iter().find(|scheme| scheme.kind == kind)
    }

    /// Puts credentials of this token type in the place of the access token, where they are presented in
    /// another way than one. `instead_of` is the header that has it.
    pub fn present(
        &self,
        token_type: &str,
        access: &SecretString,
        instead_of: &str,
        headers: &mut HeaderMap,
    ) -> Result<(), CallError> {
        let (name, prefix) = match token_type {
            BASIC => ("authorization", "Basic "),
            API_KEY => match self
                .key_scheme(KeyKind::ApiKey)
                .and_then(|s| s.header.as_ref())
            {
                Some(header) => (header.name.as_str(), header.prefix.as_str()),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        headers.remove(instead_of);
        let text = format!("{prefix}{}", access.expose_secret());
        let mut value = HeaderValue::try_from(text).map_err(::http::Error::from)?;
        value.set_sensitive(true);
        headers.insert(
            HeaderName::try_from(name).map_err(::http::Error::from)?,
            value,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[test]
    fn keys_and_passwords_take_the_place_of_the_token() {
        let catalog = Catalog::load(None).unwrap();
        let sandbox = catalog.get("sandbox").unwrap();
        let presented = |token_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
            sandbox
                .present(token_type, &"secret".into(), "authorization", &mut headers)
                .unwrap();
            assert!(headers.len() == 1, "{headers:?}");
            let (name, value) = headers.iter().next().unwrap();
            format!("{name}: {}", value.to_str().unwrap())
        };
        assert_eq!(presented(API_KEY), "x-api-key: secret");
        assert_eq!(presented(BASIC), "authorization: Basic secret");
        assert_eq!(presented("Bearer"), "authorization: Bearer secret");
    }
}
