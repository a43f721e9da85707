//! Checks of named endpoints: that their paths, parameters and bodies fit together.

use std::collections::BTreeSet;

use latchkey_oauth::spec::JsonText;

use super::{
    Checked, Problem, ensure, few,
    protocol::{check_headers, check_pointer},
};
use crate::{
    endpoint::template,
    entry::{BodyRule, Endpoint, EndpointParam, ParamPlace, ParamType, Service},
    lines::Place,
    paging::{CURSOR, LIMIT, PageStyle, Pagination},
    target::Target,
};

/// How a list goes on must be said in full.
pub(super) fn check_pagination(pages: &Pagination, place: &Place) -> Checked {
    let (needs_in, needs_out) = match pages.style {
        PageStyle::Token | PageStyle::LastItem => (true, true),
        PageStyle::LinkHeader | PageStyle::Offset | PageStyle::Page => (true, false),
        PageStyle::NextUrl => (false, true),
    };
    ensure(
        !needs_in || pages.send.is_some(),
        &place.key("in"),
        "is needed for this style",
    )?;
    ensure(
        !needs_out || pages.out.is_some(),
        &place.key("out"),
        "is needed for this style",
    )?;
    for (name, pointer) in [
        ("out", &pages.out),
        ("more", &pages.more),
        ("total", &pages.total),
    ] {
        if let Some(pointer) = pointer {
            check_pointer(pointer, &place.key(name))?;
        }
    }
    Ok(())
}

/// A list must say how it goes on, or that it does not, and its example must hold items.
fn check_list(service: &Service, endpoint: &Endpoint, place: &Place) -> Checked {
    if let Some(pages) = &endpoint.pagination {
        check_pagination(pages, &place.key("pagination"))?;
    }
    let Some(items) = &endpoint.items else {
        return ensure(
            endpoint.pagination.is_none(),
            &place.key("pagination"),
            "needs items",
        );
    };
    let place = place.key("items");
    ensure(
        items.is_empty() || items.starts_with('/'),
        &place,
        "must be a JSON pointer or empty",
    )?;
    ensure(
        endpoint.pages(service).is_some(),
        &place,
        "needs a pagination",
    )?;
    let list = |example: &JsonText| {
        example
            .0
            .pointer(items)
            .is_some_and(|list| list.as_array().is_some_and(|l| !l.is_empty()))
    };
    ensure(
        endpoint.example.as_ref().is_none_or(list),
        &place,
        "leads to no list with an item in the example",
    )
}

pub(super) fn check_endpoint(service: &Service, endpoint: &Endpoint, place: &Place) -> Checked {
    const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
    check_list(service, endpoint, place)?;
    check_body_template(endpoint, &place.key("request").key("body"))?;
    check_query(endpoint, &place.key("request").key("query"))?;
    check_headers(
        &endpoint.request.headers,
        &place.key("request").key("headers"),
    )?;
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
    few(endpoint.params.len(), &place.key("params"))?;
    for (name, param) in &endpoint.params {
        check_param(endpoint, name, param, &place.key("params").key(name))?;
    }
    Ok(())
}

/// What the body's template names must be declared.
fn check_body_template(endpoint: &Endpoint, place: &Place) -> Checked {
    let Some(template) = &endpoint.request.body else {
        return Ok(());
    };
    ensure(template.0.is_object(), place, "must be a JSON object")?;
    ensure(
        endpoint.body == BodyRule::Fields,
        place,
        "goes with declared parameters alone",
    )?;
    let paged = |name: &str| endpoint.items.is_some() && [LIMIT, CURSOR].contains(&name);
    let unknown = template::holes(&template.0)
        .into_iter()
        .find(|name| !endpoint.params.contains_key(*name) && !paged(name));
    ensure(
        unknown.is_none(),
        place,
        format!("'{}' is not a parameter", unknown.unwrap_or_default()),
    )
}

/// What the query that is always sent names must be declared.
fn check_query(endpoint: &Endpoint, place: &Place) -> Checked {
    for (sent, value) in &endpoint.request.query {
        let declared = template::hole(value).is_none_or(|name| endpoint.params.contains_key(name));
        ensure(
            declared,
            &place.key(sent),
            format!("'{value}' is not a parameter"),
        )?;
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
    if let Err(error) = Target::raw(&filled(path), None) {
        return Err(Problem::new(place, error.to_string()));
    }
    let mut found = BTreeSet::new();
    for slot in path.split('{').skip(1) {
        let name = slot.split_once('}').map(|(name, _)| name);
        let declared = name
            .and_then(|name| endpoint.params.get(name))
            .is_some_and(&fits);
        let shown = name.unwrap_or(slot);
        ensure(
            endpoint.params.contains_key(shown),
            place,
            format!("'{shown}' is not declared; add params.{shown} = {{ in = \"path\" }}"),
        )?;
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
    // In the provider's request a path parameter may stand in the query or the body instead.
    let elsewhere = |name: &str| {
        path == endpoint.request.path && (endpoint.fills_body(name) || endpoint.fills_query(name))
    };
    let missing = path_params
        .map(|(name, _)| name)
        .find(|name| !found.contains(&Some(name.as_str())) && !elsewhere(name));
    ensure(
        missing.is_none(),
        place,
        "does not hold every path parameter",
    )
}

/// A path template with a word for each parameter.
fn filled(path: &str) -> String {
    let mut parts = path.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| {
        let rest = part.split_once('}').map_or("", |(_, rest)| rest);
        path + "x" + rest
    })
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
