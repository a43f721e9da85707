//! Bringing a provider's answer into the form that clients of other products know, as data.
//!
//! A shape is JSON. A text in it that begins with `/` is a JSON pointer into the answer, or into each item of a
//! list; `/a|/b` takes the first that is there. A segment `[name=value]` picks the item of an array whose
//! member `name` is `value`, whatever its case; `[name]` the first that has a member `name` that is not empty.
//! `base64url(/a)` decodes, `exists(/a)` is `true` or `false`. Everything else stands as it is.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::entry::Endpoint;

impl Endpoint {
    /// The answer in the form that partners get; `None` where that is the provider's own.
    pub fn shaped(&self, answer: &Value) -> Option<Value> {
        let shape = &self.shape.as_ref()?.0;
        let Some(pointer) = &self.items else {
            return Some(fill(shape, answer));
        };
        let items = answer.pointer(pointer)?.as_array()?;
        let list = Value::Array(items.iter().map(|item| fill(shape, item)).collect());
        Some(match pointer.rsplit('/').next() {
            None | Some("") => list,
            Some(name) => Value::Object(Map::from_iter([(name.to_owned(), list)])),
        })
    }
}

fn fill(shape: &Value, from: &Value) -> Value {
    match shape {
        Value::String(text) => text_of(text, from),
        Value::Array(items) => items.iter().map(|item| fill(item, from)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), fill(value, from)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn text_of(text: &str, from: &Value) -> Value {
    let inside = |function: &str| text.strip_prefix(function)?.strip_suffix(')');
    if let Some(pointers) = inside("base64url(") {
        let encoded = first(pointers, from)
            .and_then(Value::as_str)
            .unwrap_or_default();
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .unwrap_or_default();
        return String::from_utf8_lossy(&bytes).into_owned().into();
    }
    if let Some(pointers) = inside("exists(") {
        return first(pointers, from).is_some().into();
    }
    if text.starts_with('/') {
        return first(text, from).cloned().unwrap_or_default();
    }
    text.into()
}

/// The value at the first pointer that leads to one.
fn first<'v>(pointers: &str, from: &'v Value) -> Option<&'v Value> {
    let found = |pointer: &str| lookup(pointer, from).filter(|value| !value.is_null());
    pointers.split('|').find_map(found)
}

fn lookup<'v>(pointer: &str, from: &'v Value) -> Option<&'v Value> {
    let mut value = from;
    for segment in pointer.strip_prefix('/')?.split('/') {
        let picked = segment
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        value = match picked {
            None => value.pointer(&format!("/{segment}"))?,
            Some(condition) => {
                let (name, wanted) = condition.split_once('=').unwrap_or((condition, ""));
                let has = |item: &&Value| {
                    let text = item.get(name).and_then(Value::as_str).unwrap_or_default();
                    !text.is_empty() && (wanted.is_empty() || text.eq_ignore_ascii_case(wanted))
                };
                value.as_array()?.iter().find(has)?
            }
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shapes_pick_decode_and_tell() {
        let answer = json!({
            "id": "m1", "headers": [{"name": "From", "value": "a@b"}, {"name": "subject", "value": "Hi"}],
            "parts": [{"filename": ""}, {"filename": "x.pdf"}], "body": {"data": "SGV5"}, "none": null,
        });
        let shape = json!({
            "id": "/id", "subject": "/headers/[name=Subject]/value", "first": "/none|/missing|/id",
            "body": "base64url(/body/data)", "attached": "exists(/parts/[filename])", "cc": "/headers/[name=Cc]/value",
            "kind": "mail", "deep": ["/id"],
        });
        let expected = json!({
            "id": "m1", "subject": "Hi", "first": "m1", "body": "Hey", "attached": true, "cc": null, "kind": "mail",
            "deep": ["m1"],
        });
        assert_eq!(fill(&shape, &answer), expected);
        assert_eq!(fill(&json!("base64url(/id)"), &json!({"id": 7})), json!(""));
        assert_eq!(
            fill(&json!("exists(/parts/[filename])"), &json!({"parts": []})),
            json!(false)
        );
    }
}
