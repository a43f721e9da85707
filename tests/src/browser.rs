//! An end user's browser: a cookie jar, redirects followed by hand, forms found in pages and submitted.

use std::collections::BTreeMap;

use regex::Regex;
use url::Url;

use crate::{Answer, Http, Partner};

/// Redirects and forms in one visit: more is a loop.
const MAX_STEPS: usize = 20;

/// A browser without a history.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    http: Http,
    /// Cookies by origin and name.
    pub cookies: BTreeMap<(String, String), String>,
    /// Every URL it went to or was sent to.
    pub seen: Vec<Url>,
}

impl Browser {
    /// A fresh profile.
    pub fn new() -> Self {
        Self::default()
    }

    /// One request with this origin's cookies; its `Set-Cookie`s are kept.
    pub async fn request(&mut self, method: &str, url: &Url, form: Option<String>) -> Answer {
        let origin = url.origin().ascii_serialization();
        let mine = self.cookies.iter().filter(|((at, _), _)| *at == origin);
        let cookie = mine
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ");
        let mut headers = vec![("accept", "text/html".to_owned())];
        if !cookie.is_empty() {
            headers.push(("cookie", cookie));
        }
        if form.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded".into()));
            headers.push(("origin", origin.clone()));
        }
        let answer = self
            .http
            .send(method, url.as_str(), &headers, form.map(String::into_bytes))
            .await;
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().expect("a cookie is text");
            let (name, value) = text
                .split(';')
                .next()
                .and_then(|c| c.split_once('='))
                .expect("a cookie");
            self.cookies
                .insert((origin.clone(), name.to_owned()), value.to_owned());
        }
        answer
    }

    /// Opens a link and goes on until the URL that comes next starts with `prefix`; that URL, not visited.
    pub async fn until(&mut self, link: &str, user: &str, prefix: &str) -> Url {
        self.walk(link, user, "allow", prefix).await
    }

    /// Opens a link and follows it, pressing `Allow` as `user`, until it leads to the partner; where to.
    pub async fn consent(&mut self, link: &str, user: &str) -> Url {
        self.visit(link, user, "allow").await
    }

    /// The same, pressing `Deny`.
    pub async fn deny(&mut self, link: &str) -> Url {
        self.visit(link, "nobody", "deny").await
    }

    /// Follows redirects and submits forms until the partner's page comes up.
    pub async fn visit(&mut self, link: &str, user: &str, decision: &str) -> Url {
        self.walk(link, user, decision, Partner::REDIRECT).await
    }

    async fn walk(&mut self, link: &str, user: &str, decision: &str, end: &str) -> Url {
        let mut at: Url = link.parse().expect("a link");
        let mut form: Option<String> = None;
        for _ in 0..MAX_STEPS {
            self.seen.push(at.clone());
            if at.as_str().starts_with(end) {
                return at;
            }
            let method = if form.is_some() { "POST" } else { "GET" };
            let answer = self.request(method, &at, form.take()).await;
            if (300..400).contains(&answer.status) {
                at = at.join(&answer.header("location")).expect("a location");
                continue;
            }
            let page = answer.text();
            let (action, fields) = submitted(&page, user, decision)
                .unwrap_or_else(|| panic!("{at} is a dead end: {} {page}", answer.status));
            at = at.join(&action).expect("an action");
            form = fields;
        }
        panic!("{link} leads in circles; last at {at}");
    }
}

/// Where a page's form goes and with what: a POST's fields, or a GET's target alone. A page without a form
/// is followed by its first link.
pub fn submitted(page: &str, user: &str, decision: &str) -> Option<(String, Option<String>)> {
    let attribute = |tag: &str, name: &str| {
        let pattern = Regex::new(&format!(r#"\b{name}\s*=\s*"([^"]*)""#)).expect("a pattern");
        pattern.captures(tag).map(|c| unescaped(&c[1]))
    };
    let form = Regex::new(r"(?s)<form\b([^>]*)>(.*?)</form>").expect("a pattern");
    let Some(form) = form.captures(page) else {
        let link = Regex::new(r"<a\b([^>]*)>")
            .expect("a pattern")
            .captures(page)?;
        return Some((attribute(&link[1], "href")?, None));
    };
    let mut fields = url::form_urlencoded::Serializer::new(String::new());
    for tag in Regex::new(r"<(input|button)\b([^>]*)>")
        .expect("a pattern")
        .captures_iter(&form[2])
    {
        let Some(name) = attribute(&tag[2], "name") else {
            continue;
        };
        let value = attribute(&tag[2], "value").unwrap_or_default();
        match (&tag[1], name.as_str()) {
            ("input", "user") => fields.append_pair("user", user),
            ("button", "decision") if value != decision => continue,
            _ => fields.append_pair(&name, &value),
        };
    }
    let action = attribute(&form[1], "action").unwrap_or_default();
    let is_post = attribute(&form[1], "method").is_some_and(|m| m.eq_ignore_ascii_case("post"));
    Some((action, is_post.then(|| fields.finish())))
}

fn unescaped(text: &str) -> String {
    text.replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
