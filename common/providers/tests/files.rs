//! An operator's own catalogue files, and their errors with file and line.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;

use latchkey_providers::{Catalog, CatalogError, Provider};
use proptest::prelude::*;

fn provider<'a>(catalog: &'a Catalog, slug: &str) -> &'a Provider {
    catalog.get(slug).unwrap()
}

/// The least that an entry for an RFC 6749 server needs.
const ACME: &str = r#"
slug = "acme"
display_name = "Acme"

[oauth.authorize]
url = "https://acme.example/o/authorize/"

[oauth.token]
url = "https://acme.example/o/token/"
auth = "basic"

[oauth.rotation]
mode = "single_use"

[oauth.revoke]
url = "https://acme.example/o/revoke_token/"

[[services]]
slug = "api"
base_url = "https://acme.example/api"

[[services.permissions]]
id = "acme.read"
kind = "read"
scopes = ["read"]
default = true
"#;

fn load(files: &[(&str, &str)]) -> Result<Catalog, CatalogError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    Catalog::load(Some(dir.path()))
}

#[test]
fn an_operator_adds_and_replaces_entries() {
    let named = ACME
        .replace("\"Acme\"", "\"Other\"")
        .replace("slug = \"acme\"", "slug = \"github\"");
    let catalog = load(&[
        ("acme.toml", ACME),
        ("gh.toml", &named),
        ("notes.txt", "not TOML"),
    ])
    .unwrap();
    assert_eq!(provider(&catalog, "acme").display_name, "Acme");
    assert_eq!(provider(&catalog, "github").display_name, "Other");
    assert_eq!(provider(&catalog, "google").display_name, "Google");
}

#[test]
fn an_operator_changes_one_field_and_keeps_the_rest() {
    let ours = "extends = \"hubspot\"\n\n[oauth.rotation]\nmode = \"single_use\"\n";
    let catalog = load(&[("hubspot.toml", ours)]).unwrap();
    let hubspot = provider(&catalog, "hubspot");
    assert!(hubspot.oauth.rotation.rules().rotates);
    assert_eq!(hubspot.oauth.lifetimes.access_s, Some(1800));
    assert_eq!(hubspot.services[0].endpoints.len(), 15);
    let error = load(&[("x.toml", "slug = \"x\"\nextends = \"nobody\"\n")]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("x.toml:2: extends: there is no entry 'nobody'"),
        "{error}"
    );
    let unsure = ACME.replace(
        "display_name",
        "unsure = [\"oauth.rotation.grace_s\"]\ndisplay_name",
    );
    let error = load(&[("acme.toml", &unsure)]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("acme.toml:3: unsure: 'oauth.rotation.grace_s' does not stand"),
        "{error}"
    );
}

/// What is wrong with a field of an entry that extends another stands on the line of this file that says it.
#[test]
fn errors_of_what_extends_another_name_the_line_too() {
    for (text, expected) in [
        (
            "extends = \"hubspot\"\n\n[oauth.rotation]\nmode = \"twice\"\n",
            "4: unknown variant `twice`",
        ),
        (
            "extends = \"hubspot\"\n[oauth]\nissuer = 5\n",
            "3: invalid type: integer `5`",
        ),
        (
            "extends = \"hubspot\"\n[oauth.rotation]\ncolour = 1\n",
            "3: unknown field `colour`",
        ),
        (
            "extends = \"hubspot\"\ncolour = 1\n",
            "2: unknown field `colour`",
        ),
        ("extends = 5\n", "1: unknown field `extends`"),
        (
            "extends = \"hubspot\"\n[oauth.token]\nurl = \"/x\"\n",
            "3: oauth.token.url: is not an absolute",
        ),
    ] {
        let CatalogError::Entry { line, message, .. } = load(&[("x.toml", text)]).unwrap_err()
        else {
            panic!("{text}");
        };
        let got = format!("{line}: {message}");
        assert!(
            got.starts_with(expected),
            "{text}\n  got      {got}\n  expected {expected}"
        );
        assert!(!got.contains('\n'), "{got}");
    }
}

/// What is no file of a bearable size is not read.
#[cfg(unix)]
#[test]
fn devices_directories_and_what_is_huge_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;

    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge.toml");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"odd.toml"));
    fs::write(&odd, b"slug = \"\xFF\"\n").unwrap();
    for (path, why) in [
        (huge.as_path(), "larger than 1048576 bytes"),
        ("/dev/zero".as_ref(), "it is no file"),
        (dir.path(), "it is no file"),
        (odd.as_path(), "UTF-8"),
    ] {
        let error = Catalog::check_file(path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(why), "{}: {cause}", path.display());
    }
}

/// Texts that would cost much: each is refused or read at once, whatever its size up to the largest file.
#[test]
fn what_costs_much_is_refused() {
    let asked = |regex: &str| {
        let param =
            format!("[[app_params]]\nname = \"x\"\nlabel = \"X\"\nregex = '{regex}'\n[[services]]");
        broken("[[services]]", &param)
    };
    for bomb in [
        "(a{1000}){1000}",
        "((((((((((((((((((((((a))))))))))))))))))))))",
        "a)|(.*",
    ] {
        let got = asked(bomb);
        assert!(
            got.starts_with("21: app_params[0].regex: is no pattern"),
            "{got}"
        );
    }
    let many = |text: &dyn Fn(usize) -> String| (0..101).map(text).collect::<String>();
    let params = many(&|n| format!("[[app_params]]\nname = \"x{n}\"\nlabel = \"X\"\n"));
    let got = broken("[[services]]", &format!("{params}[[services]]"));
    assert!(got.ends_with("app_params: holds more than 100"), "{got}");
    let unsure = many(&|_| "\"slug\",".to_owned());
    let got = broken(
        "display_name",
        &format!("unsure = [{unsure}]\ndisplay_name"),
    );
    assert!(got.ends_with("unsure: holds more than 100"), "{got}");
    let deep =
        |open: &str, close: &str| format!("x = {}{}", open.repeat(100_000), close.repeat(100_000));
    for text in [
        deep("[", "]"),
        deep("{a=", "}"),
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        let got = broken("[oauth.authorize]", &format!("{text}\n[oauth.authorize]"));
        assert!(got.contains("recursion"), "{got}");
    }
}

/// What goes into an address can fill its place there, and nothing around it.
#[test]
fn what_leads_out_of_its_place_in_an_address_is_refused() {
    let host = |regex: &str| {
        let param = format!(
            "[[connection_params]]\nname = \"host\"\nlabel = \"Host\"\nregex = '{regex}'\n"
        );
        let text = ACME.replace(
            "https://acme.example/api",
            "https://{connection.host}.acme.example/api",
        );
        load(&[("acme.toml", &format!("{text}{param}"))]).map(drop)
    };
    host("[a-z0-9-]+").unwrap();
    for regex in [
        ".*",
        "[^ ]+",
        "[a-z/]+",
        "[a-z]+(#|)",
        "[a-z.]+",
        "[a-z@]+",
        r"[a-z\\]+",
        "[a-z]*",
    ] {
        let error = host(regex).unwrap_err().to_string();
        assert!(error.contains("and its regex lets '"), "{regex}: {error}");
    }
}

#[test]
fn a_missing_directory_is_named() {
    let error = Catalog::load(Some("/nonexistent/catalog".as_ref())).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/catalog");
}

/// The error of a file in which `from` stands as `to`, without the directory.
fn broken(from: &str, to: &str) -> String {
    assert!(ACME.contains(from), "{from}");
    let error = load(&[("acme.toml", &ACME.replacen(from, to, 1))]).unwrap_err();
    let CatalogError::Entry {
        file,
        line,
        message,
    } = error
    else {
        panic!("{error}")
    };
    assert!(file.ends_with("/acme.toml"), "{file}");
    format!("{line}: {}", message.lines().next().unwrap())
}

/// What stands in [`ACME`], what is put in its place, and how the error begins.
const BROKEN: &[(&str, &str, &str)] = &[
    (
        "slug = \"acme\"",
        "slug = \"acme",
        "2: invalid basic string",
    ),
    (
        "[[services]]",
        "[oauth.refresh]\nsingle_flight_key = \"account\"\n[[services]]",
        "19: oauth.refresh.single_flight_key: \"account\" goes with lifetimes",
    ),
    (
        "[[services]]",
        "[oauth.lifetimes]\nshared_refresh_across_connections = true\n[oauth.refresh]\nsingle_flight_key = \"account\"\n[[services]]",
        "21: oauth.refresh.single_flight_key: \"account\" needs identity.source",
    ),
    (
        "slug = \"acme\"",
        "slug = 7",
        "2: invalid type: integer `7`, expected a string",
    ),
    (
        "slug = \"acme\"",
        "slug = \"jobs\"",
        "2: slug: 'jobs' is a path of the API itself",
    ),
    (
        "slug = \"acme\"",
        "slug = \"gmail\"",
        "2: slug: 'gmail' is taken by another entry",
    ),
    (
        "slug = \"acme\"",
        "slug = \"a/b\"",
        "2: slug: must be a word of a-z, 0-9, - and _, starting with a letter",
    ),
    (
        "display_name = \"Acme\"",
        "colour = \"red\"",
        "3: unknown field `colour`",
    ),
    (
        "[oauth.token]",
        "state_max_len = 20\n[oauth.token]",
        "8: oauth.authorize.state_max_len: is too short",
    ),
    (
        "auth = \"basic\"",
        "auth = \"magic\"",
        "10: unknown variant `magic`",
    ),
    (
        "auth = \"basic\"",
        "hmac_check = true",
        "10: unknown field `hmac_check`",
    ),
    (
        "https://acme.example/o/token/",
        "/o/token/",
        "9: oauth.token.url: is not an absolute http(s) address",
    ),
    (
        "https://acme.example/o/token/",
        "https://acme.example@evil.example/token",
        "9: oauth.token.url: is not an absolute http(s) address",
    ),
    (
        "https://acme.example/o/token/",
        "ftp://acme.example/token",
        "9: oauth.token.url: is not an absolute http(s) address",
    ),
    (
        "https://acme.example/o/token/",
        "{app.x}/token",
        "9: oauth.token.url: nothing declares 'x'",
    ),
    (
        "https://acme.example/o/token/",
        "{env.HOME}/token",
        "9: '{env.HOME}/token' is not a template",
    ),
    (
        "https://acme.example/o/token/",
        "{token.x}/token",
        "9: oauth.token.url: 'x' is not known yet at this point",
    ),
    (
        "mode = \"single_use\"",
        "grace_s = 5",
        "13: oauth.rotation.grace_s: needs mode = \"single_use\"",
    ),
    (
        "id = \"acme.read\"",
        "id = \"read\"",
        "23: services[0].permissions[0].id: must look like service.read",
    ),
    (
        "scopes = [\"read\"]",
        "scopes = [\"a\", \"b,c\"]",
        "25: services[0].permissions[0].scopes[1]: is not a scope",
    ),
    (
        "[[services]]",
        "[[app_params]]\nname = \"x\"\nlabel = \"X\"\nregex = \"(\"\n[[services]]",
        "21: app_params[0].regex: is no pattern",
    ),
    (
        "[[services]]",
        "[[app_params]]\nname = \"client_id\"\nlabel = \"X\"\n[[services]]",
        "19: app_params[0].name: is Latchkey's own",
    ),
    (
        "[[services]]",
        "[[oauth.errors]]\nclass = \"permanent\"\n[[services]]",
        "18: oauth.errors[0]: needs http, equals, contains or regex",
    ),
    (
        "[[services]]",
        "[[oauth.errors]]\nclass = \"permanent\"\nregex = \"(\"\n[[services]]",
        "20: regex parse error",
    ),
    (
        "[[services]]",
        "[[oauth.errors]]\nclass = \"permanent\"\nregex = \"x\"\n[[services]]",
        "18: oauth.errors[0].example: goes with regex",
    ),
    (
        "[[services]]",
        "[[oauth.errors]]\nclass = \"permanent\"\nregex = \"x\"\nexample = \"y\"\n[[services]]",
        "21: oauth.errors[0].example: is not found by the regex",
    ),
    (
        "[[services]]",
        "[oauth.refresh]\ntrigger = \"introspect\"\n[[services]]",
        "5: oauth.introspect: goes with refresh.trigger",
    ),
    (
        "[[services]]",
        "[oauth.introspect]\nurl = \"https://x.example\"\n[[services]]",
        "18: oauth.introspect: goes with refresh.trigger",
    ),
    (
        "[[services]]",
        "[rate]\nreason_header = \"a b\"\n[[services]]",
        "19: rate.reason_header: is not a header's name",
    ),
    (
        "slug = \"api\"",
        "slug = \"calendar\"\ntop_level = true",
        "19: services[0].slug: 'calendar' is taken by another entry",
    ),
];

#[test]
fn errors_name_file_and_line() {
    for (from, to, expected) in BROKEN {
        let got = broken(from, to);
        assert!(
            got.starts_with(expected),
            "{to}\n  got      {got}\n  expected {expected}"
        );
    }
}

/// An endpoint that is right.
const ENDPOINT: &str = "name = \"x\"\nmethod = \"POST\"\npath = \"/x/{id}\"\npermission = \"acme.read\"\n\
        params.id = { in = \"path\" }\nrequest.path = \"/y/{id}\"\n";

/// What stands in [`ENDPOINT`], what is put in its place, and how the error begins.
const BROKEN_ENDPOINTS: &[(&str, &str, &str)] = &[
    (
        "\"POST\"",
        "\"BREW\"",
        "3: services[0].endpoints[0].method: is not GET",
    ),
    (
        "\"acme.read\"",
        "\"acme.all\"",
        "5: services[0].endpoints[0].permission: is not a permission",
    ),
    (
        "/y/{id}",
        "/y",
        "7: services[0].endpoints[0].request.path: does not hold every path parameter",
    ),
    (
        "/y/{id}",
        "/y/{id}/{no}",
        "7: services[0].endpoints[0].request.path: 'no' is not declared; add params.no = { in = \"path\" }",
    ),
    (
        "/y/{id}",
        "/y/../{id}",
        "7: services[0].endpoints[0].request.path: the path holds a dot segment",
    ),
    (
        "/y/{id}",
        "/y/%2e%2e/{id}",
        "7: services[0].endpoints[0].request.path: the path holds a dot segment",
    ),
    (
        "/y/{id}",
        "/y/{id}?admin=1",
        "7: services[0].endpoints[0].request.path: the path holds a character that must be escaped",
    ),
    (
        "/x/{id}",
        "/x/a{id}",
        "4: services[0].endpoints[0].path: has a parameter that is not a whole segment",
    ),
    (
        "/x/{id}",
        "x",
        "4: services[0].endpoints[0].path: must start with one slash",
    ),
    (
        "{ in = \"path\" }",
        "{ in = \"path\", default = \"1\" }",
        "6: services[0].endpoints[0].params.id.default: a path has no",
    ),
    (
        "{ in = \"path\" }",
        "{ in = \"path\" }\nparams.n = { type = \"integer\", default = \"a\" }",
        "7: services[0].endpoints[0].params.n.default: does not fit",
    ),
    (
        "{ in = \"path\" }",
        "{ in = \"path\" }\nparams.n = { to = \"q\" }\nparams.q = {}",
        "7: services[0].endpoints[0].params.n.to: is taken by 'q'",
    ),
    (
        "{ in = \"path\" }",
        "{ in = \"path\" }\nbody = \"json\"\nparams.n = { in = \"body\" }",
        "7: services[0].endpoints[0].body: a body that is handed on",
    ),
    (
        "{ in = \"path\" }",
        "{ in = \"path\", shape = \"list\" }",
        "6: unknown field `shape`",
    ),
];

#[test]
fn errors_of_endpoints_name_file_and_line() {
    let endpoint = |text: &str| {
        let all = format!("{ACME}[[services.endpoints]]\n{text}");
        let error = load(&[("acme.toml", &all)]).unwrap_err();
        let CatalogError::Entry { line, message, .. } = error else {
            panic!("{error}")
        };
        format!(
            "{}: {}",
            line - ACME.lines().count(),
            message.lines().next().unwrap()
        )
    };
    for (from, to, expected) in BROKEN_ENDPOINTS {
        assert!(ENDPOINT.contains(from), "{from}");
        let got = endpoint(&ENDPOINT.replacen(from, to, 1));
        assert!(
            got.starts_with(expected),
            "{to}\n  got      {got}\n  expected {expected}"
        );
    }
    let twice = format!(
        "{ENDPOINT}[[services.endpoints]]\n{}",
        ENDPOINT
            .replace("\"x\"", "\"z\"")
            .replace("{id}", "{no}")
            .replace("params.id", "params.no")
    );
    assert!(
        endpoint(&twice).starts_with("11: services[0].endpoints[1].path: means the same"),
        "{}",
        endpoint(&twice)
    );
}

proptest! {
    // Each case reads the whole catalogue of the binary too.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_panics(text in r#"(slug|=|"|\[oauth\]|\[|\]|\{|\}|url|app|\.|\n|[a-z]|\PC){0,60}"#) {
        let _ = load(&[("x.toml", &text)]);
    }
}
