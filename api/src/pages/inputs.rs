//! What the connect page asks for first: what a provider needs to know before its consent page (a shop, a tenant),
//! or the credentials themselves where there is no consent.

use std::fmt::Write;

use latchkey_providers::{Param, Provider};
use latchkey_store::{JsonMap, Scheme, SessionRow};
use serde_json::Value;

use super::Escaped;
use crate::flowra::scheme::{self, Field};

/// Bytes of a form.
pub(super) const MAX_FORM: usize = 64 * 1024;

/// What is asked of this session's user.
pub(super) struct Asked<'a> {
    provider: &'a Provider,
    known: JsonMap,
    params: Vec<&'a Param>,
    fields: &'static [Field],
}

/// What is wrong with an answer, for the person who gave it.
#[derive(Clone, Debug)]
pub(super) struct Problem(String);

impl Problem {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What was answered.
pub(super) struct Given {
    /// The session's parameters with what was asked, if anything was.
    pub(super) params: Option<JsonMap>,
    /// The credentials' fields.
    pub(super) fields: JsonMap,
}

impl<'a> Asked<'a> {
    /// What is not known yet.
    pub(super) fn of(provider: &'a Provider, session: &SessionRow, held: Scheme) -> Self {
        let params = provider.connection_params.iter();
        Self {
            provider,
            known: session.params.clone(),
            params: params
                .filter(|param| !session.params.contains_key(&param.name))
                .collect(),
            fields: scheme::fields(held),
        }
    }

    /// Whether anything is asked.
    pub(super) fn asks(&self) -> bool {
        !self.params.is_empty() || !self.fields.is_empty()
    }

    /// The form's inputs.
    pub(super) fn html(&self, problem: Option<&Problem>) -> String {
        let mut html = String::new();
        if let Some(Problem(text)) = problem {
            // Writing to a String cannot fail.
            let _ = write!(
                html,
                "<p role=\"alert\"><strong>{}</strong></p>",
                Escaped(text)
            );
        }
        let mut input = |name: &str, label: &str, kind: &str, value: &str, required: bool| {
            let required = if required { " required" } else { "" };
            let _ = write!(
                html,
                "<p><label>{}<br><input name=\"{}\" type=\"{kind}\" value=\"{}\" autocomplete=\"off\" \
                 maxlength=\"2048\"{required}></label></p>",
                Escaped(label),
                Escaped(name),
                Escaped(value),
            );
        };
        for param in &self.params {
            let default = param.default.as_deref().unwrap_or_default();
            input(
                &param.name,
                &param.label,
                "text",
                default,
                param.default.is_none(),
            );
        }
        for field in self.fields {
            let kind = if field.secret { "password" } else { "text" };
            input(field.name, field.label, kind, "", true);
        }
        html
    }

    /// Reads the form.
    pub(super) fn read(&self, form: &[u8]) -> Result<Given, Problem> {
        let (mut params, mut fields) = (self.known.clone(), JsonMap::new());
        for (name, value) in form_urlencoded::parse(form) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            if self.params.iter().any(|param| param.name == name) {
                params.insert(name.into_owned(), Value::from(value));
            } else if self.fields.iter().any(|field| field.name == name) {
                fields.insert(name.into_owned(), Value::from(value));
            }
        }
        for field in self.fields {
            if !fields.contains_key(field.name) {
                return Err(Problem(format!("{} is needed.", field.label)));
            }
        }
        for param in &self.params {
            let given = params.get(&param.name).and_then(Value::as_str);
            match given.or(param.default.as_deref()) {
                None => return Err(Problem(format!("{} is needed.", param.label))),
                Some(value) if !param.takes(value) => {
                    return Err(Problem(format!("This is no {}.", param.label)));
                }
                Some(_) => {}
            }
        }
        if self.params.is_empty() {
            return Ok(Given {
                params: None,
                fields,
            });
        }
        let checked = self.provider.check_connection_params(&params);
        let checked = checked.map_err(|error| Problem(format!("This does not fit: {error}.")))?;
        Ok(Given {
            params: Some(checked),
            fields,
        })
    }
}
