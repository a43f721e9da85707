//! Believable answers: an entry's examples with their words filled in, and lists page by page.

use std::collections::BTreeMap;

use latchkey_providers::{Endpoint, PageStyle, Pagination};
use serde_json::{Map, Value};

use super::put;

/// How many items each list holds.
pub(crate) const ITEMS: usize = 25;

/// How many of them a page has where nothing is asked.
pub(super) const PAGE: usize = 10;

/// What stands in an example's `{…}`.
#[derive(Clone, Debug, Default)]
pub(super) struct Words(BTreeMap<String, String>);

impl Words {
    /// The words about a user.
    pub(super) fn of(user: &str) -> Self {
        let email = if user.contains('@') {
            user.to_owned()
        } else {
            format!("{user}@sandbox.example")
        };
        Self(BTreeMap::from([
            ("user".to_owned(), user.to_owned()),
            ("email".to_owned(), email),
            ("number".to_owned(), number_of(user).to_string()),
        ]))
    }

    /// One word more.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    fn filled(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (name, value) in &self.0 {
            out = out.replace(&format!("{{{name}}}"), value);
        }
        out
    }
}

/// A number that stands for a user, where the provider counts its users.
fn number_of(user: &str) -> u32 {
    let mixed = user.bytes().fold(17_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    mixed % 1_000_000
}

/// An example with its words. A text that begins with `#` and then is a number becomes that number.
pub(super) fn filled(example: &Value, words: &Words) -> Value {
    match example {
        Value::String(text) => {
            let said = words.filled(text);
            let number = said.strip_prefix('#').filter(|_| text.contains('{'));
            match number.and_then(|number| number.parse::<i64>().ok()) {
                Some(number) => number.into(),
                None => said.into(),
            }
        }
        Value::Array(items) => items.iter().map(|item| filled(item, words)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), filled(value, words)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// One page of a list.
pub(super) struct Page {
    /// The answer.
    pub(super) body: Value,
    /// The `Link` header, if the provider goes on by one.
    pub(super) link: Option<String>,
}

/// What a request asks of a list.
pub(super) struct Ask<'a> {
    /// The value of the size parameter.
    pub(super) size: Option<usize>,
    /// The value of the cursor parameter.
    pub(super) cursor: Option<String>,
    /// The list's own address as the client reached it, without query.
    pub(super) address: &'a str,
    /// The query without its cursor, each pair with an `&` behind it.
    pub(super) query: &'a str,
}

/// The page that is asked for; `None` for a cursor that is none of this list's.
pub(super) fn page(
    endpoint: &Endpoint,
    pages: &Pagination,
    example: &Value,
    words: &Words,
    ask: &Ask<'_>,
) -> Option<Page> {
    let pointer = endpoint.items.as_deref().unwrap_or_default();
    let item = example.pointer(pointer)?.get(0)?;
    let items: Vec<Value> = (1..=ITEMS)
        .map(|n| {
            let mut words = words.clone();
            // Numbers of one width, so that ids stand in their order as texts too.
            words.add("n", &format!("1{n:02}"));
            filled(item, &words)
        })
        .collect();
    let most = pages
        .max
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(ITEMS);
    let size = ask.size.unwrap_or(PAGE).clamp(1, most);
    let from = start(pages, &items, size, ask.cursor.as_deref())?;
    let until = (from + size).min(ITEMS);
    let is_last = until == ITEMS;
    let mut body = filled(example, words);
    let shown = Value::Array(items.get(from..until).unwrap_or_default().to_vec());
    if pointer.is_empty() {
        body = shown;
    } else {
        put(&mut body, pointer, shown);
    }
    if let Some(more) = &pages.more {
        put(&mut body, more, (!is_last).into());
    }
    let mut link = None;
    match (pages.style, &pages.out) {
        (PageStyle::Token, Some(out)) if !is_last => {
            put(&mut body, out, format!("c{until}").into());
        }
        (PageStyle::NextUrl, Some(out)) if !is_last => {
            put(
                &mut body,
                out,
                format!("{}?{}$skiptoken=c{until}", ask.address, ask.query).into(),
            );
        }
        (PageStyle::LinkHeader, _) if !is_last => {
            let name = pages.send.as_deref().unwrap_or("page");
            let asked = ask.size.zip(pages.size.as_deref());
            let size = asked
                .map(|(size, name)| format!("&{name}={size}"))
                .unwrap_or_default();
            let next = from / size_of(ask) + 2;
            link = Some(format!(
                "<{}?{name}={next}{size}>; rel=\"next\"",
                ask.address
            ));
        }
        (PageStyle::Offset, _) => {
            if let Some(total) = &pages.total {
                put(&mut body, total, ITEMS.into());
            }
        }
        (PageStyle::Page, _) => {
            if let Some(total) = &pages.total {
                put(&mut body, total, ITEMS.div_ceil(size).into());
            }
        }
        _ => {}
    }
    Some(Page { body, link })
}

fn size_of(ask: &Ask<'_>) -> usize {
    ask.size.unwrap_or(PAGE).max(1)
}

/// Where the page begins.
fn start(pages: &Pagination, items: &[Value], size: usize, cursor: Option<&str>) -> Option<usize> {
    let Some(cursor) = cursor else {
        return Some(0);
    };
    let from = match pages.style {
        PageStyle::Token | PageStyle::NextUrl => cursor.strip_prefix('c')?.parse().ok()?,
        PageStyle::LinkHeader => cursor.parse::<usize>().ok()?.checked_sub(1)? * size,
        PageStyle::Offset => cursor.parse().ok()?,
        PageStyle::Page => {
            let first = usize::try_from(pages.first).ok()?;
            cursor.parse::<usize>().ok()?.checked_sub(first)? * size
        }
        PageStyle::LastItem => {
            let out = pages.out.as_deref()?;
            let of = |item: &Value| {
                item.pointer(out)
                    .is_some_and(|id| id.as_str() == Some(cursor))
            };
            items.iter().position(of)? + 1
        }
    };
    // A page behind the last is empty.
    let counted = matches!(pages.style, PageStyle::Page | PageStyle::Offset);
    (from <= ITEMS || counted).then_some(from.min(ITEMS))
}
