//! The examples that the OpenAPI document gives for Flowra's side work: every operation is asked as the document
//! shows it, with ids and secrets that exist here, and answers as it shows.

use std::collections::BTreeSet;

use latchkey_tests::{Answer, Browser, Partner, Sandbox, Server, ServerOptions};
use serde_json::{Map, Value, json};

/// The external user of the examples.
const USER: &str = "user_42";

/// The document, and what of it was asked.
struct Examples<'a> {
    partner: &'a Partner,
    document: Value,
    /// Texts of the examples, and what stands for them here.
    here: Vec<(&'static str, String)>,
    asked: BTreeSet<String>,
}

impl Examples<'_> {
    /// Asks an operation as its example does; its answer, which is as the document says.
    async fn ask(&mut self, method: &str, path: &str) -> Value {
        let operation = self.document["paths"][path][method].clone();
        assert!(operation.is_object(), "{method} {path} is not documented");
        let json = &operation["requestBody"]["content"]["application/json"];
        let body = match &json["example"] {
            Value::Null => self.example(&json["schema"]),
            example => Some(example.clone()),
        };
        self.send(method, path, &operation, body).await
    }

    /// The same with another body, or none.
    async fn ask_with(&mut self, method: &str, path: &str, body: Option<Value>) -> Value {
        let operation = self.document["paths"][path][method].clone();
        self.send(method, path, &operation, body).await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        operation: &Value,
        body: Option<Value>,
    ) -> Value {
        self.asked.insert(format!("{method} {path}"));
        let mut url = path.to_owned();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
            let name = parameter["name"].as_str().unwrap();
            let example = self.example(&parameter["schema"]);
            let example = example.or_else(|| Some(parameter["example"].clone()));
            let example = example.unwrap_or_default();
            let value = example.as_str();
            let value = value.unwrap_or_else(|| panic!("{path}: no example of {name}"));
            url = url.replace(&format!("{{{name}}}"), value);
        }
        let url = self
            .partner
            .url(self.local(&url).trim_start_matches("/api/v1"));
        let headers = [
            ("x-api-key", self.partner.key.clone()),
            ("x-username", USER.to_owned()),
        ];
        let (method, http) = (method.to_uppercase(), &self.partner.http);
        let answer: Answer = match body {
            Some(body) => {
                let body: Value = serde_json::from_str(&self.local(&body.to_string())).unwrap();
                http.json(&method, &url, &headers, &body).await
            }
            None => http.send(&method, &url, &headers, None).await,
        };
        let documented = &operation["responses"][answer.status.to_string()];
        assert!(
            documented.is_object(),
            "{method} {url}: {} {}",
            answer.status,
            answer.text()
        );
        let answer = answer.json();
        if let Some(example) = self.example(&documented["content"]["application/json"]["schema"]) {
            alike(&format!("{method} {path}"), &example, &answer);
        }
        answer
    }

    /// What the document gives as an example for a schema; of an object, what its properties give.
    fn example(&self, schema: &Value) -> Option<Value> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.example(&self.document["components"]["schemas"][name]);
        }
        if let Some(example) = schema.get("example").or_else(|| schema["examples"].get(0)) {
            return Some(example.clone());
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let real = choices.iter().filter(|choice| choice["type"] != "null");
            return real.filter_map(|choice| self.example(choice)).next_back();
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let mut whole: Map<_, _> = parts
            .filter_map(|part| self.example(part)?.as_object().cloned())
            .flatten()
            .collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        whole.extend(properties.filter_map(|(name, of)| Some((name.clone(), self.example(of)?))));
        (!whole.is_empty()).then(|| whole.into())
    }

    /// This with what exists here.
    fn local(&self, text: &str) -> String {
        let here = self.here.iter();
        here.fold(text.to_owned(), |text, (example, here)| {
            text.replace(example, here)
        })
    }

    fn stands_for(&mut self, example: &'static str, here: &Value) {
        self.here.retain(|(other, _)| *other != example);
        let here = here.as_str().unwrap_or_else(|| panic!("no {example}"));
        self.here.push((example, here.to_owned()));
    }
}

/// The answer has everything that its example has, and of the same kind.
fn alike(what: &str, example: &Value, answer: &Value) {
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => {
            for (name, example) in example {
                let answer = answer.get(name);
                let answer = answer.unwrap_or_else(|| panic!("{what}: the answer has no {name}"));
                alike(&format!("{what}: {name}"), example, answer);
            }
        }
        (Value::Array(_), Value::Array(_))
        | (Value::String(_), Value::String(_) | Value::Null)
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => {}
        _ => panic!("{what}: {answer} is not like {example}"),
    }
}

const CONFIG: &str = "ac_019aa000000070008000000000000000";
const ACCOUNT: &str = "019aa000-0000-7000-8000-000000000000";

#[tokio::test]
async fn every_example_works() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default().with_sandbox()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let url = partner.url("/openapi.json");
    let document = server.http.send("GET", &url, &[], None).await.json();
    let mut examples = Examples {
        partner: &partner,
        document,
        here: vec![
            ("our-client", "sandbox-client".to_owned()),
            ("our-secret", "sandbox-secret".to_owned()),
            ("key-of-ada", "sandbox-key-ada".to_owned()),
            (
                "https://app.example.com/connected",
                Partner::REDIRECT.to_owned(),
            ),
        ],
        asked: BTreeSet::new(),
    };
    auth_configs(&mut examples).await;
    users(&mut examples).await;
    accounts(&mut examples).await;
    for path in [
        "/api/v1/toolkits",
        "/api/v1/toolkits/categories",
        "/api/v1/toolkits/{toolkit}",
        "/api/v1/toolkits/byId/{toolkit}",
        "/api/v1/tools",
        "/api/v1/tools/byId/{tool}",
        "/api/v1/usage",
        "/api/v1/usage/balance",
    ] {
        examples.ask("get", path).await;
    }
    let run = examples.ask("post", "/api/v1/tools/execute/{tool}").await;
    assert_eq!(run["successful"], true, "{run}");
    imports(&mut examples, &sandbox).await;
    examples
        .ask(
            "delete",
            "/api/v1/connected_accounts/{connected_account_id}",
        )
        .await;
    examples
        .ask("delete", "/api/v1/auth_configs/{auth_config_id}")
        .await;
    assert_eq!(examples.asked, of_flowra(&examples.document));
}

/// Every operation of that side.
fn of_flowra(document: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let tags = operation["tags"].as_array().unwrap();
            if tags
                .iter()
                .any(|tag| tag.as_str().unwrap().starts_with("flowra"))
            {
                all.insert(format!("{method} {path}"));
            }
        }
    }
    all
}

async fn auth_configs(examples: &mut Examples<'_>) {
    let made = examples.ask("post", "/api/v1/auth_configs").await;
    examples.stands_for(CONFIG, &made["data"]["id"]);
    examples.ask("get", "/api/v1/auth_configs").await;
    let one = "/api/v1/auth_configs/{auth_config_id}";
    examples.ask("get", one).await;
    examples.ask("patch", one).await;
    let status = "/api/v1/auth_configs/{auth_config_id}/status";
    let off = examples.ask("patch", status).await;
    assert_eq!(off["data"]["status"], "DISABLED", "{off}");
    let on = examples.ask_with("patch", status, None).await;
    assert_eq!(on["data"]["status"], "ENABLED", "{on}");
}

async fn users(examples: &mut Examples<'_>) {
    let made = examples.ask("post", "/api/v1/external-users").await;
    examples.stands_for(ACCOUNT, &made["data"]["id"]);
    examples.ask("get", "/api/v1/external-users").await;
    examples
        .ask("get", "/api/v1/external-users/username/{username}")
        .await;
    let toggle = "/api/v1/external-users/{external_user_id}/toggle-active";
    for active in [false, true] {
        let toggled = examples.ask("put", toggle).await;
        assert_eq!(toggled["data"]["isActive"], active, "{toggled}");
    }
}

async fn accounts(examples: &mut Examples<'_>) {
    let link = examples
        .ask("post", "/api/v1/connected_accounts/link")
        .await;
    let page = link["redirectUrl"].as_str().unwrap();
    let landed = Browser::new().consent(page, "ada").await;
    assert!(landed.as_str().contains("status=success"), "{landed}");
    examples.stands_for(ACCOUNT, &link["connectedAccountId"]);
    examples.ask("get", "/api/v1/connected_accounts").await;
    examples
        .ask("get", "/api/v1/connected_accounts/grouped-by-toolkit")
        .await;
    let one = "/api/v1/connected_accounts/{connected_account_id}";
    examples.ask("get", one).await;
    examples.ask("patch", one).await;
    let status = "/api/v1/connected_accounts/{connected_account_id}/status";
    let off = examples.ask("patch", status).await;
    assert_eq!(off["status"], "INACTIVE", "{off}");
    let on = examples
        .ask_with("patch", status, Some(json!({"enabled": true})))
        .await;
    assert_eq!(on["status"], "ACTIVE", "{on}");
    let refresh = "/api/v1/connected_accounts/{connected_account_id}/refresh";
    examples.ask("post", refresh).await;
}

/// A key instead of consent: with an auth config for keys, which the document tells how to make.
async fn imports(examples: &mut Examples<'_>, sandbox: &Sandbox) {
    let keys = json!({"toolkit": {"slug": "sandbox"}, "authConfig": {"type": "use_custom_auth",
        "authScheme": "API_KEY", "credentials": {"base_url": sandbox.url}}});
    let made = examples
        .ask_with("post", "/api/v1/auth_configs", Some(keys))
        .await;
    let here = examples.here.clone();
    examples.stands_for(CONFIG, &made["data"]["id"]);
    let imported = examples.ask("post", "/api/v1/connected_accounts").await;
    assert_eq!(imported["status"], "ACTIVE", "{imported}");
    examples.here = here;
}
