//! How lists go on: what a partner's `limit` and `cursor` become, and the `next_cursor` of an answer.

use ::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::{
    entry::{Endpoint, EndpointParam, ParamPlace, ParamType, Service},
    target::Target,
};

/// The parameter that partners give for the size of a page.
pub const LIMIT: &str = "limit";
/// The parameter that partners give for the next page: what the page before told as `next_cursor`.
pub const CURSOR: &str = "cursor";

/// Longest cursor, in characters.
const CURSOR_CHARS: i64 = 4096;

/// How a list goes on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pagination {
    /// The provider's way.
    pub style: PageStyle,
    /// The provider's parameter for the next page.
    #[serde(rename = "in")]
    pub send: Option<String>,
    /// JSON pointer to what names the next page; with `last_item`, a pointer inside the last item.
    pub out: Option<String>,
    /// JSON pointer to a member that is `true` while there is more.
    pub more: Option<String>,
    /// JSON pointer to the number of all items.
    pub total: Option<String>,
    /// The provider's parameter for the size of a page.
    pub size: Option<String>,
    /// The largest page.
    pub max: Option<i64>,
    /// The number of the first page, with `page`.
    #[serde(default)]
    pub first: u64,
}

/// The provider's way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageStyle {
    /// A text of the provider's, at `out`, that is sent back. GraphQL connections too, with `more`.
    Token,
    /// `Link: <…>; rel="next"` (RFC 8288): the parameter `in` of that address.
    LinkHeader,
    /// The address of the next page at `out`; it must lie at or below the list's own.
    NextUrl,
    /// The number of items to pass over.
    Offset,
    /// The number of the page.
    Page,
    /// The id of the last item, at `out` inside it.
    LastItem,
}

impl Endpoint {
    /// How this list goes on; `None` where it is no list.
    pub fn pages<'a>(&'a self, service: &'a Service) -> Option<&'a Pagination> {
        self.items.as_ref()?;
        self.pagination.as_ref().or(service.pagination.as_ref())
    }

    /// Gives a list the parameters `limit` and `cursor`, where its entry does not declare them itself.
    pub(crate) fn declare_paging(&mut self, service: Option<&Pagination>) {
        let Some(pages) = self.pagination.as_ref().or(service).cloned() else {
            return;
        };
        if self.items.is_none() {
            return;
        }
        if let Some(size) = pages.size {
            let limit = EndpointParam {
                place: ParamPlace::Query,
                kind: ParamType::Integer,
                about: Some("How many items a page may have".to_owned()),
                aliases: renamed(LIMIT, &size),
                to: Some(size),
                min: Some(1),
                max: pages.max,
                ..EndpointParam::default()
            };
            self.params.entry(LIMIT.to_owned()).or_insert(limit);
        }
        if pages.send.is_some() || pages.style == PageStyle::NextUrl {
            let numbered = matches!(pages.style, PageStyle::Offset | PageStyle::Page);
            let to = pages.send.unwrap_or_else(|| CURSOR.to_owned());
            let cursor = EndpointParam {
                place: ParamPlace::Query,
                kind: if numbered {
                    ParamType::Integer
                } else {
                    ParamType::String
                },
                about: Some("The next_cursor of the page before".to_owned()),
                aliases: renamed(CURSOR, &to),
                to: Some(to),
                min: numbered.then_some(0),
                max: (!numbered).then_some(CURSOR_CHARS),
                ..EndpointParam::default()
            };
            self.params.entry(CURSOR.to_owned()).or_insert(cursor);
        }
    }

    /// What a partner sends as `cursor` for the page after this answer; `None` at the end, and where the
    /// answer is no such list. `target` is where the provider was asked.
    pub fn next_cursor(
        &self,
        service: &Service,
        target: &Target,
        headers: &HeaderMap,
        body: &Value,
    ) -> Option<String> {
        let pages = self.pages(service)?;
        if !more(pages, body) {
            return None;
        }
        let items = body.pointer(self.items.as_deref()?)?.as_array()?;
        let next = match pages.style {
            PageStyle::Token => at(body, pages.out.as_deref()?)?,
            PageStyle::LinkHeader => parameter(&next_link(headers)?, pages.send.as_deref()?)?,
            PageStyle::NextUrl => below(&at(body, pages.out.as_deref()?)?, target.path())?,
            PageStyle::LastItem => at(items.last()?, pages.out.as_deref()?)?,
            PageStyle::Offset => {
                let count = u64::try_from(items.len()).ok().filter(|count| *count > 0)?;
                let next = number(target, pages.send.as_deref()).unwrap_or_default() + count;
                if let Some(total) = &pages.total {
                    body.pointer(total)?
                        .as_u64()
                        .filter(|total| next < *total)?;
                }
                next.to_string()
            }
            PageStyle::Page => {
                let now = number(target, pages.send.as_deref()).unwrap_or(pages.first);
                if items.is_empty() {
                    return None;
                }
                if let Some(total) = &pages.total {
                    let pages_left = body.pointer(total)?.as_u64()?;
                    (now + 1 < pages_left + pages.first).then_some(())?;
                }
                (now + 1).to_string()
            }
        };
        Some(next).filter(|next| !next.is_empty())
    }
}

fn renamed(own: &str, theirs: &str) -> Vec<String> {
    if own == theirs {
        Vec::new()
    } else {
        vec![theirs.to_owned()]
    }
}

fn more(pages: &Pagination, body: &Value) -> bool {
    pages
        .more
        .as_ref()
        .is_none_or(|path| body.pointer(path) == Some(&Value::Bool(true)))
}

/// The text or number at a pointer.
fn at(body: &Value, pointer: &str) -> Option<String> {
    match body.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The number that was sent in this parameter.
fn number(target: &Target, name: Option<&str>) -> Option<u64> {
    let (_, query) = target.as_str().split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, value) = pairs.find(|(known, _)| Some(&**known) == name)?;
    value.parse().ok()
}

/// The address of `rel="next"`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::LINK).iter();
    let links = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    for link in links {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = rest.split(';').any(|part| {
            let part = part.trim().replace('"', "");
            part.eq_ignore_ascii_case("rel=next")
        });
        if is_next {
            return Some(address.to_owned());
        }
    }
    None
}

fn parameter(address: &str, name: &str) -> Option<String> {
    let query = address.split_once('?')?.1;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}

/// What stands in the address of the next page after the list's own path. The list's permission covers nothing
/// else, so an address elsewhere is none.
fn below(address: &str, path: &str) -> Option<String> {
    let there = match Url::parse(address) {
        Ok(url) => url[url::Position::BeforePath..].to_owned(),
        Err(_) => address.to_owned(),
    };
    let place = there.find(path)?;
    let rest = &there[place + path.len()..];
    rest.starts_with(['/', '?']).then(|| rest.to_owned())
}
