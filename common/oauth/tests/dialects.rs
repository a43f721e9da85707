//! Where providers leave RFC 6749: JSON bodies, errors inside a success, several tokens of one consent, ends
//! that are counted otherwise, and identities that stand elsewhere.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use latchkey_domain::{Timestamp, refresh::Class};
use latchkey_oauth::{
    AuthorizeRequest, Client, CodeExchange, HttpAnswer, HttpRequest, OauthSpec, TokenError,
    TokenSet, Vars,
    answer::{Asked, parse_tokens},
    authorize_url, exchange_request, identity_in_tokens, identity_request, introspect_request,
    parse_identity, parse_introspection, parse_sites, refresh_request, revoke_requests,
    sites_request,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const TOKEN: &str = "[token]\nurl = \"https://as.example/token\"\n";

fn spec(tables: &str) -> OauthSpec {
    let token = if tables.contains("[token]") {
        ""
    } else {
        TOKEN
    };
    let authorize = if tables.contains("[authorize]") {
        ""
    } else {
        "[authorize]\nurl = \"https://as.example/authorize\"\n"
    };
    toml::from_str(&format!("{authorize}{token}{tables}")).unwrap()
}

fn answer(status: u16, body: &Value) -> HttpAnswer {
    HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_string()),
        sent_bytes: 0,
    }
}

fn first(spec: &OauthSpec, body: &Value) -> Result<TokenSet, TokenError> {
    parse_tokens(spec, &answer(200, body), Asked::Code { scopes: &[] }, NOW)
}

fn again(spec: &OauthSpec, before: &TokenSet, body: &Value, now: Timestamp) -> TokenSet {
    parse_tokens(spec, &answer(200, body), Asked::Refresh(before), now).unwrap()
}

/// Runs `check` with a client.
fn with_client<T>(check: impl FnOnce(&Client<'_>) -> T) -> T {
    let (secret, none): (SecretString, _) = ("s/1".into(), Map::new());
    let vars = Vars {
        client_id: "c 1",
        app: &none,
        connection: &none,
        token: &none,
    };
    check(&Client {
        secret: Some(&secret),
        vars,
    })
}

fn exchange(spec: &OauthSpec) -> HttpRequest {
    let exchange = CodeExchange {
        code: &"code".into(),
        verifier: &"verifier".into(),
        redirect_uri: "https://latchkey.example/cb",
    };
    with_client(|client| exchange_request(spec, client, &exchange).unwrap())
}

fn body_of(request: &HttpRequest) -> Value {
    serde_json::from_slice(request.request.body()).unwrap()
}

#[test]
fn a_token_request_may_be_json() {
    let spec =
        spec("[token]\nurl = \"https://as.example/token\"\nauth = \"basic\"\nbody = \"json\"\n");
    let request = exchange(&spec);
    assert_eq!(
        request.request.headers()["content-type"],
        "application/json"
    );
    let header = request.request.headers()["authorization"].to_str().unwrap();
    assert!(header.starts_with("Basic "), "{header}");
    let expected = json!({"grant_type": "authorization_code", "code": "code", "code_verifier": "verifier",
        "redirect_uri": "https://latchkey.example/cb"});
    assert_eq!(body_of(&request), expected);
    let post = spec_with_body("post");
    assert_eq!(body_of(&exchange(&post))["client_secret"], "s/1");
}

fn spec_with_body(auth: &str) -> OauthSpec {
    spec(&format!(
        "[token]\nurl = \"https://as.example/token\"\nauth = \"{auth}\"\nbody = \"json\"\n"
    ))
}

#[test]
fn the_callback_and_the_client_id_are_repeated_as_the_entry_says() {
    let spec = spec(
        "[token]\nurl = \"https://as.example/token\"\nauth = \"basic\"\nredirect_uri = \"never\"\n\
         client_id_in_body = true\n[authorize]\nurl = \"https://as.example/a\"\npkce = \"off\"\n",
    );
    let body = String::from_utf8(exchange(&spec).request.body().to_vec()).unwrap();
    assert_eq!(
        body,
        "client_id=c+1&code=code&grant_type=authorization_code"
    );
}

#[test]
fn scopes_of_a_class_have_their_own_parameter() {
    let spec = spec(
        "[authorize]\nurl = \"https://as.example/a\"\npkce = \"off\"\nscope_separator = \"comma\"\n\
         scope_classes = { user_scope = \"user:\" }\n",
    );
    let url = |scopes: &[&str]| {
        let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
        let request = AuthorizeRequest {
            redirect_uri: "https://l.example/cb",
            scopes: &scopes,
            state: "s",
            challenge: "c",
        };
        let url = with_client(|client| authorize_url(&spec, client, &request).unwrap());
        let pairs = url
            .query_pairs()
            .filter(|(name, _)| name.ends_with("scope"));
        pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        url(&["a", "user:b", "c", "user:a"]),
        ["scope=a,c", "user_scope=b,a"]
    );
    assert_eq!(url(&["user:b"]), ["user_scope=b"]);
    assert_eq!(url(&["a"]), ["scope=a"]);
    assert!(url(&[]).is_empty());
}

const TWO: &str = r#"
[response]
ok_path = "/ok"
scope_separator = "comma"
tokens = [
    { class = "bot", access = "/access_token", refresh = "/refresh_token", expires = "/expires_in", scope = "/scope" },
    { class = "user", access = "/authed_user/access_token", refresh = "/authed_user/refresh_token", expires = "/authed_user/expires_in", scope = "/authed_user/scope", scope_prefix = "user:" },
]
"#;

#[test]
fn one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself() {
    let spec = spec(TWO);
    let both = json!({"ok": true, "access_token": "bot-1", "refresh_token": "bot-r1", "expires_in": 43200,
        "token_type": "bot", "scope": "chat:write,users:read",
        "authed_user": {"access_token": "user-1", "refresh_token": "user-r1", "expires_in": 3600,
            "scope": "search:read", "token_type": "user"}});
    let tokens = first(&spec, &both).unwrap();
    assert_eq!(tokens.token_type, "Bearer");
    assert_eq!(
        tokens.scopes,
        ["chat:write", "users:read", "user:search:read"]
    );
    let access = |tokens: &TokenSet, class| {
        tokens
            .access_of(class)
            .map(|t| t.expose_secret().to_owned())
    };
    assert_eq!(access(&tokens, None).as_deref(), Some("bot-1"));
    assert_eq!(access(&tokens, Some("user")).as_deref(), Some("user-1"));
    assert_eq!(access(&tokens, Some("bot")).as_deref(), Some("bot-1"));
    assert_eq!(access(&tokens, Some("other")), None);
    let tokens = TokenSet::from_bytes(tokens.to_bytes().expose_secret()).unwrap();
    let presented = |tokens: &TokenSet| {
        let request = with_client(|client| refresh_request(&spec, client, tokens).unwrap());
        let pairs: Vec<_> = url::form_urlencoded::parse(request.request.body())
            .into_owned()
            .collect();
        pairs
            .into_iter()
            .find(|(name, _)| name == "refresh_token")
            .unwrap()
            .1
    };
    // The one that ends first goes first, and its answer stands at the top.
    assert_eq!(presented(&tokens), "user-r1");
    let answer = json!({"ok": true, "access_token": "user-2", "refresh_token": "user-r2",
        "expires_in": 86400, "token_type": "user", "scope": "search:read"});
    let tokens = again(&spec, &tokens, &answer, NOW);
    assert_eq!(access(&tokens, None).as_deref(), Some("bot-1"));
    assert_eq!(access(&tokens, Some("user")).as_deref(), Some("user-2"));
    assert_eq!(tokens.scopes.len(), 3);
    assert_eq!(presented(&tokens), "bot-r1");
    assert_eq!(
        tokens.refresh_by(spec.refresh.renewal()),
        Some(NOW + Duration::from_secs(43200))
    );
    // A user alone.
    let user = json!({"ok": true, "authed_user": {"access_token": "u", "scope": "search:read"}});
    let tokens = first(&spec, &user).unwrap();
    assert_eq!((tokens.class.as_str(), tokens.also.len()), ("user", 0));
    assert_eq!(access(&tokens, None).as_deref(), Some("u"));
    assert_eq!(tokens.refresh_by(spec.refresh.renewal()), None);
}

#[test]
fn a_success_without_its_ok_is_an_error() {
    let spec = spec(&format!(
        "{TWO}[[errors]]\nclass = \"permanent\"\nequals = [\"invalid_refresh_token\"]\n"
    ));
    let refused = first(
        &spec,
        &json!({"ok": false, "error": "invalid_refresh_token"}),
    )
    .unwrap_err();
    assert_eq!(
        (refused.class, refused.code.as_str()),
        (Class::Permanent, "invalid_refresh_token")
    );
    let bare = first(&spec, &json!({"access_token": "x"})).unwrap_err();
    assert_eq!(bare.class, Class::Transient);
}

#[test]
fn an_error_s_code_may_stand_elsewhere() {
    let spec = spec(
        "[response]\nerror_path = [\"/status\", \"/category\"]\n\
         [[errors]]\nclass = \"permanent\"\npath = \"/status\"\nequals = [\"BAD_REFRESH_TOKEN\"]\n",
    );
    let body =
        json!({"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"});
    let refused =
        parse_tokens(&spec, &answer(400, &body), Asked::Code { scopes: &[] }, NOW).unwrap_err();
    assert_eq!(
        (refused.class, refused.code.as_str()),
        (Class::Permanent, "BAD_REFRESH_TOKEN")
    );
}

#[test]
fn ends_are_counted_as_the_entry_says() {
    let life = |tables: &str, body: Value| {
        let spec = spec(tables);
        let tokens = first(&spec, &body).unwrap();
        let secs = |at: Option<Timestamp>| at.map(|at| at.as_secs() - NOW.as_secs());
        let end = (secs(tokens.expires_at), secs(tokens.refresh_expires_at));
        (
            end,
            secs(tokens.refresh_by(spec.refresh.renewal())),
            spec,
            tokens,
        )
    };
    let plain = json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600});
    // A year of minutes where seconds are meant.
    let trap = json!({"access_token": "a", "refresh_token": "r", "expires_in": 60, "refresh_token_expires_in": 525_600});
    let (end, ..) = life(
        "[response]\nrefresh_expires = { path = \"/refresh_token_expires_in\", unit = \"delta_s\", override_s = 31536000 }\n",
        trap,
    );
    assert_eq!(end, (Some(60), Some(31_536_000)));
    // Written 100 s ago by its own word; a word far off is not believed.
    for (ago, expected) in [(100, 3500), (-100, 3600), (900, 3600)] {
        let mut body = plain.clone();
        body["issued_at"] = ((NOW.as_secs() - ago) * 1000).to_string().into();
        let issued = "[response]\nissued_at = { path = \"/issued_at\", unit = \"epoch_ms\" }\n";
        assert_eq!(life(issued, body).0.0, Some(expected), "{ago}");
    }
    assert_eq!(
        life("[refresh]\nlead_s = 600\n", plain.clone()).1,
        Some(3000)
    );
    assert_eq!(
        life("[refresh]\nkeepalive_s = 1800\n", plain.clone()).1,
        Some(1800)
    );
    assert_eq!(
        life("[refresh]\ntrigger = \"on_401\"\n", plain.clone()).1,
        None
    );
    let lifetimes = "[lifetimes]\nrefresh_idle_s = 1000\nrefresh_hard_s = 1500\n";
    let (end, _, spec, tokens) = life(lifetimes, plain.clone());
    assert_eq!(end.1, Some(1000));
    let later = NOW + Duration::from_secs(400);
    let tokens = again(&spec, &tokens, &plain, later);
    assert_eq!(
        tokens.refresh_expires_at,
        Some(NOW + Duration::from_secs(1400))
    );
    let tokens = again(&spec, &tokens, &plain, later + Duration::from_secs(400));
    assert_eq!(
        tokens.refresh_expires_at,
        Some(NOW + Duration::from_secs(1500)),
        "the hard end"
    );
}

#[test]
fn what_goes_into_an_address_is_kept_as_a_host() {
    let spec = spec(
        "[response]\nkeep = { host = { path = \"/api_domain\", host_suffix_allow = [\"pipe.example\"] } }\n",
    );
    let kept = |domain: &str| {
        let tokens = first(&spec, &json!({"access_token": "a", "api_domain": domain})).unwrap();
        tokens.extra.get("host").cloned()
    };
    assert_eq!(
        kept("https://acme.pipe.example"),
        Some("acme.pipe.example".into())
    );
    assert_eq!(kept("acme.pipe.example"), Some("acme.pipe.example".into()));
    for bad in [
        "https://evil.example",
        "http://acme.pipe.example",
        "https://acme.pipe.example@evil.example",
    ] {
        assert_eq!(kept(bad), None, "{bad}");
    }
}

#[test]
fn identities_stand_elsewhere_too() {
    let in_tokens = spec(
        "[response]\nkeep = { bot_id = { path = \"/bot_id\" }, name = { path = \"/workspace_name\" } }\n\
         [identity]\nsource = \"token_response\"\nstable_key = [\"/bot_id\"]\nlabel = [\"/name\"]\n",
    );
    let tokens = first(
        &in_tokens,
        &json!({"access_token": "a", "bot_id": "b1", "workspace_name": "W"}),
    );
    let tokens = tokens.unwrap();
    let who = with_client(|client| {
        identity_in_tokens(&in_tokens, client, &tokens, NOW)
            .unwrap()
            .unwrap()
    });
    assert_eq!((who.key.as_str(), who.label.as_deref()), ("b1", Some("W")));
    assert!(with_client(|client| identity_request(&in_tokens, client, &tokens).unwrap()).is_none());

    let graphql = spec(
        "[identity]\nurl = \"https://api.example/graphql\"\nmethod = \"POST\"\n\
         body = '{\"query\":\"{ viewer { id } }\"}'\nstable_key = [\"/data/viewer/id\"]\n\
         workspace = [\"/data/organization/id\"]\n",
    );
    let request = with_client(|client| {
        identity_request(&graphql, client, &tokens)
            .unwrap()
            .unwrap()
    });
    assert_eq!(request.request.method(), "POST");
    assert_eq!(body_of(&request)["query"], "{ viewer { id } }");
    let said = json!({"data": {"viewer": {"id": "u"}, "organization": {"id": "o"}}});
    assert_eq!(
        parse_identity(&graphql, &answer(200, &said)).unwrap().key,
        "o:u"
    );
    assert!(
        parse_identity(
            &graphql,
            &answer(200, &json!({"data": {"viewer": {"id": "u"}}}))
        )
        .is_err()
    );
    assert!(with_client(|client| identity_in_tokens(&graphql, client, &tokens, NOW)).is_none());
}

/// An answer with an id token of these claims.
fn claiming(claims: &Value) -> Value {
    let parts = [json!({"alg": "none"}), claims.clone()];
    let [head, body] = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    json!({"access_token": "a", "refresh_token": "r", "id_token": format!("{head}.{body}.")})
}

#[test]
fn an_id_token_says_who_connected_if_it_is_for_us_and_not_over() {
    let spec = spec(
        "[identity]\nsource = \"id_token\"\nurl = \"https://as.example/me\"\n\
         stable_key = [\"/oid\", \"/id\"]\nworkspace = [\"/tid\"]\nlabel = [\"/email\"]\n",
    );
    let said = |answer: &Value| {
        let tokens = first(&spec, answer).unwrap();
        with_client(|client| identity_in_tokens(&spec, client, &tokens, NOW))
    };
    let end = NOW.as_secs();
    let good =
        json!({"aud": "c 1", "exp": end, "oid": "o", "tid": "t", "email": "ada@acme.example"});
    let who = said(&claiming(&good)).unwrap().unwrap();
    assert_eq!(
        (who.key.as_str(), who.label.as_deref()),
        ("t:o", Some("ada@acme.example"))
    );
    for (name, value, problem) in [
        ("aud", json!(["x", "c 1"]), None),
        (
            "aud",
            json!("x"),
            Some("the id token is for another application"),
        ),
        (
            "aud",
            json!(null),
            Some("the id token is for another application"),
        ),
        ("exp", json!(end - 299), None),
        ("exp", json!(end - 300), Some("the id token is over")),
        ("exp", json!("soon"), Some("the id token is over")),
        ("oid", json!(null), Some("the identity answer names nobody")),
        ("tid", json!(null), Some("the identity answer names nobody")),
    ] {
        let mut claims = good.clone();
        claims[name] = value;
        let problem = problem.map(str::to_owned);
        let said = said(&claiming(&claims)).unwrap().err();
        assert_eq!(said.map(|error| error.to_string()), problem, "{claims}");
    }
    for garbage in ["x", "a.b.c", "a.!.c", "..", "a.e30"] {
        let answer = json!({"access_token": "a", "id_token": garbage});
        assert!(said(&answer).unwrap().is_err(), "{garbage}");
    }
    // Credentials that were given come without one: the address is asked, which knows no tenant.
    assert!(said(&json!({"access_token": "a"})).is_none());
    let told = parse_identity(&spec, &answer(200, &json!({"id": "o", "email": "e"}))).unwrap();
    assert_eq!(told.key, "o");
    // It is read once, and neither sealed nor carried on.
    let tokens = first(&spec, &claiming(&good)).unwrap();
    let next = again(&spec, &tokens, &json!({"access_token": "b"}), NOW);
    assert!(!String::from_utf8_lossy(next.to_bytes().expose_secret()).contains("id_token"));
}

#[test]
fn an_end_that_no_answer_names_is_asked_for() {
    let spec = spec(
        "[refresh]\ntrigger = \"introspect\"\n[introspect]\nurl = \"https://as.example/introspect\"\n\
         [lifetimes]\naccess_s = 7200\n",
    );
    let tokens = first(&spec, &json!({"access_token": "a/1", "refresh_token": "r"})).unwrap();
    assert_eq!(tokens.expires_at, Some(NOW + Duration::from_secs(7200)));
    // Until it is known, the end that the entry assumes makes it due.
    assert_eq!(tokens.refresh_by(spec.refresh.renewal()), tokens.expires_at);
    let request =
        with_client(|client| introspect_request(&spec, client, &tokens).unwrap()).unwrap();
    assert_eq!(request.request.uri(), "https://as.example/introspect");
    assert_eq!(
        String::from_utf8_lossy(request.request.body()),
        "token=a%2F1&token_type_hint=access_token&client_id=c+1&client_secret=s%2F1"
    );
    let told = |status, body: &Value| parse_introspection(&answer(status, body), NOW);
    let end = NOW.as_secs() + 900;
    assert_eq!(
        told(200, &json!({"active": true, "exp": end})),
        Some(Timestamp::from_secs(end))
    );
    assert_eq!(
        told(200, &json!({"active": true, "exp": end.to_string()})),
        Some(Timestamp::from_secs(end))
    );
    for (status, body) in [
        (200, json!({"active": true})),
        (200, json!({"active": false})),
        (200, json!({"active": false, "exp": end})),
        (200, json!({"active": true, "exp": NOW.as_secs()})),
        (200, json!({"active": true, "exp": end * 1000})),
        (200, json!({"active": true, "exp": -1})),
        (200, json!({"active": "true", "exp": end})),
        (200, json!({"exp": end})),
        (401, json!({"active": false})),
        (500, json!("x")),
    ] {
        assert_eq!(told(status, &body), None, "{status} {body}");
    }
    let clock = first(&self::spec(""), &json!({"access_token": "a"})).unwrap();
    assert!(
        with_client(|client| introspect_request(&self::spec(""), client, &clock).unwrap())
            .is_none()
    );
}

#[test]
fn a_site_is_picked_once() {
    let spec = spec(
        "[identity]\nurl = \"https://api.example/me\"\nstable_key = [\"/id\"]\n\
         pick = { url = \"https://api.example/sites\", id = \"/id\", label = \"/name\", store_as = \"cloud\" }\n",
    );
    let tokens = first(&spec, &json!({"access_token": "a"})).unwrap();
    let request = with_client(|client| sites_request(&spec, client, &tokens).unwrap().unwrap());
    assert_eq!(request.request.headers()["authorization"], "Bearer a");
    let sites = json!([{"id": "c-1", "name": "Acme"}, {"id": "c-2", "name": "Other"}]);
    let picked = parse_sites(&spec, &answer(200, &sites)).unwrap();
    assert_eq!(picked, ("cloud".into(), "c-1".into(), Some("Acme".into())));
    for bad in [json!([]), json!([{"id": "../x", "name": "n"}]), json!({})] {
        assert!(parse_sites(&spec, &answer(200, &bad)).is_err(), "{bad}");
    }
}

#[test]
fn revocations_have_headers_and_members_of_their_own() {
    let spec = spec(
        "[revoke]\nmethod = \"DELETE\"\nurl = \"https://as.example/r\"\nauth = \"bearer\"\nbody = \"none\"\n\
         token_header = { name = \"x-shop-token\" }\n",
    );
    let tokens = first(&spec, &json!({"access_token": "a"})).unwrap();
    let request = with_client(|client| revoke_requests(&spec, client, &tokens).unwrap().remove(0));
    assert_eq!(request.request.request.headers()["x-shop-token"], "a");
    let spec = self::spec(
        "[revoke]\nurl = \"https://as.example/r\"\nauth = \"none\"\nparams = { account = \"{app.client_id}\" }\n",
    );
    let request = with_client(|client| revoke_requests(&spec, client, &tokens).unwrap().remove(0));
    let body = String::from_utf8(request.request.request.body().to_vec()).unwrap();
    assert_eq!(body, "token=a&token_type_hint=access_token&account=c%25201");
}
