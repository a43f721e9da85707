//! Bodies of the provider's request in which parameters stand as `{name}`.

use serde_json::{Map, Value};

use super::{BuildError, Values, body_values};
use crate::entry::{Endpoint, ParamType};

/// The name of the parameter for which a text of the template stands.
pub(crate) fn hole(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_$.-".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Every parameter that the template names.
pub(crate) fn holes(template: &Value) -> Vec<&str> {
    match template {
        Value::String(text) => hole(text).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(holes).collect(),
        Value::Object(members) => members.values().flat_map(holes).collect(),
        _ => Vec::new(),
    }
}

/// Whether the template names a parameter.
pub(super) fn holds(template: &Value, name: &str) -> bool {
    holes(template).contains(&name)
}

/// The body: the template with its parameters, and beside it what the partner's body declares and the template
/// does not name.
pub(super) fn fill(
    endpoint: &Endpoint,
    template: &Value,
    values: &Values<'_>,
    given: &[u8],
) -> Result<Value, BuildError> {
    let takes_body = !matches!(endpoint.method.as_str(), "GET" | "DELETE");
    if !takes_body && !given.is_empty() {
        return Err(BuildError::UnexpectedBody);
    }
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in body_values(endpoint, given)? {
        fields.insert(name.to_owned(), value);
    }
    for (name, found) in values {
        let kind = endpoint
            .params
            .get(*name)
            .map_or(ParamType::String, |param| param.kind);
        if let Some(text) = found.first() {
            let value = match kind {
                ParamType::Strings => Value::from(found.clone()),
                kind => kind.json(text),
            };
            fields.insert((*name).to_owned(), value);
        }
    }
    // The body itself stays, whatever of it is left out.
    let members = template.as_object().into_iter().flatten();
    let members = members.filter_map(|(name, value)| Some((name.clone(), filled(value, &fields)?)));
    let mut body = Value::Object(members.collect());
    let named = holes(template);
    if let Value::Object(members) = &mut body {
        for (name, value) in fields {
            let param = &endpoint.params[&name];
            let in_body = param.place == crate::entry::ParamPlace::Body;
            if in_body && !named.contains(&name.as_str()) {
                members.insert(param.to.clone().unwrap_or(name), value);
            }
        }
    }
    Ok(body)
}

/// The template with its parameters; `None` for what names parameters of which none was given.
fn filled(template: &Value, fields: &Map<String, Value>) -> Option<Value> {
    let kept = |parts: usize, template: &Value| parts > 0 || holes(template).is_empty();
    match template {
        Value::String(text) => match hole(text) {
            Some(name) => fields.get(name).cloned(),
            None => Some(template.clone()),
        },
        Value::Array(items) => {
            let named = items.iter().filter(|item| !holes(item).is_empty());
            let given = named.filter(|item| filled(item, fields).is_some()).count();
            let items = items.iter().filter_map(|item| filled(item, fields));
            kept(given, template).then(|| items.collect())
        }
        Value::Object(members) => {
            let named = members.values().filter(|value| !holes(value).is_empty());
            let given = named
                .filter(|value| filled(value, fields).is_some())
                .count();
            let members = members
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), filled(value, fields)?)));
            kept(given, template).then(|| Value::Object(members.collect()))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_given_leaves_with_what_holds_it() {
        let template = json!({
            "query": "query($first: Int) { issues { nodes { id } } }",
            "variables": {"first": "{limit}", "after": "{cursor}"},
            "fields": {"summary": "{title}", "text": {"type": "doc", "content": [{"type": "text", "text": "{text}"}]}},
        });
        let fields = |value: Value| value.as_object().cloned().unwrap();
        let got = filled(&template, &fields(json!({"title": "t"})));
        let expected = json!({"query": template["query"], "fields": {"summary": "t"}});
        assert_eq!(got, Some(expected));
        let got = filled(&template["variables"], &fields(json!({"limit": 5}))).unwrap();
        assert_eq!(got, json!({"first": 5}));
        assert_eq!(filled(&json!({"a": {"b": "{x}"}}), &Map::new()), None);
        assert_eq!(hole("{ viewer { id } }"), None);
    }
}
