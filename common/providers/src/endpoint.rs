//! Turning a partner's request to a named endpoint into the provider's.

pub(crate) mod template;

use std::{collections::BTreeMap, fmt};

use ::http::Method;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{
    catalog::EndpointMatch,
    entry::{BodyRule, Endpoint, EndpointParam, ParamPlace, ParamType},
    paging::{CURSOR, PageStyle},
    quirks,
    target::{Target, TargetError},
};

/// Longest text of a parameter that has no `max` of its own, in characters.
const TEXT_CHARS: usize = 4096;

/// Most values of a parameter that takes several.
const MAX_VALUES: usize = 100;

/// What is escaped in a segment or a query value: all but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A provider's request, without base address and token: what a job carries, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedCall {
    /// The provider's method.
    pub method: Method,
    /// Path and query below the service's base address.
    pub target: Target,
    /// The content type of the body, if there is one.
    pub content_type: Option<String>,
    /// Headers that this endpoint always sends.
    pub headers: Vec<(String, String)>,
    /// The body, empty if there is none.
    pub body: Bytes,
}

/// Neither query nor body.
impl fmt::Debug for PlannedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedCall")
            .field("method", &self.method)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// A partner's request that does not fit the endpoint: 400, with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A parameter is missing.
    #[error("'{0}' is required")]
    Missing(String),
    /// A parameter that the endpoint does not know.
    #[error("'{0}' is not a parameter of this endpoint")]
    Unknown(String),
    /// A value that does not fit.
    #[error("'{name}' {problem}")]
    Invalid {
        /// The parameter.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The body is no JSON object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A body where none is taken.
    #[error("this endpoint takes no body")]
    UnexpectedBody,
    /// What came out could leave the service.
    #[error("the parameters make no safe address")]
    Target(#[source] TargetError),
}

impl BuildError {
    pub(crate) fn invalid(name: &str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            name: name.to_owned(),
            problem: problem.into(),
        }
    }
}

impl EndpointMatch<'_> {
    /// The provider's request. `query` holds decoded pairs; `body` is empty if none was sent.
    pub fn build(
        &self,
        query: &[(String, String)],
        body: &[u8],
    ) -> Result<PlannedCall, BuildError> {
        let endpoint = self.endpoint;
        let mut values = query_values(endpoint, query)?;
        for (name, value) in &self.path_params {
            if let Some(param) = endpoint.params.get(name) {
                param.check_text(name, value)?;
            }
            values.insert(name, vec![value]);
        }
        let path = provider_path(endpoint, &values)?;
        let query = provider_query(endpoint, &values);
        let target = match self.next_page(&values) {
            Some(cursor) => next_target(&path, cursor)?,
            None => Target::raw(&path, Some(&query)).map_err(BuildError::Target)?,
        };
        let body = provider_body(endpoint, &values, body)?;
        let request = &endpoint.request;
        let method = request.method.as_ref();
        let headers = request.headers.iter();
        Ok(PlannedCall {
            // Checked when the file is read.
            method: method.map_or_else(|| endpoint.method(), |m| m.parse().unwrap_or_default()),
            target,
            content_type: body.as_ref().map(|_| "application/json".to_owned()),
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: body.map(Bytes::from).unwrap_or_default(),
        })
    }
}

impl EndpointMatch<'_> {
    /// The rest of the address of the next page, where the provider gives whole addresses.
    fn next_page<'v>(&self, values: &Values<'v>) -> Option<&'v str> {
        let pages = self.endpoint.pages(self.service)?;
        let cursor = values.get(CURSOR)?.first()?;
        (pages.style == PageStyle::NextUrl).then_some(*cursor)
    }
}

/// The address of the next page: the list's own path and what its cursor adds, which stays at or below it.
fn next_target(path: &str, cursor: &str) -> Result<Target, BuildError> {
    let (below, query) = match cursor.split_once('?') {
        Some((below, query)) => (below, Some(query)),
        None => (cursor, None),
    };
    if !below.is_empty() && !below.starts_with('/') {
        return Err(BuildError::invalid(CURSOR, "is not one of this list"));
    }
    Target::raw(&format!("{path}{below}"), query)
        .map_err(|_| BuildError::invalid(CURSOR, "is not one of this list"))
}

/// Values of parameters by their declared names.
type Values<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The query of a partner, checked, with defaults.
fn query_values<'a>(
    endpoint: &'a Endpoint,
    given: &'a [(String, String)],
) -> Result<Values<'a>, BuildError> {
    let declared = || params_in(endpoint, ParamPlace::Query);
    let mut values = Values::new();
    for (name, value) in given {
        let known = declared().find(|(declared, param)| param.is_named(declared, name));
        let (declared, _) = known.ok_or_else(|| BuildError::Unknown(name.clone()))?;
        values.entry(declared).or_default().push(value);
    }
    for (name, param) in declared() {
        let found = values.entry(name).or_default();
        if found.is_empty() {
            found.extend(param.default.as_deref());
        }
        if found.is_empty() && param.required {
            return Err(BuildError::Missing(name.to_owned()));
        }
        if found.len() > 1 && param.kind != ParamType::Strings {
            return Err(BuildError::invalid(name, "is given twice"));
        }
        if found.len() > MAX_VALUES {
            return Err(BuildError::invalid(
                name,
                format!("has more than {MAX_VALUES} values"),
            ));
        }
        found
            .iter()
            .try_for_each(|value| param.check_text(name, value))?;
    }
    Ok(values)
}

/// The provider's path, each parameter one segment.
fn provider_path(endpoint: &Endpoint, values: &Values<'_>) -> Result<String, BuildError> {
    let mut path = endpoint.request.path.clone();
    for (name, found) in values.iter().filter(|(name, _)| endpoint.fills_path(name)) {
        let value = found.first().copied().unwrap_or_default();
        if matches!(value, "" | "." | "..") {
            return Err(BuildError::invalid(name, "is not allowed"));
        }
        let escaped = utf8_percent_encode(value, ESCAPED).to_string();
        path = path.replace(&format!("{{{name}}}"), &escaped);
    }
    Ok(path)
}

/// The provider's query: what is always sent, then the parameters by their public names.
fn provider_query(endpoint: &Endpoint, values: &Values<'_>) -> String {
    let always = endpoint.request.query.iter();
    let mut pairs: Vec<(&str, &str)> = always
        .filter_map(|(sent, value)| {
            let value = match template::hole(value) {
                Some(name) => values.get(name)?.first().copied()?,
                None => value.as_str(),
            };
            Some((sent.as_str(), value))
        })
        .collect();
    for (name, param) in params_in(endpoint, ParamPlace::Query) {
        if !endpoint.fills_path(name) && !endpoint.fills_body(name) && !endpoint.fills_query(name) {
            let sent = param.to.as_deref().unwrap_or(name);
            pairs.extend(
                values
                    .get(name)
                    .into_iter()
                    .flatten()
                    .map(|value| (sent, *value)),
            );
        }
    }
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&")
}

/// The provider's body, if there is one.
fn provider_body(
    endpoint: &Endpoint,
    values: &Values<'_>,
    given: &[u8],
) -> Result<Option<Vec<u8>>, BuildError> {
    if let Some(template) = &endpoint.request.body {
        let object = template::fill(endpoint, &template.0, values, given)?;
        return Ok(Some(object.to_string().into_bytes()));
    }
    if endpoint.body == BodyRule::Json {
        return match serde_json::from_slice::<Value>(given) {
            // As it came: a second writing could change numbers.
            Ok(Value::Object(_)) => Ok(Some(given.to_vec())),
            _ => Err(BuildError::NotAnObject),
        };
    }
    if params_in(endpoint, ParamPlace::Body).next().is_none() {
        return if given.is_empty() {
            Ok(None)
        } else {
            Err(BuildError::UnexpectedBody)
        };
    }
    let fields = body_fields(endpoint, given)?;
    let object = match endpoint.body {
        BodyRule::GmailMessage => quirks::google::gmail_message(&fields)?,
        BodyRule::Fields | BodyRule::Json => fields,
    };
    Ok(Some(Value::Object(object).to_string().into_bytes()))
}

/// The declared members of the body, under the provider's names.
fn body_fields(endpoint: &Endpoint, given: &[u8]) -> Result<Map<String, Value>, BuildError> {
    let fields = body_values(endpoint, given)?;
    let renamed = fields.into_iter().map(|(name, value)| {
        let param = &endpoint.params[name];
        (param.to.clone().unwrap_or_else(|| name.to_owned()), value)
    });
    Ok(renamed.collect())
}

/// The declared members of the body, checked, with defaults, by their declared names.
fn body_values<'e>(
    endpoint: &'e Endpoint,
    given: &[u8],
) -> Result<BTreeMap<&'e str, Value>, BuildError> {
    let given = if given.is_empty() { b"{}" } else { given };
    let Ok(Value::Object(given)) = serde_json::from_slice(given) else {
        return Err(BuildError::NotAnObject);
    };
    let mut values: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, value) in given {
        let mut declared = params_in(endpoint, ParamPlace::Body);
        let known = declared.find(|(declared, param)| param.is_named(declared, &name));
        let (declared, _) = known.ok_or_else(|| BuildError::Unknown(name.clone()))?;
        if values.insert(declared, value).is_some() {
            return Err(BuildError::invalid(declared, "is given twice"));
        }
    }
    let mut fields = BTreeMap::new();
    for (name, param) in params_in(endpoint, ParamPlace::Body) {
        let value = values.remove(name).filter(|value| !value.is_null());
        let default = || param.default.as_ref().map(|text| param.kind.json(text));
        match value.or_else(default) {
            Some(value) => {
                param.check_value(name, &value)?;
                fields.insert(name, value);
            }
            None if param.required => return Err(BuildError::Missing(name.to_owned())),
            None => {}
        }
    }
    Ok(fields)
}

fn params_in(
    endpoint: &Endpoint,
    place: ParamPlace,
) -> impl Iterator<Item = (&str, &EndpointParam)> {
    let params = endpoint
        .params
        .iter()
        .map(|(name, param)| (name.as_str(), param));
    params.filter(move |(_, param)| param.place == place)
}

impl Endpoint {
    /// Whether a parameter stands in the template of the provider's body.
    pub(crate) fn fills_body(&self, name: &str) -> bool {
        let template = self.request.body.as_ref();
        template.is_some_and(|template| template::holds(&template.0, name))
    }

    /// Whether a parameter stands in the provider's query under a name of its own.
    pub(crate) fn fills_query(&self, name: &str) -> bool {
        let mut values = self.request.query.values();
        values.any(|value| template::hole(value) == Some(name))
    }

    /// Whether a parameter is a segment of the provider's path.
    pub(crate) fn fills_path(&self, name: &str) -> bool {
        self.request.path.contains(&format!("{{{name}}}"))
    }
}

impl ParamType {
    /// A default's text as a JSON value.
    pub(crate) fn json(self, text: &str) -> Value {
        match self {
            Self::Integer | Self::Boolean => serde_json::from_str(text).unwrap_or_default(),
            Self::String | Self::Strings | Self::Json => text.into(),
        }
    }
}

impl EndpointParam {
    fn is_named(&self, declared: &str, given: &str) -> bool {
        declared == given || self.aliases.iter().any(|alias| alias == given)
    }

    /// Whether a text, from a path or a query, fits.
    pub(crate) fn check_text(&self, name: &str, text: &str) -> Result<(), BuildError> {
        match self.kind {
            ParamType::String | ParamType::Strings => self.check_string(name, text),
            ParamType::Integer => {
                let number = text
                    .parse()
                    .map_err(|_| BuildError::invalid(name, "must be a whole number"))?;
                self.check_integer(name, number)
            }
            ParamType::Boolean if matches!(text, "true" | "false") => Ok(()),
            ParamType::Boolean => Err(BuildError::invalid(name, "must be true or false")),
            ParamType::Json => Ok(()),
        }
    }

    /// Whether a member of a body fits.
    fn check_value(&self, name: &str, value: &Value) -> Result<(), BuildError> {
        match (self.kind, value) {
            (ParamType::String, Value::String(text)) => self.check_string(name, text),
            (ParamType::String, _) => Err(BuildError::invalid(name, "must be a text")),
            (ParamType::Integer, value) => match value.as_i64() {
                Some(number) => self.check_integer(name, number),
                None => Err(BuildError::invalid(name, "must be a whole number")),
            },
            (ParamType::Boolean, Value::Bool(_)) | (ParamType::Json, _) => Ok(()),
            (ParamType::Boolean, _) => Err(BuildError::invalid(name, "must be true or false")),
            (ParamType::Strings, Value::Array(items)) => {
                if items.len() > MAX_VALUES {
                    return Err(BuildError::invalid(
                        name,
                        format!("has more than {MAX_VALUES} values"),
                    ));
                }
                items.iter().try_for_each(|item| match item.as_str() {
                    Some(text) => self.check_string(name, text),
                    None => Err(BuildError::invalid(name, "must hold texts")),
                })
            }
            (ParamType::Strings, _) => Err(BuildError::invalid(name, "must be an array of texts")),
        }
    }

    fn check_string(&self, name: &str, text: &str) -> Result<(), BuildError> {
        let most = self
            .max
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(TEXT_CHARS);
        if text.chars().count() > most {
            return Err(BuildError::invalid(
                name,
                format!("is longer than {most} characters"),
            ));
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|allowed| allowed == text) {
            return Err(BuildError::invalid(
                name,
                format!("must be one of {}", self.one_of.join(", ")),
            ));
        }
        Ok(())
    }

    fn check_integer(&self, name: &str, number: i64) -> Result<(), BuildError> {
        if let Some(min) = self.min.filter(|min| number < *min) {
            return Err(BuildError::invalid(name, format!("must be at least {min}")));
        }
        if let Some(max) = self.max.filter(|max| number > *max) {
            return Err(BuildError::invalid(name, format!("must be at most {max}")));
        }
        Ok(())
    }
}
