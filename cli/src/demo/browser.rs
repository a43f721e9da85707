//! [`Browser`]: an end user's browser as far as connecting needs one: a cookie jar, redirects, and forms
//! that are filled in and sent.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use axum::http::{Method, header};
use url::Url;

use crate::{
    demo::page::{self, Form},
    http::{Answer, Http, Request},
};

/// Redirects in a row before a browser gives up.
const MAX_REDIRECTS: usize = 20;

/// A browser of one person.
#[derive(Debug)]
pub(crate) struct Browser {
    http: Http,
    jar: Jar,
}

/// A page that was reached.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Where it is, after all redirects.
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) html: String,
}

impl Page {
    /// The page's only form, or its first.
    ///
    /// # Errors
    /// With the page's title, when it holds none.
    pub(crate) fn form(&self) -> anyhow::Result<Form> {
        let first = page::forms(&self.html).into_iter().next();
        first.with_context(|| format!("{} holds no form (status {})", self.named(), self.status))
    }

    /// Where the page goes by itself.
    pub(crate) fn refresh(&self) -> Option<Url> {
        page::refresh(&self.html, &self.url)
    }

    /// The page as a person would name it.
    pub(crate) fn named(&self) -> String {
        format!("'{}'", page::title(&self.html))
    }
}

impl Browser {
    pub(crate) fn new(http: Http) -> Self {
        Self {
            http,
            jar: Jar::default(),
        }
    }

    /// Types an address.
    ///
    /// # Errors
    /// When a server does not answer, or redirects without end.
    pub(crate) async fn open(&mut self, url: Url) -> anyhow::Result<Page> {
        self.follow(url, None).await
    }

    /// Sends a form of a page by the button whose value is `press`, with some fields filled in.
    ///
    /// # Errors
    /// As [`Browser::open`]; also when there is no such button.
    pub(crate) async fn submit(
        &mut self,
        page: &Page,
        mut form: Form,
        press: Option<&str>,
        fill: &[(&str, &str)],
    ) -> anyhow::Result<Page> {
        for (name, value) in fill {
            let field = form.fields.iter_mut().find(|(n, _)| n == name);
            let field = field.with_context(|| format!("{} has no field '{name}'", page.named()))?;
            (*value).clone_into(&mut field.1);
        }
        if let Some(value) = press {
            let button = form.buttons.iter().find(|(_, v)| v == value).cloned();
            form.fields
                .push(button.with_context(|| format!("{} has no button '{value}'", page.named()))?);
        }
        let mut url = page
            .url
            .join(&form.action)
            .context("a form leads nowhere")?;
        if form.post {
            return self.follow(url, Some(&form.fields)).await;
        }
        url.query_pairs_mut().clear().extend_pairs(&form.fields);
        self.follow(url, None).await
    }

    async fn follow(
        &mut self,
        mut url: Url,
        mut form: Option<&[(String, String)]>,
    ) -> anyhow::Result<Page> {
        for _ in 0..MAX_REDIRECTS {
            let answer = self.send(&url, form.take()).await?;
            self.jar.keep(&url, &answer);
            let to = answer.header(header::LOCATION);
            if !(300..400).contains(&answer.status) || to.is_empty() {
                return Ok(Page {
                    url,
                    status: answer.status,
                    html: answer.text(),
                });
            }
            // Every redirect on this walk is a 303 or a 302 after GET: what follows is a GET.
            url = url.join(to).context("a redirect leads nowhere")?;
        }
        bail!(
            "{} redirects without end",
            url.origin().ascii_serialization()
        )
    }

    async fn send(&self, url: &Url, form: Option<&[(String, String)]>) -> anyhow::Result<Answer> {
        let method = if form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = Request::new(method, url.clone()).header(header::ACCEPT, "text/html")?;
        if let Some(cookies) = self.jar.shown(url) {
            request = request.header(header::COOKIE, &cookies)?;
        }
        if let Some(fields) = form {
            // A browser says where a form came from; servers refuse forms of other sites by it.
            request = request
                .form(fields)?
                .header(header::ORIGIN, &url.origin().ascii_serialization())?;
        }
        self.http.send(request).await
    }
}

/// Cookies by host (RFC 6265: ports share them), then by name, each with its path.
#[derive(Debug, Default)]
struct Jar(BTreeMap<String, BTreeMap<String, (String, String)>>);

impl Jar {
    fn keep(&mut self, url: &Url, answer: &Answer) {
        let host = self
            .0
            .entry(url.host_str().unwrap_or_default().to_owned())
            .or_default();
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let mut parts = line.to_str().unwrap_or_default().split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let mut path = "/".to_owned();
            let mut ended = value.is_empty();
            for attribute in parts {
                match attribute.split_once('=') {
                    Some((key, value)) if key.eq_ignore_ascii_case("path") => {
                        value.clone_into(&mut path);
                    }
                    Some((key, value)) if key.eq_ignore_ascii_case("max-age") => {
                        ended |= value.parse::<i64>().is_ok_and(|seconds| seconds <= 0);
                    }
                    _ => {}
                }
            }
            if ended {
                host.remove(name);
            } else {
                host.insert(name.to_owned(), (value.to_owned(), path));
            }
        }
    }

    fn shown(&self, url: &Url) -> Option<String> {
        let host = self.0.get(url.host_str()?)?;
        let below = |path: &str| {
            let rest = url.path().strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path.ends_with('/'))
        };
        let fitting = host.iter().filter(|(_, (_, path))| below(path));
        let pairs: Vec<_> = fitting
            .map(|(name, (value, _))| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderMap, HeaderValue};

    use super::*;

    fn setting(cookies: &[&'static str]) -> Answer {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        Answer {
            status: 200,
            headers,
            body: bytes::Bytes::new(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn cookies_go_back_to_their_host_and_path() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let mut jar = Jar::default();
        let page = url("http://127.0.0.1:1/connect/x");
        jar.keep(
            &page,
            &setting(&["a=1; Path=/connect; HttpOnly", "b=2; Path=/"]),
        );
        assert_eq!(jar.shown(&page).unwrap(), "a=1; b=2");
        assert_eq!(
            jar.shown(&url("http://127.0.0.1:2/connected")).unwrap(),
            "b=2"
        );
        assert_eq!(jar.shown(&url("http://localhost:1/connect")), None);
        jar.keep(&page, &setting(&["b=; Max-Age=0; Path=/"]));
        assert_eq!(jar.shown(&url("http://127.0.0.1:1/")), None);
    }
}
