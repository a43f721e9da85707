//! Checks of what a body says beyond its types. All wrong fields of a request are named at once.

use latchkey_domain::Timestamp;
use serde_json::Value;

use crate::error::{ApiError, FieldError};

/// A time of a query: RFC 3339, or a date, which stands for its beginning in UTC.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn time(field: &str, text: &str) -> Result<Timestamp, ApiError> {
    let is_date = text.len() == "2026-11-21".len();
    let parsed = if is_date {
        Timestamp::parse(&format!("{text}T00:00:00Z"))
    } else {
        Timestamp::parse(text)
    };
    let said = "must be a time such as 2026-11-21T20:00:00Z, or a date";
    parsed.map_err(|_| ApiError::field(field, said))
}

/// Gathers what is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<FieldError>);

impl Checks {
    /// Notes a problem with a field unless `holds`.
    pub(crate) fn require(&mut self, holds: bool, field: &str, problem: impl Into<String>) {
        if !holds {
            self.0.push(FieldError {
                field: field.to_owned(),
                problem: problem.into(),
            });
        }
    }

    /// One line of so many characters.
    pub(crate) fn text(&mut self, field: &str, text: &str, min: usize, max: usize) {
        let length = text.chars().count();
        let range = format!("must be {min} to {max} characters");
        self.require((min..=max).contains(&length), field, range);
        let clean = !text.chars().any(char::is_control);
        self.require(clean, field, "must hold no control characters");
    }

    /// Lines of at most so many characters.
    pub(crate) fn paragraph(&mut self, field: &str, text: &str, max: usize) {
        let fits = text.chars().count() <= max;
        self.require(fits, field, format!("must be at most {max} characters"));
        let clean = !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        self.require(clean, field, "must hold no control characters");
    }

    /// The same for a text that may be absent.
    pub(crate) fn maybe_text(&mut self, field: &str, text: Option<&str>, min: usize, max: usize) {
        if let Some(text) = text {
            self.text(field, text, min, max);
        }
    }

    /// A JSON object of at most so many bytes as JSON.
    pub(crate) fn json_size(&mut self, field: &str, map: &impl serde::Serialize, max: usize) {
        let size = serde_json::to_vec(map).map_or(usize::MAX, |json| json.len());
        self.require(
            size <= max,
            field,
            format!("must be at most {max} bytes as JSON"),
        );
    }

    /// A web address.
    pub(crate) fn web_url(&mut self, field: &str, text: &str, max: usize) {
        self.text(field, text, 1, max);
        let url = url::Url::parse(text).ok();
        let is_web = url.is_some_and(|u| matches!(u.scheme(), "https" | "http") && u.has_host());
        self.require(
            is_web,
            field,
            "must be a web address such as https://example.com",
        );
    }

    /// Values that are texts or numbers, as placeholders take them.
    pub(crate) fn plain_values(&mut self, field: &str, map: &serde_json::Map<String, Value>) {
        for (name, value) in map {
            let plain = matches!(value, Value::String(_) | Value::Number(_));
            self.require(
                plain,
                &format!("{field}.{name}"),
                "must be a text or a number",
            );
        }
    }

    /// The refusal, if anything is wrong.
    ///
    /// # Errors
    /// 400 naming every wrong field.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let more = match self.0.len() {
            1 => String::new(),
            n => format!(" (and {} more; see details)", n - 1),
        };
        let message = format!("{} {}{more}", first.field, first.problem);
        Err(ApiError {
            details: self.0,
            ..ApiError::invalid(message)
        })
    }
}
