//! [`Walk`]: the API with a worker and the sandbox beside it in one process, and [`Browser`], an end user's
//! browser with a cookie jar. The API is called without sockets; the sandbox is on a real one.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use latchkey_oauth::{AllowedHosts, HttpAnswer, HttpRequest};
use latchkey_sandbox::{Counter, Fault, FaultKind, Sandbox, SandboxConfig, SandboxHandle, Target};
use regex::Regex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use crate::testing::{Answer, Client, TestApi, TestPartner, sandbox_config_with};

/// Where partners' users land.
pub(crate) const REDIRECT: &str = "https://app.example.com/cb";
/// Bounds a wait that a broken walk would make endless.
const PATIENCE: Duration = Duration::from_secs(20);

/// The API, a partner, a worker and the sandbox.
pub(crate) struct Walk {
    /// The API.
    pub(crate) api: TestApi,
    /// The partner.
    pub(crate) partner: TestPartner,
    /// The provider.
    pub(crate) sandbox: SandboxHandle,
    /// The partner's OAuth client there.
    pub(crate) auth_config: String,
    worker: JoinHandle<()>,
}

impl Walk {
    /// With default settings.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these settings over the defaults.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let mut settings = settings.to_vec();
        settings.push(("egress_allow", "127.0.0.0/8"));
        let api = TestApi::with(&settings).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (clock, entropy) = (api.api.ctx.clock.clone(), api.api.ctx.entropy.clone());
        let sandbox = Sandbox::start(SandboxConfig::default(), listener, clock, entropy).unwrap();
        api.register_sandbox(sandbox.base_url()).await;
        let partner = api.partner("Acme").await;
        let config = sandbox_config_with(&json!({
            "client_id": "sandbox-client", "client_secret": "sandbox-secret",
            "base_url": sandbox.base_url(),
        }));
        let made = partner
            .client
            .post("/api/v1/auth_configs", config)
            .await
            .data();
        let ctx = api.api.ctx.clone();
        Self {
            auth_config: made["id"].as_str().unwrap().to_owned(),
            worker: tokio::spawn(async move { latchkey_worker::run(ctx).await.unwrap() }),
            api,
            partner,
            sandbox,
        }
    }

    /// Makes an account and connects it as the sandbox's user of the same name.
    pub(crate) async fn connected(&self, external_id: &str) -> String {
        let account = self.partner.account(external_id).await;
        self.connect(&account, external_id).await;
        account
    }

    /// Connects an account as this user of the sandbox.
    pub(crate) async fn connect(&self, account: &str, user: &str) {
        let link = self.link(account).await;
        let landed = self.browser().connect(&link, user).await;
        assert_eq!(landed["status"], "success", "{landed:?}");
    }

    /// Begins a session.
    pub(crate) async fn link(&self, account: &str) -> Link {
        self.link_with(account, json!({})).await
    }

    /// From now on the partner's backend confirms each session.
    pub(crate) async fn confirmed_by_partner(&self) {
        let settings = json!({"confirmation": "partner"});
        let client = &self.partner.client;
        client.patch("/api/v1/partner", settings).await.data();
    }

    /// Begins a session with these fields too.
    pub(crate) async fn link_with(&self, account: &str, more: Value) -> Link {
        let mut body = json!({"provider": "sandbox", "redirect_url": REDIRECT});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let path = format!("/api/v1/accounts/{account}/connect");
        let made = self.partner.client.post(&path, body).await.data();
        let url = Url::parse(made["connect_url"].as_str().unwrap()).unwrap();
        let session = made["session_id"].as_str().unwrap();
        Link {
            page: url.path().to_owned(),
            session: session.to_owned(),
            status: format!("{path}/{session}"),
        }
    }

    /// The session as the partner sees it, as `status error`.
    pub(crate) async fn status(&self, link: &Link) -> String {
        let seen = self.partner.client.get(&link.status).await.data();
        let error = seen["error"].as_str().unwrap_or_default();
        format!("{} {error}", seen["status"].as_str().unwrap())
            .trim()
            .to_owned()
    }

    /// A fresh browser.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser {
            walk: self,
            cookies: BTreeMap::new(),
        }
    }

    /// A partner's client that calls for this account.
    pub(crate) fn calling(&self, external_id: &str) -> Client {
        self.partner.client.with("x-account-id", external_id)
    }

    /// Asks for a job until it is at its end.
    pub(crate) async fn job(&self, id: &str) -> Value {
        let ended = async {
            loop {
                let seen = self.partner.client.get(&format!("/api/v1/jobs/{id}")).await;
                let data = seen.data();
                if data["status"] != "processing" {
                    return data;
                }
                assert!(!seen.header("retry-after").is_empty());
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("the job ends")
    }

    /// Makes the sandbox misbehave once.
    pub(crate) fn fault(&self, target: Target, kind: FaultKind) {
        let fault = Fault {
            target,
            kind,
            count: 1,
            probability: 1.0,
            seed: 0,
            after_acting: false,
        };
        self.sandbox.fault(fault).unwrap();
    }

    /// What the sandbox counted.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.sandbox.count(counter)
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.api.api.ctx.stopper.finish();
        self.worker.abort();
    }
}

/// A begun session.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The path of its page.
    pub(crate) page: String,
    /// Its id.
    pub(crate) session: String,
    /// Where the partner asks how it goes.
    pub(crate) status: String,
}

/// An end user's browser.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    walk: &'a Walk,
    /// Its cookies at the API, by name.
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser<'_> {
    /// Opens a page of the API.
    pub(crate) async fn open(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path).await
    }

    /// Presses the button of a page.
    pub(crate) async fn press(&mut self, path: &str) -> Answer {
        self.send(Method::POST, path).await
    }

    async fn send(&mut self, method: Method, path: &str) -> Answer {
        let jar: Vec<_> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let client = self.walk.api.anyone().with("cookie", &jar.join("; "));
        let answer = client.send(method, path, Bytes::new()).await;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Goes through the page to the provider: the address it is sent to.
    pub(crate) async fn reach_provider(&mut self, link: &Link) -> Url {
        let page = self.open(&link.page).await;
        assert_eq!(page.status, 200, "{}", page.shown());
        let sent = self.press(&link.page).await;
        assert_eq!(sent.status, 303, "{}", sent.shown());
        Url::parse(sent.header("location")).unwrap()
    }

    /// Decides at the provider: path and query of the callback that it leads to.
    pub(crate) async fn decide(&self, authorize: &Url, user: &str, decision: &str) -> String {
        let page = self
            .ask(Request::get(authorize.as_str()), authorize, "")
            .await;
        let back = if page.status == 303 {
            page
        } else {
            let html = String::from_utf8(page.body.to_vec()).unwrap();
            let ticket = Regex::new("name=\"consent\" value=\"([^\"]*)\"").unwrap();
            let ticket = ticket.captures(&html).unwrap_or_else(|| panic!("{html}"));
            let form = format!("consent={}&user={user}&decision={decision}", &ticket[1]);
            let to = authorize.join("/oauth/authorize/decision").unwrap();
            self.ask(Request::post(to.as_str()), &to, &form).await
        };
        let location = back.headers[header::LOCATION].to_str().unwrap();
        let url = Url::parse(location).unwrap();
        url[url::Position::BeforePath..].to_owned()
    }

    async fn ask(&self, request: http::request::Builder, url: &Url, form: &str) -> HttpAnswer {
        let request = HttpRequest {
            request: request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Bytes::from(form.to_owned()))
                .unwrap(),
            hosts: AllowedHosts::of([url]),
        };
        let http = &self.walk.api.api.ctx.http;
        http.send(request, PATIENCE, 1 << 20).await.unwrap()
    }

    /// The whole way, consenting as this user: the parameters of the landing.
    pub(crate) async fn connect(&mut self, link: &Link, user: &str) -> BTreeMap<String, String> {
        let back = self.reach_callback(link, user).await;
        let landed = self.open(&back).await;
        assert_eq!(landed.status, 303, "{}", landed.shown());
        landing(&landed)
    }

    /// The way up to the callback, which is not opened yet.
    pub(crate) async fn reach_callback(&mut self, link: &Link, user: &str) -> String {
        let authorize = self.reach_provider(link).await;
        self.decide(&authorize, user, "allow").await
    }

    /// Opens the status page until it leads on: the parameters of the landing.
    pub(crate) async fn wait(&mut self, page: &str) -> BTreeMap<String, String> {
        let wait = async {
            loop {
                let seen = self.open(page).await;
                if seen.status == 303 {
                    return landing(&seen);
                }
                assert_eq!(seen.status, 200, "{}", seen.shown());
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the page leads on")
    }
}

/// The parameters with which a browser lands at the partner.
#[track_caller]
pub(crate) fn landing(answer: &Answer) -> BTreeMap<String, String> {
    let location = answer.header("location");
    let url = Url::parse(location).unwrap_or_else(|e| panic!("{e}: {}", answer.shown()));
    assert!(location.starts_with(REDIRECT), "{location}");
    url.query_pairs().into_owned().collect()
}
