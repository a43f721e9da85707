//! What goes to a provider and what comes back, as values that never print a secret.

use std::{collections::BTreeSet, fmt, sync::Arc};

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use url::Url;

/// The hosts (and ports) that a request may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Arc<BTreeSet<String>>);

impl AllowedHosts {
    /// The hosts of these addresses.
    pub fn of<'a>(urls: impl IntoIterator<Item = &'a Url>) -> Self {
        Self(Arc::new(urls.into_iter().filter_map(authority).collect()))
    }

    /// Whether a request to this address is allowed.
    pub fn contains(&self, url: &Url) -> bool {
        authority(url).is_some_and(|authority| self.0.contains(&authority))
    }
}

fn authority(url: &Url) -> Option<String> {
    let port = url.port_or_known_default()?;
    Some(format!("{}:{port}", url.host_str()?))
}

/// A request to a provider, with the hosts it may go to.
pub struct HttpRequest {
    /// The request: an absolute address, its headers, and its whole body.
    pub request: Request<Bytes>,
    /// Where it may go.
    pub hosts: AllowedHosts,
}

/// Neither query, headers nor body: each may hold a secret.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", self.request.method())
            .field("host", &self.request.uri().host())
            .field("path", &self.request.uri().path())
            .finish_non_exhaustive()
    }
}

/// A complete answer of a provider.
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// Bytes of the request body that were sent.
    pub sent_bytes: u64,
}

/// Neither headers nor body: each may hold a secret.
impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
