//! The requests of the protocol, as bytes, for the dialects that the catalogue can say.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use latchkey_domain::Timestamp;
use latchkey_oauth::{
    AuthorizeRequest, Client, CodeExchange, HttpRequest, IssuerError, OauthSpec, RequestError,
    TokenKind, TokenSet, Vars, authorize_url, check_issuer, exchange_request, identity_request,
    refresh_request, revoke_requests,
};
use secrecy::SecretString;
use serde_json::{Map, Value};

const CALLBACK: &str = "https://latchkey.example/api/v1/connect/callback/ac_1";

const MINIMAL: &str = r#"
[authorize]
url = "https://as.example/authorize"
[token]
url = "https://as.example/token"
"#;

fn spec(text: &str) -> OauthSpec {
    toml::from_str(text).unwrap()
}

fn tokens() -> TokenSet {
    TokenSet {
        access: "access-1".into(),
        refresh: Some("refresh/1+".into()),
        token_type: "Bearer".to_owned(),
        scopes: vec!["read".to_owned(), "write".to_owned()],
        expires_at: None,
        refresh_expires_at: None,
        issued_at: Timestamp::from_secs(0),
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        extra: Map::new(),
        id_token: None,
    }
}

/// Runs `f` with a client of this secret.
fn with_client<T>(secret: Option<&str>, f: impl FnOnce(&Client<'_>) -> T) -> T {
    let (app, none) = (
        Map::from_iter([("base_url".to_owned(), Value::from("http://127.0.0.1:9"))]),
        Map::new(),
    );
    let secret = secret.map(SecretString::from);
    f(&Client {
        secret: secret.as_ref(),
        vars: Vars {
            client_id: "client id",
            app: &app,
            connection: &none,
            token: &none,
        },
    })
}

fn authorize(text: &str, scopes: &[&str]) -> String {
    let scopes: Vec<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let request = AuthorizeRequest {
        redirect_uri: CALLBACK,
        scopes: &scopes,
        state: "st",
        challenge: "ch",
    };
    with_client(None, |client| {
        authorize_url(&spec(text), client, &request).unwrap().into()
    })
}

/// The request as text, headers sorted, so that a snapshot shows all of it.
fn shown(request: &HttpRequest) -> String {
    let request = &request.request;
    let mut headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let body = std::str::from_utf8(request.body()).unwrap();
    format!(
        "{} {}\n{}\n{body}",
        request.method(),
        request.uri(),
        headers.join("\n")
    )
}

#[test]
fn a_standard_authorize_url() {
    insta::assert_snapshot!(authorize(MINIMAL, &["read", "write"]), @"https://as.example/authorize?response_type=code&client_id=client+id&state=st&redirect_uri=https%3A%2F%2Flatchkey.example%2Fapi%2Fv1%2Fconnect%2Fcallback%2Fac_1&scope=read+write&code_challenge=ch&code_challenge_method=S256");
}

#[test]
fn an_authorize_url_with_every_dialect() {
    let text = r#"
    [authorize]
    url = "{app.base_url}/authorize?tenant=7"
    params = { access_type = "offline", prompt = "consent" }
    drop_params = ["response_type"]
    rename_params = { client_id = "app_id" }
    scope_separator = "comma"
    pkce = "off"
    [token]
    url = "https://as.example/token"
    "#;
    insta::assert_snapshot!(authorize(text, &["read", "write:all"]), @"http://127.0.0.1:9/authorize?tenant=7&app_id=client+id&state=st&redirect_uri=https%3A%2F%2Flatchkey.example%2Fapi%2Fv1%2Fconnect%2Fcallback%2Fac_1&scope=read%2Cwrite%3Aall&access_type=offline&prompt=consent");
    assert!(!authorize(text, &[]).contains("scope"));
}

fn exchange(text: &str, secret: Option<&str>) -> Result<HttpRequest, RequestError> {
    let (code, verifier) = (
        SecretString::from("co de"),
        SecretString::from("v".repeat(43)),
    );
    let exchange = CodeExchange {
        code: &code,
        verifier: &verifier,
        redirect_uri: CALLBACK,
    };
    with_client(secret, |client| {
        exchange_request(&spec(text), client, &exchange)
    })
}

#[test]
fn exchanges_with_post_basic_and_no_secret() {
    insta::assert_snapshot!(shown(&exchange(MINIMAL, Some("s")).unwrap()), @r"
    POST https://as.example/token
    accept: application/json
    content-type: application/x-www-form-urlencoded
    grant_type=authorization_code&code=co+de&code_verifier=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv&client_id=client+id&client_secret=s&redirect_uri=https%3A%2F%2Flatchkey.example%2Fapi%2Fv1%2Fconnect%2Fcallback%2Fac_1
    ");
    let basic = format!("{MINIMAL}auth = \"basic\"\nheaders = {{ \"x-version\" = \"2\" }}\n");
    insta::assert_snapshot!(shown(&exchange(&basic, Some("a:b+c%d")).unwrap()), @r"
    POST https://as.example/token
    accept: application/json
    authorization: Basic Y2xpZW50K2lkOmElM0FiJTJCYyUyNWQ=
    content-type: application/x-www-form-urlencoded
    x-version: 2
    grant_type=authorization_code&code=co+de&code_verifier=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv&redirect_uri=https%3A%2F%2Flatchkey.example%2Fapi%2Fv1%2Fconnect%2Fcallback%2Fac_1
    ");
    let public = format!("{MINIMAL}auth = \"none\"\nparams = {{ audience = \"api\" }}\n");
    insta::assert_snapshot!(shown(&exchange(&public, None).unwrap()), @r"
    POST https://as.example/token
    accept: application/json
    content-type: application/x-www-form-urlencoded
    grant_type=authorization_code&code=co+de&code_verifier=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv&client_id=client+id&redirect_uri=https%3A%2F%2Flatchkey.example%2Fapi%2Fv1%2Fconnect%2Fcallback%2Fac_1&audience=api
    ");
    assert!(matches!(
        exchange(MINIMAL, None),
        Err(RequestError::NoSecret)
    ));
}

#[test]
fn basic_form_encodes_id_and_secret_first() {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let basic = format!(
        "{MINIMAL}auth = \"basic\"\n[revoke]\nurl = \"https://as.example/revoke\"\nauth = \"basic\"\n"
    );
    let header = |request: &HttpRequest| {
        let value = &request.request.headers()["authorization"];
        assert!(value.is_sensitive());
        let encoded = value
            .to_str()
            .unwrap()
            .strip_prefix("Basic ")
            .unwrap()
            .to_owned();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    };
    let secret = Some("a:b+c%d é");
    let expected = "client+id:a%3Ab%2Bc%25d+%C3%A9";
    assert_eq!(header(&exchange(&basic, secret).unwrap()), expected);
    let revoke = with_client(secret, |client| {
        revoke_requests(&spec(&basic), client, &tokens())
    });
    assert_eq!(header(&revoke.unwrap()[0].request), expected);
}

#[test]
fn refreshes_with_and_without_scope() {
    let refresh = |text: &str, tokens: &TokenSet| {
        with_client(Some("s"), |client| {
            refresh_request(&spec(text), client, tokens)
        })
    };
    insta::assert_snapshot!(shown(&refresh(MINIMAL, &tokens()).unwrap()), @r"
    POST https://as.example/token
    accept: application/json
    content-type: application/x-www-form-urlencoded
    grant_type=refresh_token&refresh_token=refresh%2F1%2B&client_id=client+id&client_secret=s
    ");
    let other = format!(
        "{MINIMAL}[refresh]\nurl = \"https://as.example/refresh\"\nauth = \"basic\"\nsend_scope = true\nparams = {{ a = \"b\" }}\n"
    );
    insta::assert_snapshot!(shown(&refresh(&other, &tokens()).unwrap()), @r"
    POST https://as.example/refresh
    accept: application/json
    authorization: Basic Y2xpZW50K2lkOnM=
    content-type: application/x-www-form-urlencoded
    grant_type=refresh_token&refresh_token=refresh%2F1%2B&scope=read+write&a=b
    ");
    let none = TokenSet {
        refresh: None,
        ..tokens()
    };
    assert!(matches!(
        refresh(MINIMAL, &none),
        Err(RequestError::NoRefreshToken)
    ));
}

fn revokes(table: &str, tokens: &TokenSet) -> Result<String, RequestError> {
    let text = format!("{MINIMAL}{table}");
    let requests = with_client(Some("s"), |client| {
        revoke_requests(&spec(&text), client, tokens)
    })?;
    let shown: Vec<_> = requests
        .iter()
        .map(|revoke| format!("{:?}: {}", revoke.kind, shown(&revoke.request)))
        .collect();
    Ok(shown.join("\n--\n"))
}

#[test]
fn revocations_of_every_form() {
    let rfc7009 = "[revoke]\nurl = \"https://as.example/revoke\"\nwhich = \"both\"\n";
    insta::assert_snapshot!(revokes(rfc7009, &tokens()).unwrap(), @r"
    Refresh: POST https://as.example/revoke
    accept: application/json
    content-type: application/x-www-form-urlencoded
    token=refresh%2F1%2B&token_type_hint=refresh_token&client_id=client+id&client_secret=s
    --
    Access: POST https://as.example/revoke
    accept: application/json
    content-type: application/x-www-form-urlencoded
    token=access-1&token_type_hint=access_token&client_id=client+id&client_secret=s
    ");
    let github = r#"[revoke]
        method = "DELETE"
        url = "https://api.example/applications/{app.client_id}/token"
        auth = "basic"
        body = "json"
        param = "access_token"
        which = "access"
        success_codes = [204]"#;
    insta::assert_snapshot!(revokes(github, &tokens()).unwrap(), @r#"
    Access: DELETE https://api.example/applications/client%20id/token
    accept: application/json
    authorization: Basic Y2xpZW50K2lkOnM=
    content-type: application/json
    {"access_token":"access-1"}
    "#);
    let bearer = "[revoke]\nurl = \"https://as.example/bye\"\nauth = \"bearer\"\nbody = \"none\"\n";
    insta::assert_snapshot!(revokes(bearer, &tokens()).unwrap(), @r"
    Access: POST https://as.example/bye
    accept: application/json
    authorization: Bearer access-1
    ");
    let none = "[revoke]\nurl = \"https://as.example/bye\"\nauth = \"none\"\n";
    let no_refresh = TokenSet {
        refresh: None,
        ..tokens()
    };
    insta::assert_snapshot!(revokes(none, &no_refresh).unwrap(), @r"
    Access: POST https://as.example/bye
    accept: application/json
    content-type: application/x-www-form-urlencoded
    token=access-1&token_type_hint=access_token
    ");
    assert!(matches!(
        revokes("", &tokens()),
        Err(RequestError::Unsupported(_))
    ));
    assert_eq!(TokenKind::Access.hint(), "access_token");
}

#[test]
fn who_connected_is_asked_with_the_access_token() {
    let text = format!(
        "{MINIMAL}[identity]\nurl = \"{{app.base_url}}/me\"\nheaders = {{ \"x-version\" = \"2\" }}\nstable_key = [\"/id\"]\n"
    );
    let ask = |text: &str| {
        with_client(None, |client| {
            identity_request(&spec(text), client, &tokens())
        })
    };
    insta::assert_snapshot!(shown(&ask(&text).unwrap().unwrap()), @r"
    GET http://127.0.0.1:9/me
    accept: application/json
    authorization: Bearer access-1
    x-version: 2
    ");
    assert!(ask(MINIMAL).unwrap().is_none());
}

#[test]
fn debug_and_addresses_hold_no_secret() {
    let request = exchange(MINIMAL, Some("hush-hush")).unwrap();
    let shown = format!(
        "{request:?} {:?}",
        with_client(Some("hush-hush"), |c| format!("{c:?}"))
    );
    assert!(!shown.contains("hush") && !shown.contains("co+de") && !shown.contains("vvv"));
}

#[test]
fn the_issuer_must_be_the_one_that_was_asked() {
    let none = Map::new();
    let vars = Vars {
        client_id: "c",
        app: &none,
        connection: &none,
        token: &none,
    };
    let check = |table: &str, iss: Option<&str>| {
        check_issuer(&spec(&format!("{MINIMAL}{table}")), &vars, iss)
    };
    let required = "[issuer]\nexpected = \"https://as.example\"\nrequired = true\n";
    assert_eq!(check(required, Some("https://as.example")), Ok(()));
    for other in [
        "https://as.example/",
        "https://AS.example",
        "https://evil.example",
        "",
    ] {
        assert_eq!(
            check(required, Some(other)),
            Err(IssuerError::Mismatch),
            "{other}"
        );
    }
    assert_eq!(check(required, None), Err(IssuerError::Missing));
    let optional = "[issuer]\nexpected = \"https://as.example\"\n";
    assert_eq!(check(optional, None), Ok(()));
    assert_eq!(check(optional, Some("x")), Err(IssuerError::Mismatch));
    assert_eq!(check("", Some("anything")), Ok(()));
    let unfilled = "[issuer]\nexpected = \"{app.base_url}\"\n";
    assert_eq!(
        check(unfilled, Some("{app.base_url}")),
        Err(IssuerError::Mismatch)
    );
}

#[test]
fn addresses_that_are_none_are_refused() {
    for url in [
        "{app.base_url}@evil.example",
        "ftp://as.example",
        "/token",
        "https://u@as.example",
        "https://as.example/#f",
        "https://",
    ] {
        let text = MINIMAL.replace("https://as.example/token", url);
        assert!(
            matches!(exchange(&text, Some("s")), Err(RequestError::Url { .. })),
            "{url}"
        );
    }
    let text = MINIMAL.replace("https://as.example/token", "{connection.host}/token");
    assert!(matches!(
        exchange(&text, Some("s")),
        Err(RequestError::Template(_))
    ));
}
