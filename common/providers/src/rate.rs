//! How a provider says that it is asked too often, and what is left.

use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use latchkey_domain::Timestamp;
use latchkey_oauth::{
    HttpAnswer,
    pattern::{self, Pattern},
    retry_after,
    spec::{TimeField, TimeUnit},
    times::{DEFAULT_WAIT, RETRY_AFTER_CAP},
};
use serde::Deserialize;
use serde_json::Value;

use crate::entry::Provider;

/// Longest name of a limit that is passed on, in bytes; the longest seen is Jira's, of 26.
const REASON_BYTES: usize = 64;

/// `[rate]` of a catalogue file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateSpec {
    /// The header with the limit of the window.
    pub limit_header: Option<String>,
    /// The header with what is left of it.
    pub remaining_header: Option<String>,
    /// The header with its end.
    pub reset_header: Option<String>,
    /// The unit of that end.
    pub reset_unit: Option<TimeUnit>,
    /// Answers that mean "too often", beside 429.
    pub limited_when: Vec<LimitedWhen>,
    /// Shortest wait in seconds after such an answer that names no time.
    pub min_wait_s: Option<u64>,
    /// Whose budget the headers are about.
    pub scope: RateScope,
    /// More windows that are counted side by side, each with headers of its own; where several are spent, the
    /// one that ends last counts.
    pub buckets: Vec<Bucket>,
    /// Where the body of such an answer says when to come back, for answers without `Retry-After`.
    pub retry_after_body: Option<TimeField>,
    /// A header that tells use and limit in one text (Salesforce).
    pub usage_header: Option<UsageHeader>,
    /// The header with the name of the limit that was met (Jira): told to the caller.
    pub reason_header: Option<String>,
    /// Answers after which asking again soon is useless: the day's budget is spent.
    pub not_retryable_when: Vec<LimitedWhen>,
    /// What the provider allows, as it publishes it. Calls keep to it, unless it is `unsure`.
    pub budgets: Vec<Budget>,
}

/// One window among several.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// The header with its limit.
    pub limit_header: Option<String>,
    /// The header with what is left of it.
    pub remaining_header: String,
    /// The header with its end.
    pub reset_header: String,
    /// The unit of that end.
    pub reset_unit: TimeUnit,
}

/// A header that tells use and limit in one text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageHeader {
    /// Its name.
    pub name: String,
    /// A pattern whose first two groups are the requests used and the limit.
    pub regex: String,
}

/// A published budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// For whom it is counted.
    pub scope: BudgetScope,
    /// So many requests …
    pub requests: u64,
    /// … in so many seconds.
    pub per_s: u64,
}

/// For whom a budget is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// The application: all of its users together.
    App,
    /// One user of it.
    User,
    /// One workspace, company or organization.
    Workspace,
    /// One endpoint, for one user.
    Endpoint,
}

/// Whose budget a provider's limits are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateScope {
    /// Each user's of an app: one connection's.
    #[default]
    User,
    /// The app's, over all of its users: one auth config's.
    App,
}

/// An answer that means "too often". All conditions given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitedWhen {
    /// The status.
    pub http: u16,
    /// `remaining_header` says 0.
    #[serde(default)]
    pub remaining_zero: bool,
    /// The header that `equals`, `contains` and `regex` look at, in place of the body.
    pub header: Option<String>,
    /// JSON pointer to the text of the body that `equals`, `contains` and `regex` look at.
    #[serde(default)]
    pub path: String,
    /// The text is one of these.
    #[serde(default)]
    pub equals: Vec<String>,
    /// The text holds this, whatever its case.
    pub contains: Option<String>,
    /// This pattern is found in the text.
    pub regex: Option<Pattern>,
    /// A text that `regex` finds, as the provider writes it: what the sandbox says.
    pub example: Option<String>,
}

/// What an answer says about the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateReading {
    /// Requests per window.
    pub limit: Option<u64>,
    /// Requests left.
    pub remaining: Option<u64>,
    /// When the window ends.
    pub reset_at: Option<Timestamp>,
    /// Set if this answer means "too often": when to come back, at most an hour ahead.
    pub limited_until: Option<Timestamp>,
}

impl RateReading {
    /// Until when nothing more should be sent: the provider said "too often", or that this window is used up.
    pub fn spent_until(&self, now: Timestamp) -> Option<Timestamp> {
        let used_up = self.reset_at.filter(|_| self.remaining == Some(0));
        let until = self.limited_until.or(used_up)?;
        let until = until.min(now + RETRY_AFTER_CAP);
        (until > now).then_some(until)
    }
}

impl RateSpec {
    /// Reads an answer of the provider's API.
    pub fn read(&self, answer: &HttpAnswer, now: Timestamp) -> RateReading {
        let text = |name: &Option<String>| header(&answer.headers, name.as_deref()?);
        let (used_limit, used_left) = self.usage(&answer.headers).unzip();
        let number = |name: &Option<String>| text(name)?.trim().parse().ok();
        let mut reading = RateReading {
            limit: number(&self.limit_header).or(used_limit),
            remaining: number(&self.remaining_header).or(used_left),
            reset_at: text(&self.reset_header)
                .zip(self.reset_unit)
                .and_then(|(text, unit)| unit.read_text(text, now)),
            limited_until: None,
        };
        self.read_buckets(&answer.headers, now, &mut reading);
        if self.is_limited(answer, &reading) {
            let reset = reading.reset_at.filter(|_| reading.remaining == Some(0));
            let least = self.min_wait_s.map_or(DEFAULT_WAIT, Duration::from_secs);
            let in_body = || {
                let field = self.retry_after_body.as_ref()?;
                let body: Value = serde_json::from_slice(&answer.body).ok()?;
                field.unit.read(body.pointer(&field.path)?, now)
            };
            let mut until = retry_after(&answer.headers, now)
                .or(reset)
                .or_else(in_body)
                .unwrap_or(now + least);
            let useless = |rule: &LimitedWhen| rule.matches(answer, &reading);
            if self.not_retryable_when.iter().any(useless) {
                until = now + RETRY_AFTER_CAP;
            }
            reading.limited_until = Some(until.clamp(now, now + RETRY_AFTER_CAP));
        }
        reading
    }

    /// Which limit was met, in the provider's word, if it says so.
    pub fn reason(&self, headers: &HeaderMap) -> Option<String> {
        let text = header(headers, self.reason_header.as_deref()?)?.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let fits = (1..=REASON_BYTES).contains(&text.len()) && text.chars().all(word);
        fits.then(|| text.to_owned())
    }

    /// Limit and what is left, from the header that tells both.
    fn usage(&self, headers: &HeaderMap) -> Option<(u64, u64)> {
        let usage = self.usage_header.as_ref()?;
        // The pattern was checked when the file was read; it is short, and the header is read once a call.
        let found = pattern::part(&usage.regex).ok()?;
        let groups = found.captures(header(headers, &usage.name)?)?;
        let number = |n| groups.get(n)?.as_str().parse::<u64>().ok();
        let (used, limit) = (number(1)?, number(2)?);
        Some((limit, limit.saturating_sub(used)))
    }

    /// What the further windows add: the least that is left, and the latest end of one that is spent.
    fn read_buckets(&self, headers: &HeaderMap, now: Timestamp, reading: &mut RateReading) {
        for bucket in &self.buckets {
            let number = |name: &str| header(headers, name)?.trim().parse::<u64>().ok();
            let Some(left) = number(&bucket.remaining_header) else {
                continue;
            };
            let end = header(headers, &bucket.reset_header)
                .and_then(|text| bucket.reset_unit.read_text(text, now));
            if reading.remaining.is_none_or(|least| left < least) {
                reading.remaining = Some(left);
                reading.limit = bucket.limit_header.as_deref().and_then(number);
                reading.reset_at = end;
            } else if left == 0 && reading.remaining == Some(0) {
                reading.reset_at = reading.reset_at.max(end);
            }
        }
    }

    fn is_limited(&self, answer: &HttpAnswer, reading: &RateReading) -> bool {
        answer.status == StatusCode::TOO_MANY_REQUESTS
            || self
                .limited_when
                .iter()
                .any(|rule| rule.matches(answer, reading))
    }
}

impl Provider {
    /// The published budgets that calls keep to; none where the figures are `unsure`, which are shown alone.
    pub fn budgets(&self) -> &[Budget] {
        let whole_or_part = ["rate", "rate.budgets"];
        let unsure = self
            .unsure
            .iter()
            .any(|field| whole_or_part.contains(&&**field));
        if unsure { &[] } else { &self.rate.budgets }
    }

    /// Whether an answer of the API means that its access token does not work.
    pub fn is_unauthorized(&self, answer: &HttpAnswer) -> bool {
        let reading = RateReading::default();
        answer.status == StatusCode::UNAUTHORIZED
            || self
                .unauthorized_when
                .iter()
                .any(|rule| rule.matches(answer, &reading))
    }
}

impl LimitedWhen {
    /// Whether every condition holds for an answer of which `reading` was taken.
    pub fn matches(&self, answer: &HttpAnswer, reading: &RateReading) -> bool {
        answer.status.as_u16() == self.http
            && (!self.remaining_zero || reading.remaining == Some(0))
            && self.matches_text(answer)
    }

    fn matches_text(&self, answer: &HttpAnswer) -> bool {
        if !self.is_worded() {
            return true;
        }
        let body: Value;
        let text = if let Some(name) = &self.header {
            header(&answer.headers, name)
        } else {
            body = serde_json::from_slice(&answer.body).unwrap_or_default();
            body.pointer(&self.path).and_then(Value::as_str)
        };
        let Some(text) = text else {
            return false;
        };
        let holds = |part: &String| text.to_lowercase().contains(&part.to_lowercase());
        (self.equals.is_empty() || self.equals.iter().any(|code| code == text))
            && self.contains.as_ref().is_none_or(holds)
            && self.regex.as_ref().is_none_or(|regex| regex.is_in(text))
    }

    /// Whether it looks at a text.
    pub fn is_worded(&self) -> bool {
        !self.equals.is_empty() || self.contains.is_some() || self.regex.is_some()
    }

    /// A text that it is for.
    pub fn words(&self) -> Option<&str> {
        let words = self.equals.first().or(self.contains.as_ref());
        words.or(self.example.as_ref()).map(String::as_str)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn github() -> RateSpec {
        toml::from_str(
            r#"
            limit_header = "x-ratelimit-limit"
            remaining_header = "x-ratelimit-remaining"
            reset_header = "x-ratelimit-reset"
            reset_unit = "epoch_s"
            min_wait_s = 60
            limited_when = [
                { http = 403, remaining_zero = true },
                { http = 403, path = "/message", contains = "secondary rate" },
            ]
            "#,
        )
        .unwrap()
    }

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpAnswer {
        let headers = headers.iter().map(|(name, value)| {
            (
                ::http::HeaderName::from_static(name),
                value.parse().unwrap(),
            )
        });
        HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            sent_bytes: 0,
        }
    }

    fn wait(answer: &HttpAnswer) -> Option<u64> {
        let until = github().read(answer, NOW).limited_until?;
        Some(NOW.until(until).as_secs())
    }

    #[test]
    fn the_budget_is_read_from_headers() {
        let headers = [
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", "4999"),
            ("x-ratelimit-reset", "1800000900"),
        ];
        let reading = github().read(&answer(200, &headers, "{}"), NOW);
        assert_eq!((reading.limit, reading.remaining), (Some(5000), Some(4999)));
        assert_eq!(reading.reset_at, Some(NOW + Duration::from_secs(900)));
        assert_eq!(reading.limited_until, None);
        assert_eq!(reading.spent_until(NOW), None);
    }

    #[test]
    fn a_window_that_is_used_up_is_spent_before_anyone_is_refused() {
        let spent = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1800000900"),
        ];
        let until = |answer: &HttpAnswer| {
            let until = github().read(answer, NOW).spent_until(NOW)?;
            Some(NOW.until(until).as_secs())
        };
        assert_eq!(until(&answer(200, &spent, "{}")), Some(900));
        assert_eq!(until(&answer(429, &[("retry-after", "7")], "")), Some(7));
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")];
        assert_eq!(until(&answer(200, &past, "{}")), None);
    }

    #[test]
    fn which_limit_was_met_is_told_if_it_is_a_word() {
        let rate: RateSpec = toml::from_str(r#"reason_header = "ratelimit-reason""#).unwrap();
        let said =
            |text: &str| rate.reason(&answer(429, &[("ratelimit-reason", text)], "").headers);
        assert_eq!(
            said("jira-burst-based").as_deref(),
            Some("jira-burst-based")
        );
        for no in ["", "two words", "<b>", &"x".repeat(65)] {
            assert_eq!(said(no), None, "{no}");
        }
        assert_eq!(rate.reason(&HeaderMap::new()), None);
        assert_eq!(github().reason(&answer(429, &[], "").headers), None);
    }

    #[test]
    fn a_pattern_tells_one_refusal_from_another() {
        let rate: RateSpec = toml::from_str(
            r#"limited_when = [{ http = 400, path = "/message", regex = '^Limit \d+ of', example = "Limit 3 of 5" }]"#,
        )
        .unwrap();
        let limited = |body: &str| {
            rate.read(&answer(400, &[], body), NOW)
                .limited_until
                .is_some()
        };
        assert!(limited(r#"{"message":"Limit 100 of 100 reached"}"#));
        assert!(!limited(r#"{"message":"No Limit 1 of"}"#));
        assert!(!limited("{}"));
        assert_eq!(rate.limited_when[0].words(), Some("Limit 3 of 5"));
    }

    #[test]
    fn limits_hide_in_many_answers() {
        let spent = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1800000900"),
        ];
        assert_eq!(wait(&answer(403, &spent, "{}")), Some(900));
        assert_eq!(wait(&answer(429, &spent, "{}")), Some(900));
        assert_eq!(wait(&answer(200, &spent, "{}")), None);
        let far = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1900000000"),
        ];
        assert_eq!(wait(&answer(403, &far, "{}")), Some(3600));
        let secondary = r#"{"message":"You have exceeded a SECONDARY RATE limit."}"#;
        assert_eq!(wait(&answer(403, &[], secondary)), Some(60));
        assert_eq!(
            wait(&answer(403, &[("retry-after", "7")], secondary)),
            Some(7)
        );
        assert_eq!(
            wait(&answer(403, &[], r#"{"message":"Must have admin rights"}"#)),
            None
        );
        assert_eq!(wait(&answer(403, &[], "<html>")), None);
        assert_eq!(wait(&answer(429, &[], "")), Some(60));
    }
}
