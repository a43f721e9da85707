//! Reading the catalogue and finding things in it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use ::http::Method;
use percent_encoding::percent_decode_str;

use crate::{
    checks,
    entry::{Endpoint, Provider, Service},
    lines::line_of,
};

/// Every file of `catalog/`, with its name; written by `build.rs`.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/catalog.rs"));

/// Largest catalogue file of an operator, in bytes: the largest of ours is under a twentieth.
const FILE_BYTES: u64 = 1024 * 1024;

/// Every provider, by slug.
#[derive(Clone, Debug)]
pub struct Catalog {
    providers: BTreeMap<String, Provider>,
}

/// A catalogue file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
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
        let mut entries = Vec::new();
        for (file, text) in EMBEDDED {
            entries.push(read_entry(&format!("catalog/{file}"), text)?);
        }
        let mut catalog = Self::default();
        catalog.insert(entries)?;
        if let Some(dir) = extra_dir {
            let mut own = Vec::new();
            for path in toml_files(dir)? {
                let text = read_file(&path)?;
                let entry = read_entry(&path.display().to_string(), &text)?;
                catalog.providers.remove(&entry.provider.slug);
                own.push(entry);
            }
            catalog.insert(own)?;
        }
        Ok(catalog)
    }

    /// Adds entries, whose names must be free.
    fn insert(&mut self, entries: Vec<Entry>) -> Result<(), CatalogError> {
        for Entry {
            file,
            text,
            provider,
        } in entries
        {
            let taken = |name: &str| self.names().any(|taken| taken == name);
            if let Some(problem) = checks::taken_name(&provider, taken) {
                return Err(problem.in_file(&file, &text));
            }
            self.providers.insert(provider.slug.clone(), provider);
        }
        Ok(())
    }

    /// Every first segment in use.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.providers().flat_map(|provider| {
            let services = provider.services.iter().filter(|service| service.top_level);
            std::iter::once(provider.slug.as_str())
                .chain(services.map(|service| service.slug.as_str()))
        })
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
        let rest = rest.trim_start_matches('/');
        let candidates = self.services(first, rest).ok_or(NoMatch::NoProvider)?;
        let mut allowed = Vec::new();
        let mut best: Option<(usize, EndpointMatch<'_>)> = None;
        for (provider, service, path) in candidates {
            for endpoint in &service.endpoints {
                let Some((literals, path_params)) = match_path(&endpoint.path, path) else {
                    continue;
                };
                if endpoint.method() != *method {
                    allowed.push(endpoint.method());
                    continue;
                }
                // `/messages/search` goes before `/messages/{id}`.
                if best.as_ref().is_none_or(|(most, _)| literals > *most) {
                    let found = EndpointMatch {
                        provider,
                        service,
                        endpoint,
                        path_params,
                    };
                    best = Some((literals, found));
                }
            }
        }
        match best {
            Some((_, found)) => Ok(found),
            None if allowed.is_empty() => Err(NoMatch::NoEndpoint),
            None => Err(NoMatch::Method { allowed }),
        }
    }

    /// The services that a path could mean, with what is left of it; `None` if the first segment is no name.
    fn services<'a, 'p>(
        &'a self,
        first: &str,
        rest: &'p str,
    ) -> Option<Vec<(&'a Provider, &'a Service, &'p str)>> {
        if let Some(provider) = self.get(first) {
            let (second, below) = rest.split_once('/').unwrap_or((rest, ""));
            let mut found = Vec::new();
            if let Some(service) = provider.service(second) {
                found.push((provider, service, below));
            }
            if let [only] = provider.services.as_slice() {
                found.push((provider, only, rest));
            }
            return Some(found);
        }
        let top_level = self.providers().find_map(|provider| {
            let service = provider
                .service(first)
                .filter(|service| service.top_level)?;
            Some((provider, service, rest))
        });
        top_level.map(|found| vec![found])
    }
}

impl Default for Catalog {
    /// A catalogue without providers.
    fn default() -> Self {
        Self {
            providers: BTreeMap::new(),
        }
    }
}

struct Entry {
    file: String,
    text: String,
    provider: Provider,
}

fn read_entry(file: &str, text: &str) -> Result<Entry, CatalogError> {
    let mut provider: Provider = toml::from_str(text).map_err(|error| CatalogError::Entry {
        file: file.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    })?;
    checks::check(&provider).map_err(|problem| problem.in_file(file, text))?;
    provider.kinds = provider
        .app_kinds
        .iter()
        .map(|kind| (kind.name.clone(), kind.apply(&provider.oauth)))
        .collect();
    Ok(Entry {
        file: file.to_owned(),
        text: text.to_owned(),
        provider,
    })
}

fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let unreadable = |source| CatalogError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<String, CatalogError> {
    let unreadable = |source| CatalogError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES {
        let error = io::Error::other(format!("it is larger than {FILE_BYTES} bytes"));
        return Err(unreadable(error));
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// Matches a request's path, encoded, against a template. Gives the number of literal segments and the
/// decoded parameters.
fn match_path(template: &str, path: &str) -> Option<(usize, BTreeMap<String, String>)> {
    let template: Vec<_> = template.trim_matches('/').split('/').collect();
    let path: Vec<_> = path.trim_end_matches('/').split('/').collect();
    if template.len() != path.len() {
        return None;
    }
    let mut params = BTreeMap::new();
    for (expected, given) in template.iter().zip(path) {
        let given = percent_decode_str(given).decode_utf8().ok()?;
        match expected
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(name) if !given.is_empty() => {
                params.insert(name.to_owned(), given.into_owned());
            }
            None if *expected == given => {}
            _ => return None,
        }
    }
    Some((template.len() - params.len(), params))
}

impl Endpoint {
    /// The partner's method.
    pub fn method(&self) -> Method {
        // Checked when the file is read.
        self.method.parse().unwrap_or_default()
    }
}
