//! Answers of token, revocation and identity endpoints, in every form seen, and what is made of them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use latchkey_domain::{
    Timestamp,
    refresh::{Class, Ended},
};
use latchkey_oauth::{
    HttpAnswer, Identity, IdentityError, OauthSpec, RevokeOutcome, TokenError, TokenSet,
    answer::{Asked, SUSPICIOUS_LIMIT, host_is_below, parse_tokens},
    parse_identity, read_revocation,
};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Map, json};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const BASE: &str = r#"
[authorize]
url = "https://as.example/authorize"
[token]
url = "https://as.example/token"
"#;

fn spec(tables: &str) -> OauthSpec {
    toml::from_str(&format!("{BASE}{tables}")).unwrap()
}

fn answer(status: u16, body: impl AsRef<[u8]>) -> HttpAnswer {
    HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_ref()),
        sent_bytes: 0,
    }
}

fn read(tables: &str, status: u16, body: impl AsRef<[u8]>) -> Result<TokenSet, TokenError> {
    let scopes = ["asked".to_owned()];
    let asked = Asked::Code { scopes: &scopes };
    parse_tokens(&spec(tables), &answer(status, body), asked, NOW)
}

fn old() -> TokenSet {
    TokenSet {
        access: "old-access".into(),
        refresh: Some("old-refresh".into()),
        token_type: "Bearer".to_owned(),
        scopes: vec!["a".to_owned()],
        expires_at: Some(NOW),
        refresh_expires_at: Some(NOW + Duration::from_secs(900)),
        issued_at: Timestamp::from_secs(0),
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        extra: Map::from_iter([("shard".to_owned(), json!("eu1"))]),
        id_token: None,
    }
}

fn error(tables: &str, status: u16, body: impl AsRef<[u8]>) -> TokenError {
    read(tables, status, body).unwrap_err()
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what may be None")]
fn in_secs(secs: u64) -> Option<Timestamp> {
    Some(NOW + Duration::from_secs(secs))
}

#[test]
fn json_and_form_are_read_whatever_they_claim_to_be() {
    for body in [
        r#"{"access_token":"at","token_type":"bearer","expires_in":3600,"refresh_token":"rt","scope":"a b"}"#,
        r#"{"access_token":"at","expires_in":"3600","refresh_token":"rt","scope":"a,b","extra":{"x":[1]}}"#,
        r#"{"access_token":"at","expires_in":3600.0,"refresh_token":"rt","scope":["a","b"],"error":null}"#,
        "\u{feff}  {\"access_token\":\"at\",\"expires_in\":3600,\"refresh_token\":\"rt\",\"scope\":\"a b\"}\n",
        "access_token=at&expires_in=3600&refresh_token=rt&scope=a%2Cb&token_type=bearer",
        "access_token=at&expires_in=3600&refresh_token=rt&scope=a+b\n",
    ] {
        let tokens = read("", 200, body).unwrap();
        assert_eq!(tokens.access.expose_secret(), "at", "{body}");
        assert_eq!(tokens.refresh.unwrap().expose_secret(), "rt", "{body}");
        assert_eq!(tokens.scopes, ["a", "b"], "{body}");
        assert_eq!(tokens.expires_at, in_secs(3600), "{body}");
        assert_eq!(tokens.token_type, "Bearer", "{body}");
        assert_eq!(tokens.issued_at, NOW);
    }
}

#[test]
fn a_missing_lifetime_is_the_entry_s_or_none() {
    let minimal = r#"{"access_token":"at"}"#;
    let tokens = read("", 200, minimal).unwrap();
    assert_eq!((tokens.expires_at, tokens.refresh_expires_at), (None, None));
    assert_eq!(tokens.scopes, ["asked"]);
    let lifetimes = "[lifetimes]\naccess_s = 60\nrefresh_s = 600\n";
    assert_eq!(
        read(lifetimes, 200, minimal).unwrap().expires_at,
        in_secs(60)
    );
    for nothing in ["0", "-1", "null", "\"\"", "\"soon\"", "[]"] {
        let body =
            format!(r#"{{"access_token":"at","refresh_token":"rt","expires_in":{nothing}}}"#);
        let tokens = read(lifetimes, 200, body).unwrap();
        assert_eq!(tokens.expires_at, in_secs(60), "{nothing}");
        assert_eq!(tokens.refresh_expires_at, in_secs(600), "{nothing}");
    }
}

#[test]
fn times_come_in_every_unit() {
    let with = |unit: &str, value: &str| {
        let tables = format!(
            "[response]\nexpires = {{ path = \"/x/end\", unit = \"{unit}\" }}\nrefresh_expires = {{ path = \"/r\", unit = \"delta_ms\" }}\n"
        );
        let body = format!(
            r#"{{"access_token":"at","refresh_token":"rt","x":{{"end":{value}}},"r":"5000"}}"#
        );
        let tokens = read(&tables, 200, body).unwrap();
        assert_eq!(tokens.refresh_expires_at, in_secs(5));
        tokens.expires_at
    };
    assert_eq!(with("iso8601", r#""2027-01-15T08:01:00Z""#), in_secs(60));
    assert_eq!(with("epoch_ms", r#""1800000060000""#), in_secs(60));
    assert_eq!(with("epoch_s", "1800000060"), in_secs(60));
    assert_eq!(with("delta_s", "60"), in_secs(60));
}

#[test]
fn a_refresh_keeps_what_the_answer_leaves_out() {
    let refresh = |body: &str| {
        parse_tokens(&spec(""), &answer(200, body), Asked::Refresh(&old()), NOW).unwrap()
    };
    let kept = refresh(r#"{"access_token":"new","expires_in":10,"refresh_token":""}"#);
    assert_eq!(kept.access.expose_secret(), "new");
    assert_eq!(kept.refresh.unwrap().expose_secret(), "old-refresh");
    assert_eq!(kept.refresh_expires_at, in_secs(900));
    assert_eq!(kept.scopes, ["a"]);
    assert_eq!(kept.extra["shard"], "eu1");
    let rotated = refresh(r#"{"access_token":"new","refresh_token":"next","scope":"b"}"#);
    assert_eq!(rotated.refresh.unwrap().expose_secret(), "next");
    assert_eq!(rotated.refresh_expires_at, None);
    assert_eq!(rotated.scopes, ["b"]);
}

#[test]
fn kept_members_are_checked() {
    let tables = r#"
    [response.keep]
    instance = { path = "/instance_url", host_suffix_allow = ["example.com"] }
    team = { path = "/team/id" }
    "#;
    let extra = |instance: &str| {
        let body = json!({"access_token": "at", "instance_url": instance, "team": {"id": 7}});
        read(tables, 200, body.to_string()).unwrap().extra
    };
    assert_eq!(
        extra("https://eu1.example.com")["instance"],
        "eu1.example.com",
        "the host alone"
    );
    assert_eq!(extra("https://evil.example")["team"], "7");
    assert!(!extra("https://evil.example").contains_key("instance"));
}

#[test]
fn hosts_are_matched_by_whole_labels() {
    let domains = ["example.com".to_owned()];
    for good in [
        "example.com",
        "a.example.com",
        "https://a.b.example.com/x",
        "A.EXAMPLE.COM",
    ] {
        assert!(host_is_below(good, &domains), "{good}");
    }
    for bad in [
        "evilexample.com",
        "example.com.evil.io",
        "a.example.com@evil.io",
        "evil.io/example.com",
        "http://a.example.com",
        "https://u:p@a.example.com",
        "example.com/x",
        "127.0.0.1",
        "",
        ".example.com",
        "https://evil.io#.example.com",
        "evil.io\\.example.com",
    ] {
        assert!(!host_is_below(bad, &domains), "{bad}");
    }
}

#[test]
fn errors_are_classed_by_rule_then_status_then_code() {
    let rules = r#"
    [[errors]]
    class = "transient"
    equals = ["invalid_grant"]
    http = 409
    [[errors]]
    class = "permanent"
    equals = ["token_revoked", "bad_refresh_token"]
    [[errors]]
    class = "rate_limited"
    http = 403
    path = "/error_description"
    contains = "too often"
    [[errors]]
    class = "operator"
    http = 418
    "#;
    let class = |status, body: &str| error(rules, status, body).class;
    assert_eq!(class(400, r#"{"error":"invalid_grant"}"#), Class::Permanent);
    assert_eq!(class(403, r#"{"error":"invalid_grant"}"#), Class::Permanent);
    assert_eq!(class(409, r#"{"error":"invalid_grant"}"#), Class::Transient);
    assert_eq!(
        class(200, r#"{"error":"bad_refresh_token"}"#),
        Class::Permanent
    );
    assert_eq!(
        class(200, "error=token_revoked&error_description=x"),
        Class::Permanent
    );
    assert_eq!(class(401, r#"{"error":"invalid_client"}"#), Class::Operator);
    assert_eq!(
        class(400, r#"{"error":"unauthorized_client"}"#),
        Class::Operator
    );
    assert_eq!(class(418, "{}"), Class::Operator);
    assert_eq!(
        class(400, r#"{"error":"temporarily_unavailable"}"#),
        Class::Transient
    );
    assert_eq!(class(503, r#"{"error":"invalid_grant"}"#), Class::Transient);
    assert!(matches!(
        class(
            403,
            r#"{"error":"x","error_description":"asked too often"}"#
        ),
        Class::RateLimited(_)
    ));
}

#[test]
fn a_429_waits_as_long_as_it_says() {
    let mut limited = answer(429, "slow down");
    let until = |answer: &HttpAnswer| {
        let error = parse_tokens(&spec(""), answer, Asked::Code { scopes: &[] }, NOW).unwrap_err();
        assert_eq!(error.ended, Ended::Refused);
        let Class::RateLimited(until) = error.class else {
            panic!("{error:?}")
        };
        NOW.until(until).as_secs()
    };
    assert_eq!(until(&limited), 30);
    for (text, secs) in [
        ("7", 7),
        ("86400", 3600),
        ("Fri, 15 Jan 2027 08:02:00 GMT", 120),
    ] {
        limited
            .headers
            .insert(header::RETRY_AFTER, text.parse().unwrap());
        assert_eq!(until(&limited), secs, "{text}");
    }
}

#[test]
fn unknown_errors_turn_permanent_after_a_few() {
    let odd = error("", 400, r#"{"error":"strange_thing"}"#);
    assert!(odd.suspicious);
    assert_eq!(odd.class_after(0), Class::Transient);
    assert_eq!(odd.class_after(SUSPICIOUS_LIMIT - 2), Class::Transient);
    assert_eq!(odd.class_after(SUSPICIOUS_LIMIT - 1), Class::Permanent);
    assert_eq!(odd.class_after(u32::MAX), Class::Permanent);
    // A gateway's page says nothing of the grant, however often it comes.
    let page = error("", 403, "<html>blocked</html>");
    assert_eq!(
        (page.class_after(99), page.code.as_str()),
        (Class::Transient, "http_403")
    );
    assert_eq!(page.ended, Ended::Refused);
}

#[test]
fn what_cannot_be_read_leaves_the_outcome_unknown() {
    for (status, body) in [
        (200, ""),
        (200, "<html><body>hi</body></html>"),
        (200, "OK"),
        (200, "{\"access_token\":"),
        (200, "{}"),
        (200, "[]"),
        (200, "\u{0}\u{1}"),
        (200, r#"{"access_token":{}}"#),
        (200, r#"{"access_token":""}"#),
        (200, "access_token="),
        (204, ""),
        (302, ""),
        (500, "oops"),
        (502, "<html>"),
        (503, "{}"),
        (200, "{\"access_token\":\"a\\nb\"}"),
        (200, "{\"access_token\":\"caf\u{e9}\"}"),
    ] {
        let error = error("", status, body);
        assert_eq!(
            (error.class, error.ended),
            (Class::Transient, Ended::Unknown),
            "{status} {body}"
        );
        assert!(!error.suspicious, "{status} {body}");
    }
}

#[test]
fn too_long_tokens_are_refused() {
    let limits = "[limits]\nmax_access_bytes = 10\nmax_refresh_bytes = 5\n";
    assert!(
        read(
            limits,
            200,
            r#"{"access_token":"0123456789","refresh_token":"01234"}"#
        )
        .is_ok()
    );
    let long = error(limits, 200, r#"{"access_token":"0123456789A"}"#);
    assert_eq!(
        (long.code.as_str(), long.ended),
        ("unusable_access_token", Ended::Unknown)
    );
    let long = error(
        limits,
        200,
        r#"{"access_token":"0","refresh_token":"012345"}"#,
    );
    assert_eq!(long.code, "unusable_refresh_token");
    let huge = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(17 * 1024));
    assert_eq!(error("", 200, huge).code, "unusable_access_token");
    let vast = format!(
        r#"{{"access_token":"at","pad":"{}"}}"#,
        "x".repeat(70 * 1024)
    );
    assert_eq!(error("", 200, vast).code, "unreadable_answer");
}

#[test]
fn codes_and_descriptions_carry_no_secret() {
    let body = json!({
        "error": "invalid_grant\r\nX: y",
        "error_description": "Token ya29.a0AfH6SMBx1234567890abcdef was revoked\u{7} at rt1secret9 by alice",
    });
    let error = error("", 400, body.to_string());
    assert_eq!(error.code, "invalid_grant__X:_y");
    assert_eq!(
        error.description.as_deref(),
        Some("Token [redacted] was revoked at [redacted] by alice")
    );
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 400 invalid_grant__X:_y"
    );
}

#[test]
fn revocations_are_confirmed_gone_or_to_be_tried_again() {
    let tables = "[revoke]\nurl = \"https://as.example/revoke\"\nsuccess_codes = [200, 204]\ngone_codes = [404]\n";
    let outcome = |status, body: &str| read_revocation(&spec(tables), &answer(status, body), NOW);
    assert_eq!(outcome(200, ""), RevokeOutcome::Confirmed);
    assert_eq!(outcome(204, ""), RevokeOutcome::Confirmed);
    assert_eq!(outcome(404, "<html>"), RevokeOutcome::AlreadyGone);
    assert_eq!(
        outcome(400, r#"{"error":"invalid_token"}"#),
        RevokeOutcome::AlreadyGone
    );
    let class = |status, body: &str| match outcome(status, body) {
        RevokeOutcome::Failed { class, .. } => class,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        class(400, r#"{"error":"unsupported_token_type"}"#),
        Class::Permanent
    );
    assert_eq!(class(401, r#"{"error":"invalid_client"}"#), Class::Operator);
    assert_eq!(class(200, r#"{"error":"server_error"}"#), Class::Transient);
    assert_eq!(class(503, ""), Class::Transient);
    assert_eq!(class(403, "<html>blocked</html>"), Class::Transient);
    assert!(matches!(class(429, ""), Class::RateLimited(_)));
}

#[test]
fn identities_are_read_by_pointers() {
    let tables = r#"
    [identity]
    url = "https://as.example/me"
    stable_key = ["/sub", "/user/id"]
    label = ["/email", "/user/name"]
    "#;
    let who = |status, body: &str| parse_identity(&spec(tables), &answer(status, body));
    let identity = |key: &str, label: Option<&str>| {
        Ok(Identity {
            key: key.to_owned(),
            label: label.map(str::to_owned),
        })
    };
    assert_eq!(
        who(200, r#"{"sub":"s-1","email":"a@b.example"}"#),
        identity("s-1", Some("a@b.example"))
    );
    assert_eq!(
        who(200, r#"{"sub":null,"user":{"id":42,"name":"Al\nice"}}"#),
        identity("42", Some("Alice"))
    );
    assert_eq!(who(200, r#"{"sub":"x"}"#), identity("x", None));
    assert_eq!(who(401, "{}"), Err(IdentityError::Status(401)));
    for nobody in [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"sub":""}"#,
        r#"{"sub":{"a":1}}"#,
    ] {
        assert_eq!(who(200, nobody), Err(IdentityError::Nobody), "{nobody}");
    }
    let long = json!({"sub": "x".repeat(256)}).to_string();
    assert_eq!(who(200, &long), Err(IdentityError::Nobody));
}

proptest! {
    #[test]
    fn no_bytes_panic(status in 100_u16..=599, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let tables = "[revoke]\nurl = \"https://as.example/revoke\"\n[identity]\nurl = \"https://as.example/me\"\nstable_key = [\"/id\"]\n";
        let (spec, answer) = (spec(tables), answer(status, &body));
        let _ = parse_tokens(&spec, &answer, Asked::Refresh(&old()), NOW);
        let _ = read_revocation(&spec, &answer, NOW);
        let _ = parse_identity(&spec, &answer);
    }

    #[test]
    fn no_text_that_is_nearly_an_answer_panics(
        body in r#"(\{|access_token|=|"|:|&|expires_in|error|[0-9]|\}|,|\[|\]|é| ){0,40}"#,
    ) {
        let _ = read("", 200, &body);
        let _ = read("", 400, &body);
    }

    #[test]
    fn every_token_that_fits_a_header_comes_through(access in "[!-~]{1,200}", refresh in "[!-~]{1,200}") {
        let body = json!({"access_token": access, "refresh_token": refresh}).to_string();
        let tokens = read("", 200, body).unwrap();
        prop_assert_eq!(tokens.access.expose_secret(), &access);
        let got = tokens.refresh.unwrap();
        prop_assert_eq!(got.expose_secret(), &refresh);
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("access_token", &access)
            .append_pair("refresh_token", &refresh)
            .finish();
        let tokens = read("", 200, form).unwrap();
        prop_assert_eq!(tokens.access.expose_secret(), &access);
    }
}
