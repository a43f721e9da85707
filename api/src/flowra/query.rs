//! Query parameters as Flowra's clients write them: lists repeated or comma-separated (also as `name[]`), flags
//! and orders in any case, unknown names refused, and every wrong one named.

use std::{collections::BTreeMap, str::FromStr};

use axum::extract::FromRequestParts;
use form_urlencoded::parse;
use http::request::Parts;
use latchkey_domain::Timestamp;

use crate::{
    check::{self, Checks},
    error::{ApiError, FieldError},
    reply::Result,
};

/// Values of one parameter at most.
const MAX_VALUES: usize = 100;
/// Characters of one value.
const MAX_VALUE: usize = 255;
/// Characters of one parameter.
const MAX_PARAMETER: usize = 8192;

/// The parameters of a request. Each is taken once; what is left is unknown.
#[derive(Debug)]
pub(crate) struct Params {
    given: BTreeMap<String, Vec<String>>,
    known: Vec<&'static str>,
    wrong: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            let name = name.strip_suffix("[]").unwrap_or(&name).to_owned();
            given.entry(name).or_default().push(value.into_owned());
        }
        Ok(Self {
            given,
            known: Vec::new(),
            wrong: Vec::new(),
        })
    }
}

impl Params {
    /// Notes that a parameter is wrong.
    pub(crate) fn refuse(&mut self, field: &str, problem: impl Into<String>) {
        self.wrong.push(FieldError {
            field: field.to_owned(),
            problem: problem.into(),
        });
    }

    fn take(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.given.remove(name).unwrap_or_default()
    }

    /// The one value of a parameter; an empty one counts as none.
    pub(crate) fn one(&mut self, name: &'static str) -> Option<String> {
        self.one_within(name, MAX_VALUE)
    }

    /// The same of at most so many characters.
    pub(crate) fn one_within(&mut self, name: &'static str, most: usize) -> Option<String> {
        let mut values = self.take(name);
        if values.len() > 1 {
            self.refuse(name, "is given twice");
        }
        let value = values.pop().filter(|value| !value.is_empty())?;
        if value.chars().count() > most || value.chars().any(char::is_control) {
            self.refuse(
                name,
                format!("must be at most {most} characters and hold no control characters"),
            );
            return None;
        }
        Some(value)
    }

    /// The values of a list; `None` if the parameter is not there.
    pub(crate) fn many(&mut self, name: &'static str) -> Option<Vec<String>> {
        let given = self.take(name);
        if given.is_empty() {
            return None;
        }
        let too_long = given.iter().any(|value| value.len() > MAX_PARAMETER);
        let split = given.iter().flat_map(|value| value.split(','));
        let values: Vec<_> = split
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect();
        if values.len() > MAX_VALUES || too_long {
            self.refuse(name, format!("must be at most {MAX_VALUES} values"));
            return None;
        }
        let fits = |value: &String| {
            value.chars().count() <= MAX_VALUE && !value.chars().any(char::is_control)
        };
        if !values.iter().all(fits) {
            self.refuse(
                name,
                format!(
                    "must hold values of at most {MAX_VALUE} characters, without control characters"
                ),
            );
            return None;
        }
        // `toolkitSlugs=` asks for nothing in particular.
        Some(values).filter(|values| !values.is_empty())
    }

    /// The values of a list that each read as `T`.
    pub(crate) fn many_of<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let values = self.many(name)?;
        let read: Option<Vec<T>> = values.iter().map(|value| read(value)).collect();
        if read.is_none() {
            self.refuse(name, expected);
        }
        read
    }

    /// Ids; what is no id of this kind names nothing, and so matches nothing.
    pub(crate) fn ids<T: FromStr>(&mut self, name: &'static str) -> Option<Vec<T>> {
        let values = self.many(name)?;
        Some(
            values
                .iter()
                .filter_map(|value| value.parse().ok())
                .collect(),
        )
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &'static str, default: u32, min: u32, max: u32) -> u32 {
        let Some(text) = self.one(name) else {
            return default;
        };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                self.refuse(name, format!("must be a whole number from {min} to {max}"));
                default
            }
        }
    }

    /// A flag in any case, also as `1` and `0`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.one(name)?.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => {
                self.refuse(name, "must be true or false");
                None
            }
        }
    }

    /// One of these words, in any case: its place among them.
    pub(crate) fn choice(&mut self, name: &'static str, words: &[&str]) -> Option<usize> {
        let text = self.one(name)?;
        let found = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(&text));
        if found.is_none() {
            self.refuse(name, format!("must be one of {}", words.join(", ")));
        }
        found
    }

    /// A time, or a date.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let text = self.one(name)?;
        match check::time(name, &text) {
            Ok(time) => Some(time),
            Err(error) => {
                self.wrong.extend(error.details);
                None
            }
        }
    }

    /// `page`, `limit`, `offset` and the paging cursor of lists that count pages.
    pub(crate) fn paging(&mut self, limit: u32) -> Paging {
        const MOST: u32 = 1_000_000;
        let mut paging = Paging {
            page: self.number("page", 1, 1, MOST),
            limit: self.number("limit", limit, 1, 100),
            offset: 0,
        };
        if let Some(cursor) = self.one_within("cursor", 512) {
            match super::cursor::read_page(&cursor) {
                Some((page, limit)) => (paging.page, paging.limit) = (page, limit),
                None => self.refuse("cursor", "is not one that this list gave out"),
            }
        }
        paging.offset = (paging.page - 1).saturating_mul(paging.limit);
        if self.given.contains_key("offset") {
            paging.offset = self.number("offset", 0, 0, MOST);
            paging.page = paging.offset / paging.limit + 1;
        } else {
            self.known.push("offset");
        }
        paging
    }

    /// Refuses what is wrong and what is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        for name in std::mem::take(&mut self.given).into_keys() {
            let name: String = name.chars().take(80).collect();
            let known = self.known.join(", ");
            self.refuse(
                &name,
                format!("is not a parameter of this list; it takes {known}"),
            );
        }
        let mut checks = Checks::default();
        for wrong in self.wrong {
            checks.require(false, &wrong.field, wrong.problem);
        }
        checks.finish()
    }
}

/// Which page of a list that counts pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    /// From 1.
    pub(crate) page: u32,
    /// Things on a page.
    pub(crate) limit: u32,
    /// Things before it.
    pub(crate) offset: u32,
}

impl Paging {
    /// Its part of a whole list.
    pub(crate) fn cut<T>(self, all: Vec<T>) -> Vec<T> {
        let all = all.into_iter().skip(self.offset as usize);
        all.take(self.limit as usize).collect()
    }
}
