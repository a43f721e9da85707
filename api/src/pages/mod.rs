//! The pages that end users see while they connect: who asks whom for what ([`connect`]), how it went
//! ([`status`]), and errors. Plain HTML without script, images or anything from elsewhere.
//!
//! A page that cannot go on tells its reader, and redirects nowhere.

pub(crate) mod binding;
pub(crate) mod connect;
mod inputs;
pub(crate) mod status;
#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display, Write},
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, StatusCode, header};
use latchkey_runtime::SealError;
use latchkey_store::StoreError;
use latchkey_telemetry::Chain;
use sha2::{Digest, Sha256};

use crate::{error::ApiError, state::Api};

const STYLE: &str = include_str!("page.css");

/// Our own style by its hash and nothing else. There is no `form-action`: browsers apply it to the redirects
/// that follow a form, and these lead to the provider and from there to the partner.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'"
    );
    // Base64 and the text above are visible ASCII.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The pages' routes. The session's secret is in the path, so they take no key.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/connect/{token}", get(connect::show).post(connect::go_on))
        .route("/connect/{token}/status", get(status::show))
        .layer(DefaultBodyLimit::max(inputs::MAX_FORM))
}

/// A page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Its HTTP status.
    pub(crate) status: StatusCode,
    /// What its heading and the browser's tab say.
    pub(crate) title: String,
    /// HTML below the heading; texts in it are [`Escaped`].
    pub(crate) body: String,
    /// Where the browser goes by itself, and after how many seconds: our own paths only.
    pub(crate) refresh: Option<(u32, String)>,
}

impl Page {
    /// A page with this heading and body.
    pub(crate) fn new(title: impl Into<String>, body: String) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            body,
            refresh: None,
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let title = Escaped(&self.title);
        let mut refresh = String::new();
        if let Some((seconds, to)) = &self.refresh {
            // Writing to a String cannot fail.
            let _ = write!(
                refresh,
                "<meta http-equiv=\"refresh\" content=\"{seconds};url={}\">",
                Escaped(to)
            );
        }
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\">{refresh}<title>{title}</title>\
             <style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{}\n</main></body></html>\n",
            self.body
        );
        // The outermost layer adds no-store, no-referrer and nosniff.
        let policy = [(header::CONTENT_SECURITY_POLICY, POLICY.clone())];
        (self.status, policy, Html(html)).into_response()
    }
}

/// Why a page cannot go on, told to the person who looks at it.
#[derive(Clone, Debug)]
pub(crate) struct PageError {
    status: StatusCode,
    title: &'static str,
    text: String,
    next: Option<(&'static str, String)>,
    follow: bool,
    source: Option<Box<ApiError>>,
}

/// What every handler of a page returns.
pub(crate) type Result<T> = std::result::Result<T, PageError>;

impl PageError {
    /// An error page with this heading and text.
    pub(crate) fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            next: None,
            follow: false,
            source: None,
        }
    }

    /// With a link to where it goes on. Ours, or a partner's registered URL.
    #[must_use]
    pub(crate) fn next(mut self, label: &'static str, to: String) -> Self {
        self.next = Some((label, to));
        self
    }

    /// The browser follows that link, which must be ours, by itself.
    #[must_use]
    pub(crate) fn followed(mut self) -> Self {
        self.follow = true;
        self
    }

    /// The link, the state or the cookie is not one of ours.
    pub(crate) fn unknown() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "This link is not known",
            "It may be incomplete, or so old that it was forgotten. Go back to where you came from and \
             start again.",
        )
    }

    /// Failures of ours.
    fn internal(source: ApiError) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "This did not work",
                "Something failed on our side. Try again in a moment; if it goes on, start again where you \
                 came from.",
            )
        }
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        let status = error.code.status();
        Self {
            status,
            ..Self::internal(error)
        }
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<SealError> for PageError {
    fn from(error: SealError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let Some(error) = &self.source {
            tracing::error!(error = %Chain(&**error), "a page failed");
        }
        let mut body = format!("<p>{}</p>", Escaped(&self.text));
        let mut refresh = None;
        if let Some((label, to)) = self.next {
            // Writing to a String cannot fail.
            let _ = write!(
                body,
                "<p><a class=\"button\" href=\"{}\">{}</a></p>",
                Escaped(&to),
                Escaped(label)
            );
            refresh = self.follow.then_some((1, to));
        }
        let page = Page {
            status: self.status,
            refresh,
            ..Page::new(self.title, body)
        };
        page.into_response()
    }
}

/// 303 to one of our own pages.
pub(crate) fn go_to(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A text made safe for HTML content and quoted attributes. Characters that reorder or hide text are shown
/// as replacement characters, so that a name cannot pretend to be another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Bidirectional controls (UAX #9), what is not seen at all (joiners are needed by some
                // scripts), and other controls.
                '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{61c}'
                | '\u{200b}'
                | '\u{2060}'..='\u{2064}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}' => {
                    f.write_char('\u{fffd}')?;
                }
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
