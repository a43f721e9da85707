//! What a browser needs of a page here: its forms, its title, where it goes by itself. Not an HTML parser; it reads the
//! tags of pages that close them properly.

use url::Url;

/// A form as it would be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Where to.
    pub(crate) action: String,
    /// Whether by POST.
    pub(crate) post: bool,
    /// Fields that are sent as they are.
    pub(crate) fields: Vec<(String, String)>,
    /// Buttons; the pressed one is sent too.
    pub(crate) buttons: Vec<(String, String)>,
}

/// One tag: its name in lower case and its attributes.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    fn pair(&self) -> Option<(String, String)> {
        let name = self.get("name").filter(|name| !name.is_empty())?;
        Some((
            name.to_owned(),
            self.get("value").unwrap_or_default().to_owned(),
        ))
    }
}

/// The forms of a page, in order.
pub(crate) fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut inside = false;
    for tag in tags(html) {
        let kind = tag.get("type").unwrap_or_default().to_ascii_lowercase();
        match (tag.name.as_str(), inside) {
            ("form", _) => {
                inside = true;
                forms.push(Form {
                    action: tag.get("action").unwrap_or_default().to_owned(),
                    post: tag
                        .get("method")
                        .is_some_and(|method| method.eq_ignore_ascii_case("post")),
                    ..Form::default()
                });
            }
            ("/form", _) => inside = false,
            ("button", true) => last(&mut forms, |form| form.buttons.extend(tag.pair())),
            ("input", true) if kind == "submit" => {
                last(&mut forms, |form| form.buttons.extend(tag.pair()));
            }
            ("input", true) if kind != "checkbox" || tag.get("checked").is_some() => {
                last(&mut forms, |form| form.fields.extend(tag.pair()));
            }
            _ => {}
        }
    }
    forms
}

/// Where `<meta http-equiv=refresh>` leads, if the page holds one.
pub(crate) fn refresh(html: &str, page: &Url) -> Option<Url> {
    let is_refresh = |tag: &Tag| {
        tag.name == "meta"
            && tag
                .get("http-equiv")
                .is_some_and(|kind| kind.eq_ignore_ascii_case("refresh"))
    };
    let tag = tags(html).find(is_refresh)?;
    match tag.get("content")?.split_once(';') {
        Some((_, to)) => {
            let to = to.trim();
            let cut = to
                .get(..4)
                .filter(|start| start.eq_ignore_ascii_case("url="))
                .map_or(0, str::len);
            page.join(to[cut..].trim_matches(['\'', '"'])).ok()
        }
        None => Some(page.clone()),
    }
}

/// The page's title.
pub(crate) fn title(html: &str) -> String {
    let inner = html
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    decoded(inner.map_or("", |(title, _)| title))
        .trim()
        .to_owned()
}

fn last(forms: &mut [Form], change: impl FnOnce(&mut Form)) {
    if let Some(form) = forms.last_mut() {
        change(form);
    }
}

/// The tags of a page, in order.
fn tags(html: &str) -> impl Iterator<Item = Tag> {
    let mut rest = html;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find('<')? + 1..];
            let end = end_of_tag(rest)?;
            let (inner, after) = rest.split_at(end);
            rest = &after[1..];
            if !inner.starts_with('!') {
                return Some(tag(inner));
            }
        }
    })
}

/// Where the tag closes: the first `>` outside quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    text.bytes().position(|byte| match (quote, byte) {
        (None, b'>') => true,
        (None, b'"' | b'\'') => {
            quote = Some(byte);
            false
        }
        (Some(open), byte) if open == byte => {
            quote = None;
            false
        }
        _ => false,
    })
}

fn tag(inner: &str) -> Tag {
    let end = inner
        .find(|c: char| c.is_whitespace())
        .unwrap_or(inner.len());
    let (name, mut rest) = inner.split_at(end);
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return Tag {
                name: name.to_ascii_lowercase(),
                attributes,
            };
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(rest.len())
            .max(1);
        let (name, after) = rest.split_at(end);
        let (value, after) = value(after);
        attributes.push((name.to_ascii_lowercase(), decoded(value)));
        rest = after;
    }
}

/// The value after an attribute's name, and what follows it.
fn value(after: &str) -> (&str, &str) {
    let Some(value) = after.trim_start().strip_prefix('=') else {
        return ("", after);
    };
    let value = value.trim_start();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
        _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
    }
}

fn decoded(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#x2F;", "/"),
    ];
    let text = pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<!doctype html><html><head><title>Allow &amp; go</title></head><body>
        <a href="/elsewhere?a=1&amp;b=2">no</a>
        <form method="post" action="/decide"><input type="hidden" name="consent" value="a&quot;&gt;b">
        <input name='user' value='ada' required><input type=checkbox name=all value=1>
        <button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button>
        </form><form action="/search"><input type="submit" value="Go"></form></body></html>"#;

    #[test]
    fn forms_are_read_as_a_browser_would_send_them() {
        let forms = forms(PAGE);
        assert_eq!(forms.len(), 2);
        assert_eq!((forms[0].action.as_str(), forms[0].post), ("/decide", true));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            forms[0].fields,
            [pair("consent", "a\">b"), pair("user", "ada")]
        );
        assert_eq!(
            forms[0].buttons,
            [pair("decision", "allow"), pair("decision", "deny")]
        );
        assert!(!forms[1].post && forms[1].fields.is_empty());
    }

    #[test]
    fn titles_and_refreshes() {
        let page: Url = "http://a.example/x".parse().unwrap();
        assert_eq!(title(PAGE), "Allow & go");
        assert_eq!(refresh(PAGE, &page), None);
        let to = refresh(
            r#"<meta http-equiv="refresh" content="1; url=/next">"#,
            &page,
        )
        .unwrap();
        assert_eq!(to.as_str(), "http://a.example/next");
        assert_eq!(
            refresh("<META HTTP-EQUIV=Refresh content=1>", &page),
            Some(page)
        );
    }

    #[test]
    fn garbage_ends() {
        for text in [
            "<",
            "<a",
            "<a href",
            "<a href=\"",
            "< >",
            "<a =x>",
            "<!--",
            "<a 'é'>",
            "a < b > c",
        ] {
            forms(text);
            title(text);
        }
    }
}
