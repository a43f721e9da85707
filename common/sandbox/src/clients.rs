//! The clients that may use the sandbox, and which redirect URIs each of them has.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::limits::{MAX_CLIENTS, MAX_NAME, MAX_REDIRECT_URIS};

/// The id of the client that every sandbox starts with. Public on purpose: the sandbox guards nothing.
pub const DEFAULT_CLIENT_ID: &str = "sandbox-client";
/// The secret of that client.
pub const DEFAULT_CLIENT_SECRET: &str = "sandbox-secret";

/// A registered client. Its secret is made up and guards nothing, so that it may be listed and printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The name under which it authenticates, 1 to 255 characters.
    pub client_id: String,
    /// The secret with which it authenticates, 1 to 255 characters.
    pub client_secret: String,
    /// Redirect URIs, compared as exact strings.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Also allows any `http` redirect URI whose host is a loopback address: callback URLs of Latchkey
    /// hold an auth config's id, which is not known when the client is registered.
    #[serde(default)]
    pub loopback_redirects: bool,
}

impl Client {
    /// The client that every sandbox starts with.
    pub fn default_client() -> Self {
        Self {
            client_id: DEFAULT_CLIENT_ID.to_owned(),
            client_secret: DEFAULT_CLIENT_SECRET.to_owned(),
            redirect_uris: Vec::new(),
            loopback_redirects: true,
        }
    }

    /// Whether this redirect URI is one of the client's.
    pub(crate) fn allows(&self, redirect_uri: &str) -> bool {
        self.redirect_uris.iter().any(|uri| uri == redirect_uri)
            || (self.loopback_redirects && is_loopback(redirect_uri))
    }

    fn check(&self) -> Result<(), ClientError> {
        let named = |text: &str| (1..=MAX_NAME).contains(&text.chars().count());
        if !named(&self.client_id) || !named(&self.client_secret) {
            return Err(ClientError::Name);
        }
        if self.redirect_uris.len() > MAX_REDIRECT_URIS {
            return Err(ClientError::TooManyUris);
        }
        match self.redirect_uris.iter().find(|uri| !is_absolute(uri)) {
            Some(uri) => Err(ClientError::Uri(uri.clone())),
            None => Ok(()),
        }
    }
}

fn is_absolute(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| url.has_host() && url.fragment().is_none())
}

fn is_loopback(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else {
        return false;
    };
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    loopback && url.scheme() == "http" && url.username().is_empty() && url.fragment().is_none()
}

/// A client that cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Id or secret are empty or too long.
    #[error("client_id and client_secret need 1 to {MAX_NAME} characters")]
    Name,
    /// A redirect URI that is not absolute or has a fragment.
    #[error("'{0}' is no absolute redirect URI without a fragment")]
    Uri(String),
    /// Too many redirect URIs.
    #[error("a client has at most {MAX_REDIRECT_URIS} redirect URIs")]
    TooManyUris,
    /// The sandbox is full.
    #[error("the sandbox holds at most {MAX_CLIENTS} clients")]
    Full,
}

/// The registered clients.
#[derive(Debug, Default)]
pub(crate) struct Clients(RwLock<HashMap<String, Arc<Client>>>);

impl Clients {
    /// Adds a client, or replaces the one of the same id.
    pub(crate) fn register(&self, client: Client) -> Result<(), ClientError> {
        client.check()?;
        let mut clients = self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client.client_id) {
            return Err(ClientError::Full);
        }
        clients.insert(client.client_id.clone(), Arc::new(client));
        Ok(())
    }

    pub(crate) fn get(&self, client_id: &str) -> Option<Arc<Client>> {
        self.read().get(client_id).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        all
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Client>>> {
        self.0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_match_exactly_or_by_loopback() {
        let exact = Client {
            redirect_uris: vec!["https://app.example/cb?x=1".into()],
            loopback_redirects: false,
            ..Client::default_client()
        };
        assert!(exact.allows("https://app.example/cb?x=1"));
        for other in [
            "https://app.example/cb",
            "https://app.example/cb?x=1&y=2",
            "https://app.example/cb/?x=1",
            "http://127.0.0.1:1/cb",
        ] {
            assert!(!exact.allows(other), "{other}");
        }
        let local = Client::default_client();
        for uri in [
            "http://127.0.0.1:1/cb",
            "http://[::1]:8080/a/b",
            "http://localhost/x",
        ] {
            assert!(local.allows(uri), "{uri}");
        }
        for uri in [
            "http://127.0.0.1.evil.example/",
            "http://evil.example/127.0.0.1",
            "http://user@127.0.0.1/",
            "https://localhost/",
            "http://localhost/#x",
            "/cb",
            "",
        ] {
            assert!(!local.allows(uri), "{uri}");
        }
    }

    #[test]
    fn what_is_registered_is_checked() {
        let clients = Clients::default();
        let client = |uri: &str| Client {
            redirect_uris: vec![uri.to_owned()],
            ..Client::default_client()
        };
        assert!(clients.register(client("https://a.example/cb")).is_ok());
        assert!(clients.register(client("/cb")).is_err());
        assert!(clients.register(client("https://a.example/#f")).is_err());
        let nameless = Client {
            client_id: String::new(),
            ..Client::default_client()
        };
        assert!(clients.register(nameless).is_err());
        assert_eq!(clients.list().len(), 1);
    }
}
