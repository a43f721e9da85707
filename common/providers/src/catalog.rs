//! Reading the catalogue and finding things in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ::http::Method;

use crate::entry::{Endpoint, Provider, Service};

/// Every provider, by slug.
#[derive(Clone, Debug)]
pub struct Catalog {
    providers: BTreeMap<String, Provider>,
}

/// A catalogue file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A file or directory could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file says something wrong.
    #[error("{file}:{line}: {message}")]
    Entry {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

/// A named endpoint that a request names.
#[derive(Clone, Debug)]
pub struct EndpointMatch<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// The service.
    pub service: &'a Service,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Values of the path template, decoded.
    pub path_params: BTreeMap<String, String>,
}

/// A request that names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMatch {
    /// The first segment is no provider and no top-level service.
    #[error("there is no provider or service of this name")]
    NoProvider,
    /// The provider has no such path.
    #[error("this provider has no such endpoint")]
    NoEndpoint,
    /// The path exists with other methods.
    #[error("this endpoint does not take this method")]
    Method {
        /// The methods it takes.
        allowed: Vec<Method>,
    },
}

impl Catalog {
    /// The catalogue of the binary, and the `*.toml` files of a directory of the operator's. A file there
    /// replaces the entry of the same slug.
    pub fn load(extra_dir: Option<&Path>) -> Result<Self, CatalogError> {
        let _ = (
            extra_dir,
            Self {
                providers: BTreeMap::new(),
            },
        );
        unimplemented!()
    }

    /// The provider of this slug.
    pub fn get(&self, slug: &str) -> Option<&Provider> {
        self.providers.get(slug)
    }

    /// Every provider, by slug.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// The named endpoint of `{first}/{rest}`: `{provider}/{service}/…`, `{service}/…` of a top-level service,
    /// or `{provider}/…` where the provider has one service. `rest` is as it stood in the request, encoded.
    pub fn find_endpoint(
        &self,
        first: &str,
        rest: &str,
        method: &Method,
    ) -> Result<EndpointMatch<'_>, NoMatch> {
        let _ = (first, rest, method);
        unimplemented!()
    }
}
