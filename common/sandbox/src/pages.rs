//! The two pages that people see: consent and error. Plain HTML without script or outside parts.

use std::fmt::Write;

use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};
use url::Url;

use crate::state::Ask;

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;\
padding:0 1rem;color:#1a1a1a;background:#fff}button{font:inherit;padding:.5rem 1.5rem;margin-right:.5rem}\
input{font:inherit;padding:.3rem}.note{color:#555}";

/// The consent page. Its form posts the one-time ticket, the user and the decision.
pub(crate) fn consent(ask: &Ask, ticket: &str, user: &str) -> Response {
    let client = escaped(&ask.client_id);
    let back = Url::parse(&ask.redirect_uri).ok();
    let origin = back.map(|url| url.origin().ascii_serialization());
    let origin = escaped(origin.as_deref().unwrap_or("nowhere"));
    let mut scopes = String::new();
    for scope in ask.scope.split(' ') {
        // Writing to a String cannot fail.
        let _ = write!(scopes, "<li><code>{}</code></li>", escaped(scope));
    }
    let body = format!(
        "<h1>Allow {client}?</h1>\
         <p><strong>{client}</strong> asks to use your sandbox account for:</p><ul>{scopes}</ul>\
         <form method=\"post\" action=\"/oauth/authorize/decision\">\
         <input type=\"hidden\" name=\"consent\" value=\"{}\">\
         <p><label for=\"user\">You are</label> \
         <input id=\"user\" name=\"user\" value=\"{}\" required maxlength=\"255\" autocomplete=\"off\"></p>\
         <p><button name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></p></form>\
         <p class=\"note\">You go back to {origin}. This is a sandbox: there is no real account.</p>",
        escaped(ticket),
        escaped(user),
    );
    page(StatusCode::OK, "Allow access", &body)
}

/// An error that goes to nobody but the person.
pub(crate) fn error(text: &str) -> Response {
    let body = format!("<h1>This does not work</h1><p>{}</p>", escaped(text));
    page(StatusCode::BAD_REQUEST, "Error", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title} – Latchkey sandbox</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    );
    // No form-action: browsers would apply it to the redirect back to the client.
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(html)).into_response()
}

/// Text made safe for HTML content and quoted attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_does_not_pass() {
        assert_eq!(
            escaped("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
    }
}
