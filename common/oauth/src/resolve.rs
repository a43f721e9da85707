//! Name resolution behind the egress guard: only addresses that pass are handed to the connector, and it
//! connects to no other, so a name that changes its address between check and connect gains nothing.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use crate::egress::Egress;

/// Resolves a name to addresses.
pub(crate) type Lookup = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync,
>;

/// The operating system's resolver.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Why a name gives no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// Every address is private or special.
    #[error("every address of the name is private")]
    Private,
    /// The request is plain http and no address is in the operator's list.
    #[error("no address of the name is in the egress list")]
    Plain,
    /// The name did not resolve.
    #[error("the name did not resolve")]
    Lookup(#[source] io::Error),
}

/// Lets through the addresses that the guard allows.
pub(crate) struct Guard {
    pub(crate) egress: Arc<Egress>,
    /// For plain http: only what the operator's list names.
    pub(crate) plain: bool,
    pub(crate) lookup: Lookup,
}

impl Guard {
    /// The addresses of a name that may be connected to; never none. Port 0 stands for the request's own.
    pub(crate) fn addresses(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Vec<SocketAddr>, GuardError>> + Send + 'static {
        let found = (self.lookup)(name.to_owned());
        let (egress, plain) = (Arc::clone(&self.egress), self.plain);
        async move {
            let mut found = found.await.map_err(GuardError::Lookup)?;
            found.retain(|ip| {
                if plain {
                    egress.lists(*ip)
                } else {
                    egress.allows(*ip)
                }
            });
            if found.is_empty() {
                return Err(if plain {
                    GuardError::Plain
                } else {
                    GuardError::Private
                });
            }
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
        }
    }
}
