//! Reading the catalogue and finding things in it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use ::http::Method;
use percent_encoding::percent_decode_str;

use crate::{
    checks,
    entry::{Endpoint, Provider, Service},
    lines::{Place, line_of},
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
            entries.push(read_entry(&format!("catalog/{file}"), text, &embedded)?);
        }
        let mut catalog = Self::default();
        catalog.insert(entries)?;
        if let Some(dir) = extra_dir {
            let mut own = Vec::new();
            for path in toml_files(dir)? {
                let text = read_file(&path)?;
                let entry = read_entry(&path.display().to_string(), &text, &embedded)?;
                catalog.providers.remove(&entry.provider.slug);
                own.push(entry);
            }
            catalog.insert(own)?;
        }
        Ok(catalog)
    }

    /// Reads one file as [`Catalog::load`] would, beside the entries of the binary.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn check_file(path: &Path) -> Result<Provider, CatalogError> {
        let text = read_file(path)?;
        Self::check_text(&path.display().to_string(), &text)
    }

    /// The same for a text that is at hand; `file` is what errors name.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn check_text(file: &str, text: &str) -> Result<Provider, CatalogError> {
        let entry = read_entry(file, text, &embedded)?;
        let mut catalog = Self::load(None)?;
        let provider = entry.provider.clone();
        catalog.providers.remove(&provider.slug);
        catalog.insert(vec![entry])?;
        Ok(provider)
    }

    /// Reads and checks a text alone, without a look at the names of other entries.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Provider, CatalogError> {
        read_entry(file, text, &embedded).map(|entry| entry.provider)
    }

    /// The text of an entry of the binary, as its file stands.
    pub fn embedded_text(slug: &str) -> Option<&'static str> {
        embedded(slug)
    }

    /// A catalogue of these entries alone.
    pub fn of(providers: impl IntoIterator<Item = Provider>) -> Self {
        let providers = providers.into_iter();
        Self {
            providers: providers
                .map(|provider| (provider.slug.clone(), provider))
                .collect(),
        }
    }

    /// The same catalogue with every address led to a sandbox at this origin, where each provider is mounted
    /// at `{origin}/{slug}/{host}/…`.
    #[must_use]
    pub fn in_sandbox(mut self, origin: &str) -> Self {
        for provider in self.providers.values_mut() {
            provider.lead_to(origin);
        }
        self
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

/// The text of an entry of the binary.
fn embedded(slug: &str) -> Option<&'static str> {
    let file = format!("{slug}.toml");
    let found = EMBEDDED.iter().find(|(name, _)| *name == file);
    found.map(|(_, text)| *text)
}

fn read_entry(
    file: &str,
    text: &str,
    parent: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<Entry, CatalogError> {
    let at = |line, message: String| CatalogError::Entry {
        file: file.to_owned(),
        line,
        message,
    };
    let unreadable = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        at(line, error.message().to_owned())
    };
    let in_whole = |error: toml::de::Error| {
        // The whole has no lines; the error names its keys, and what this file says of them has.
        let line = place_of(&error).line(text);
        at(line, one_line(&error))
    };
    let merged = extended(text, parent).map_err(unreadable)?;
    let inherits = merged.is_some();
    let mut provider: Provider = match merged {
        None => toml::from_str(text).map_err(unreadable)?,
        Some(Ok(whole)) => whole.try_into().map_err(in_whole)?,
        Some(Err(unknown)) => {
            let line = Place::default().key("extends").line(text);
            return Err(at(line, format!("extends: there is no entry '{unknown}'")));
        }
    };
    checks::check(&provider).map_err(|problem| problem.in_file(file, text))?;
    for name in &provider.unsure {
        let place = name
            .split('.')
            .fold(Place::default(), |place, key| place.key(key));
        if !place.is_in(text) && !inherits {
            let line = Place::default().key("unsure").line(text);
            return Err(at(
                line,
                format!("unsure: '{name}' does not stand in this file"),
            ));
        }
    }
    for service in &mut provider.services {
        for endpoint in &mut service.endpoints {
            endpoint.declare_paging(service.pagination.as_ref());
        }
    }
    provider.derive_kinds();
    Ok(Entry {
        file: file.to_owned(),
        text: text.to_owned(),
        provider,
    })
}

/// The keys that lead to what an error is about, as its text names them; with a field that is not known, to that field.
fn place_of(error: &toml::de::Error) -> Place {
    let text = error.to_string();
    let keys = text.lines().find_map(|line| {
        let keys = line.strip_prefix("in `")?;
        keys.strip_suffix('`')
    });
    let place = Place::default();
    let place = keys.map_or(place.clone(), |keys| {
        keys.split('.').fold(place, |place, key| place.key(key))
    });
    let unknown = error.message().strip_prefix("unknown field `");
    match unknown.and_then(|rest| rest.split('`').next()) {
        Some(field) => place.key(field),
        None => place,
    }
}

/// The error's text with the keys that it names, in one line.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join(" ").trim().to_owned()
}

/// The document with everything that it does not say taken from the entry that it `extends`; `Some(Err)` names
/// an entry that there is not. Tables are joined member by member, anything else replaces what was there.
fn extended(
    text: &str,
    parent: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<Option<Result<toml::Table, String>>, toml::de::Error> {
    let mut own: toml::Table = toml::from_str(text)?;
    let Some(toml::Value::String(slug)) = own.remove("extends") else {
        return Ok(None);
    };
    let Some(base) = parent(&slug) else {
        return Ok(Some(Err(slug)));
    };
    let mut whole: toml::Table = toml::from_str(base)?;
    join(&mut whole, own);
    Ok(Some(Ok(whole)))
}

fn join(base: &mut toml::Table, own: toml::Table) {
    for (name, value) in own {
        match (base.get_mut(&name), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(own)) => join(base, own),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
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
    // Before it is opened: a pipe would wait for its writer, and a device has neither size nor end.
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(unreadable(io::Error::other("it is no file")));
    }
    if about.len() > FILE_BYTES {
        let error = io::Error::other(format!("it is larger than {FILE_BYTES} bytes"));
        return Err(unreadable(error));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    // It may grow meanwhile.
    let mut file = file.take(FILE_BYTES);
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
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

impl Provider {
    /// Makes the protocol of each kind of application anew, after the entry's own was changed.
    pub fn derive_kinds(&mut self) {
        let base = &self.oauth;
        let kinds = self.app_kinds.iter();
        self.kinds = kinds
            .map(|kind| (kind.name.clone(), kind.apply(base)))
            .collect();
    }
}

impl Endpoint {
    /// The partner's method.
    pub fn method(&self) -> Method {
        // Checked when the file is read.
        self.method.parse().unwrap_or_default()
    }
}
