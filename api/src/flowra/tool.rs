//! Tools: the named endpoints of the catalogue as Flowra's clients see and run them.

use std::collections::BTreeMap;

use latchkey_providers::{
    BuildError, Endpoint, EndpointMatch, PermissionKind,
    entry::{BodyRule, EndpointParam, ParamPlace, ParamType},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::toolkit::{Toolkit, ToolkitRef};
use crate::{error::ApiError, reply::Result, state::Api};

/// Arguments under the names that clients know, with the names of our parameters.
type Arguments = &'static [(&'static str, &'static str)];

/// Names that existing clients know, for endpoints that have another here: tool, toolkit, endpoint, and arguments
/// under the names of our parameters.
const KNOWN_AS: &[(&str, &str, &str, Arguments)] = &[
    (
        "GMAIL_SEND_EMAIL",
        "gmail",
        "send_message",
        &[("recipient_email", "to"), ("is_html", "html")],
    ),
    (
        "GMAIL_FETCH_EMAILS",
        "gmail",
        "list_messages",
        &[
            ("max_results", "limit"),
            ("query", "q"),
            ("page_token", "cursor"),
        ],
    ),
    (
        "GMAIL_FETCH_MESSAGE_BY_MESSAGE_ID",
        "gmail",
        "get_message",
        &[("message_id", "id")],
    ),
];

/// What takes the whole body of an endpoint that hands JSON on as it is.
const BODY: &str = "body";

/// A named endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool<'a> {
    /// Its toolkit.
    pub(crate) toolkit: Toolkit<'a>,
    /// The endpoint.
    pub(crate) endpoint: &'a Endpoint,
}

/// A request to a named endpoint.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    /// The endpoint, with the values of its path.
    pub(crate) found: EndpointMatch<'a>,
    /// Its query.
    pub(crate) query: Vec<(String, String)>,
    /// Its body; empty if there is none.
    pub(crate) body: Vec<u8>,
}

impl<'a> Tool<'a> {
    /// Its name: toolkit and endpoint, or the one that clients know.
    pub(crate) fn slug(self) -> String {
        match self.known_as() {
            Some((name, _)) => name.to_owned(),
            None => self.own_slug(),
        }
    }

    fn own_slug(self) -> String {
        format!("{}_{}", self.toolkit.slug(), self.endpoint.name).to_ascii_uppercase()
    }

    /// Whether this is a name of it, in any case.
    pub(crate) fn is_named(self, name: &str) -> bool {
        let known = self
            .known_as()
            .is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
        known || self.own_slug().eq_ignore_ascii_case(name)
    }

    fn known_as(self) -> Option<(&'static str, &'static [(&'static str, &'static str)])> {
        let found = KNOWN_AS.iter().find(|(_, toolkit, endpoint, _)| {
            self.endpoint.name == *endpoint && self.toolkit.slug() == *toolkit
        });
        found.map(|(name, _, _, arguments)| (*name, *arguments))
    }

    /// The name that clients know a parameter by.
    fn shown<'n>(self, name: &'n str) -> &'n str
    where
        'a: 'n,
    {
        let arguments = self.known_as().map_or(&[][..], |(_, arguments)| arguments);
        arguments
            .iter()
            .find(|(_, own)| *own == name)
            .map_or(name, |(known, _)| known)
    }

    /// The parameter that an argument names.
    fn param(self, argument: &str) -> Option<(&'a str, &'a EndpointParam)> {
        let arguments = self.known_as().map_or(&[][..], |(_, arguments)| arguments);
        let known = arguments.iter().find(|(known, _)| *known == argument);
        let name = known.map_or(argument, |(_, own)| own);
        let named = |(own, param): &(&String, &EndpointParam)| {
            *own == name || param.aliases.iter().any(|alias| alias == name)
        };
        let found = self.endpoint.params.iter().find(named);
        found.map(|(own, param)| (own.as_str(), param))
    }

    /// JSON Schema of its arguments.
    pub(crate) fn input_schema(self) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (name, param) in &self.endpoint.params {
            let shown = self.shown(name);
            properties.insert(shown.to_owned(), param.schema());
            if param.required || param.place == ParamPlace::Path {
                required.push(shown);
            }
        }
        if self.endpoint.body == BodyRule::Json {
            properties.insert(BODY.to_owned(), json!({"type": "object"}));
            required.push(BODY);
        }
        json!({"type": "object", "properties": properties, "required": required,
               "additionalProperties": false})
    }

    /// The request of these arguments.
    ///
    /// # Errors
    /// 400 naming the argument that is unknown, missing, or of a wrong type.
    pub(crate) fn plan(self, arguments: &Map<String, Value>) -> Result<Planned<'a>> {
        let mut path_params = BTreeMap::new();
        let (mut query, mut fields, mut whole) = (Vec::new(), Map::new(), None);
        for (argument, value) in arguments {
            if value.is_null() {
                continue;
            }
            let at = format!("arguments.{argument}");
            let Some((name, param)) = self.param(argument) else {
                if argument == BODY && self.endpoint.body == BodyRule::Json && value.is_object() {
                    whole = Some(value.to_string().into_bytes());
                    continue;
                }
                return Err(self.unknown(&at, argument));
            };
            match param.place {
                ParamPlace::Path => {
                    path_params.insert(name.to_owned(), scalar(&at, param.kind, value)?);
                }
                ParamPlace::Query => {
                    for value in several(&at, param.kind, value)? {
                        query.push((name.to_owned(), value));
                    }
                }
                ParamPlace::Body => {
                    fields.insert(name.to_owned(), value.clone());
                }
            }
        }
        self.check_path(&path_params)?;
        let body = match (whole, self.endpoint.body) {
            (Some(body), _) => body,
            (None, BodyRule::Json) => {
                return Err(ApiError::field(
                    "arguments.body",
                    "is required: a JSON object",
                ));
            }
            (None, _) if fields.is_empty() => Vec::new(),
            (None, _) => Value::Object(fields).to_string().into_bytes(),
        };
        Ok(Planned {
            found: EndpointMatch {
                provider: self.toolkit.provider,
                service: self.toolkit.service,
                endpoint: self.endpoint,
                path_params,
            },
            query,
            body,
        })
    }

    fn check_path(self, given: &BTreeMap<String, String>) -> Result<()> {
        let declared = self.endpoint.params.iter();
        let in_path = declared.filter(|(_, param)| param.place == ParamPlace::Path);
        for (name, _) in in_path {
            if !given.contains_key(name) {
                return Err(ApiError::field(
                    format!("arguments.{}", self.shown(name)),
                    "is required",
                ));
            }
        }
        Ok(())
    }

    fn unknown(self, at: &str, argument: &str) -> ApiError {
        if argument == BODY && self.endpoint.body == BodyRule::Json {
            return ApiError::field(at, "must be a JSON object");
        }
        let schema = self.input_schema();
        let known = schema["properties"].as_object().map(|properties| {
            let names: Vec<_> = properties.keys().map(String::as_str).collect();
            names.join(", ")
        });
        let at: String = at.chars().take(100).collect();
        let known = known
            .filter(|names| !names.is_empty())
            .unwrap_or_else(|| "none".to_owned());
        ApiError::field(
            at,
            format!("is not an argument of {}; it takes {known}", self.slug()),
        )
    }

    /// The refusal of arguments that do not fit the endpoint, under the names that clients know.
    pub(crate) fn does_not_fit(self, error: ApiError) -> ApiError {
        let details = error.details.into_iter().map(|mut field| {
            let known = self.endpoint.params.contains_key(&field.field);
            if known || field.field == BODY {
                field.field = format!("arguments.{}", self.shown(&field.field));
            }
            field
        });
        let details: Vec<_> = details.collect();
        let message = match details.first() {
            Some(first) => format!("{}: {}", first.field, first.problem),
            None => error.message,
        };
        ApiError {
            message,
            details,
            ..error
        }
    }

    /// What it does.
    pub(crate) fn description(self) -> String {
        if let Some(about) = &self.endpoint.about {
            return about.clone();
        }
        let words = self.endpoint.name.replace('_', " ");
        let mut letters = words.chars();
        let first = letters
            .next()
            .map(|c| c.to_uppercase().to_string())
            .unwrap_or_default();
        format!(
            "{first}{} ({} of {}).",
            letters.as_str(),
            self.toolkit.name(),
            self.toolkit.provider.display_name
        )
    }

    /// Whether it only reads.
    pub(crate) fn reads(self) -> bool {
        let permission = self.toolkit.provider.permission(&self.endpoint.permission);
        permission.is_some_and(|permission| permission.kind == PermissionKind::Read)
    }
}

/// The endpoint's own words for what is wrong with a request.
pub(crate) fn misfit(error: BuildError) -> ApiError {
    match error {
        BuildError::Missing(name) => ApiError::field(name, "is required"),
        BuildError::Unknown(name) => ApiError::field(name, "is not an argument of this tool"),
        BuildError::Invalid { name, problem } => ApiError::field(name, problem),
        other => ApiError::field(BODY, other.to_string()),
    }
}

fn text(at: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(ApiError::field(at, "must be a text")),
    }
}

/// One value of a path or query.
fn scalar(at: &str, kind: ParamType, value: &Value) -> Result<String> {
    match (kind, value) {
        (ParamType::Integer, Value::Number(number)) if number.is_i64() => Ok(number.to_string()),
        (ParamType::Integer, _) => Err(ApiError::field(at, "must be a whole number")),
        (ParamType::Boolean, Value::Bool(flag)) => Ok(flag.to_string()),
        (ParamType::Boolean, _) => Err(ApiError::field(at, "must be true or false")),
        _ => text(at, value),
    }
}

fn several(at: &str, kind: ParamType, value: &Value) -> Result<Vec<String>> {
    match (kind, value) {
        (ParamType::Strings, Value::Array(items)) => {
            items.iter().map(|item| text(at, item)).collect()
        }
        (ParamType::Strings, Value::String(text)) => Ok(vec![text.clone()]),
        (ParamType::Strings, _) => Err(ApiError::field(at, "must be a list of texts")),
        _ => Ok(vec![scalar(at, kind, value)?]),
    }
}

/// The tools of a toolkit.
pub(crate) fn of_toolkit(toolkit: Toolkit<'_>) -> Vec<Tool<'_>> {
    let endpoints = toolkit.service.endpoints.iter();
    endpoints
        .map(|endpoint| Tool { toolkit, endpoint })
        .collect()
}

/// Every tool.
pub(crate) fn all(api: &Api) -> Vec<Tool<'_>> {
    super::toolkit::all(api)
        .into_iter()
        .flat_map(of_toolkit)
        .collect()
}

/// The tool of this name.
///
/// # Errors
/// 404.
pub(crate) fn find<'a>(api: &'a Api, name: &str) -> Result<Tool<'a>> {
    let found = all(api).into_iter().find(|tool| tool.is_named(name));
    found.ok_or_else(|| ApiError::not_found("tool"))
}

/// A tool.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FlowraTool)]
pub(crate) struct ToolView {
    /// Its id: the slug.
    #[schema(example = "GMAIL_SEND_EMAIL")]
    id: String,
    /// Its slug: what runs it.
    #[schema(example = "GMAIL_SEND_EMAIL")]
    slug: String,
    /// Its name for people.
    #[schema(example = "send message")]
    name: String,
    /// What it does.
    description: String,
    /// Its toolkit.
    toolkit: ToolkitRef,
    /// JSON Schema of its arguments.
    #[schema(value_type = Object)]
    input_parameters: Value,
    /// `read` or `write`.
    #[schema(example = json!(["write"]))]
    tags: Vec<&'static str>,
    /// The permission that the connection needs.
    #[schema(example = json!(["gmail.send"]))]
    scopes: Vec<String>,
    /// Always `1.0.0`.
    version: &'static str,
    /// Always `false`.
    is_deprecated: bool,
    /// Always `true`.
    is_active: bool,
}

impl ToolView {
    /// As clients see it.
    pub(crate) fn of(api: &Api, tool: Tool<'_>) -> Self {
        let slug = tool.slug();
        Self {
            id: slug.clone(),
            slug,
            name: tool.endpoint.name.replace('_', " "),
            description: tool.description(),
            toolkit: ToolkitRef::of(api, &tool.toolkit.slug()),
            input_parameters: tool.input_schema(),
            tags: vec![if tool.reads() { "read" } else { "write" }],
            scopes: vec![tool.endpoint.permission.clone()],
            version: "1.0.0",
            is_deprecated: false,
            is_active: true,
        }
    }

    /// Ordered by name, then by slug.
    pub(crate) fn by_name(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name).then_with(|| self.by_slug(other))
    }

    /// Ordered by slug.
    pub(crate) fn by_slug(&self, other: &Self) -> std::cmp::Ordering {
        self.slug.cmp(&other.slug)
    }

    /// Whether every word stands in its name, slug or description.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let about = format!(
            "{} {} {} {}",
            self.slug, self.name, self.description, self.toolkit.slug
        );
        let about = about.to_lowercase();
        text.to_lowercase()
            .split_whitespace()
            .all(|word| about.contains(word))
    }
}
