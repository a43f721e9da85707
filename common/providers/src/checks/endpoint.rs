//! Checks of named endpoints: that their paths, parameters and bodies fit together.

use std::collections::BTreeSet;

use super::{Checked, ensure};
use crate::{
    entry::{BodyRule, Endpoint, EndpointParam, ParamPlace, ParamType},
    lines::Place,
};

pub(super) fn check_endpoint(endpoint: &Endpoint, place: &Place) -> Checked {
    const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
    let method = endpoint.method.as_str();
    ensure(
        METHODS.contains(&method),
        &place.key("method"),
        "is not GET, POST, PUT, PATCH or DELETE",
    )?;
    let sent = endpoint.request.method.as_deref().unwrap_or(method);
    let request = place.key("request");
    ensure(
        METHODS.contains(&sent),
        &request.key("method"),
        "is not GET, POST, PUT, PATCH or DELETE",
    )?;
    let fields = endpoint
        .params
        .values()
        .any(|param| param.place == ParamPlace::Body);
    let body = fields || endpoint.body != BodyRule::Fields;
    ensure(
        !body || !matches!(method, "GET" | "DELETE"),
        &place.key("method"),
        "takes no body",
    )?;
    ensure(
        !fields || endpoint.body != BodyRule::Json,
        &place.key("body"),
        "a body that is handed on as it is has no parameters",
    )?;
    check_partner_path(endpoint, &place.key("path"))?;
    // A query parameter may fill a segment of the provider's path, if it always has a value.
    check_path(
        endpoint,
        &endpoint.request.path,
        &request.key("path"),
        |param| {
            let always = param.required || param.default.is_some();
            param.place == ParamPlace::Path || (param.place == ParamPlace::Query && always)
        },
    )?;
    for (name, param) in &endpoint.params {
        check_param(endpoint, name, param, &place.key("params").key(name))?;
    }
    Ok(())
}

/// The partner's path must hold every path parameter once, each a whole segment.
fn check_partner_path(endpoint: &Endpoint, place: &Place) -> Checked {
    check_path(endpoint, &endpoint.path, place, |param| {
        param.place == ParamPlace::Path
    })?;
    let whole = |segment: &str| {
        !segment.contains(['{', '}'])
            || (segment.rfind('{') == Some(0) && segment.find('}') == Some(segment.len() - 1))
    };
    let split = endpoint.path.split('/').find(|segment| !whole(segment));
    ensure(
        split.is_none(),
        place,
        "has a parameter that is not a whole segment",
    )
}

/// A path template must hold every path parameter once, and none that does not fit.
fn check_path(
    endpoint: &Endpoint,
    path: &str,
    place: &Place,
    fits: impl Fn(&EndpointParam) -> bool,
) -> Checked {
    ensure(
        path.starts_with('/') && !path.contains("//"),
        place,
        "must start with one slash",
    )?;
    let mut found = BTreeSet::new();
    for slot in path.split('{').skip(1) {
        let name = slot.split_once('}').map(|(name, _)| name);
        let declared = name
            .and_then(|name| endpoint.params.get(name))
            .is_some_and(&fits);
        let shown = name.unwrap_or(slot);
        ensure(
            declared,
            place,
            format!("'{shown}' is not a parameter that fits here"),
        )?;
        ensure(found.insert(name), place, format!("'{shown}' stands twice"))?;
    }
    let path_params = endpoint
        .params
        .iter()
        .filter(|(_, param)| param.place == ParamPlace::Path);
    let missing = path_params
        .map(|(name, _)| name)
        .find(|name| !found.contains(&Some(name.as_str())));
    ensure(
        missing.is_none(),
        place,
        "does not hold every path parameter",
    )
}

fn check_param(endpoint: &Endpoint, name: &str, param: &EndpointParam, place: &Place) -> Checked {
    ensure(
        !name.is_empty() && !name.contains(['{', '}', '/']),
        place,
        "is not a parameter's name",
    )?;
    let scalar = !matches!(param.kind, ParamType::Strings | ParamType::Json);
    match param.place {
        ParamPlace::Path => {
            ensure(scalar, &place.key("type"), "does not fit into a path")?;
            ensure(
                param.default.is_none(),
                &place.key("default"),
                "a path has no defaults",
            )?;
            ensure(
                param.to.is_none(),
                &place.key("to"),
                "a path names parameters itself",
            )?;
            ensure(
                param.aliases.is_empty(),
                &place.key("aliases"),
                "a path has no aliases",
            )?;
        }
        ParamPlace::Query => {
            ensure(
                param.kind != ParamType::Json,
                &place.key("type"),
                "does not fit into a query",
            )?;
        }
        ParamPlace::Body => {}
    }
    let bounded = param.min.is_none() && param.max.is_none();
    let bounds = matches!(param.kind, ParamType::Integer)
        || (param.kind == ParamType::String && param.min.is_none());
    ensure(
        bounded || bounds,
        place,
        "min is for integers, max for integers and texts",
    )?;
    let texts = param.one_of.is_empty() || param.kind == ParamType::String;
    ensure(texts, &place.key("one_of"), "is for texts")?;
    if let Some(default) = &param.default {
        ensure(
            !param.required,
            &place.key("default"),
            "a required parameter has none",
        )?;
        ensure(scalar, &place.key("default"), "is for single values")?;
        let fits = param.check_text(name, default);
        ensure(
            fits.is_ok(),
            &place.key("default"),
            "does not fit the parameter's own rules",
        )?;
    }
    for (other, second) in &endpoint.params {
        let clash = other != name
            && (param.aliases.contains(other)
                || second.aliases.iter().any(|a| param.aliases.contains(a)));
        ensure(
            !clash,
            &place.key("aliases"),
            format!("are taken by '{other}'"),
        )?;
        let target =
            |name: &str, param: &EndpointParam| param.to.clone().unwrap_or_else(|| name.to_owned());
        let same = other != name
            && param.place == second.place
            && target(name, param) == target(other, second);
        ensure(!same, &place.key("to"), format!("is taken by '{other}'"))?;
    }
    let fixed = param.place == ParamPlace::Query
        && endpoint
            .request
            .query
            .contains_key(param.to.as_deref().unwrap_or(name));
    ensure(!fixed, place, "is always sent by request.query")
}
