//! The values that labels of metrics take. What has a fixed list is an enum; what comes from the router,
//! the catalogue or the job kinds is a text, and [`Bounded`] makes sure that it stays a short list.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock},
};

/// Values that one label may take beside the fixed ones. Routes, providers and kinds are fewer; what comes
/// beyond is counted as [`OTHER`], so that a mistake cannot fill the memory of Latchkey or of Prometheus.
pub(crate) const MAX_VALUES: usize = 300;
/// Characters of a label's value.
pub(crate) const MAX_LENGTH: usize = 100;
/// What values beyond the bound are counted as.
pub(crate) const OTHER: &str = "other";

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, so that a metric can show all of them from the start.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label's value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

labels! {
    /// How an attempt at refreshing a grant ended.
    RefreshOutcome {
        /// New tokens landed.
        Refreshed = "refreshed",
        /// Tokens that another connection of the same account was given were taken over; nothing was sent.
        Shared = "shared",
        /// The grant was refused for good.
        NeedsReauth = "needs_reauth",
        /// The client credentials were refused; the auth config is paused.
        Operator = "operator",
        /// The provider asked for time.
        RateLimited = "rate_limited",
        /// The provider answered with an error that passes.
        Transient = "transient",
        /// The answer was lost; the generation is in doubt.
        InDoubt = "in_doubt",
        /// Nothing was sent.
        NotSent = "not_sent",
        /// An answer came that another attempt had overtaken.
        Stale = "stale",
    }
}

labels! {
    /// How one attempt at a job ended.
    JobEnd {
        /// It is finished with a result.
        Done = "done",
        /// It failed and is tried again.
        Retry = "retry",
        /// It waits and spent no attempt.
        Snooze = "snooze",
        /// It failed for good.
        Fail = "fail",
        /// Another worker had claimed it, or it was over: nothing was done.
        Skipped = "skipped",
    }
}

labels! {
    /// Whose limit held a call back.
    ThrottleScope {
        /// The partner's calls per minute.
        Minute = "minute",
        /// The partner's calls per month.
        Month = "month",
        /// The provider's budget, or a 429 of its own.
        Provider = "provider",
        /// A breaker that is open.
        Breaker = "breaker",
        /// A queue that is full.
        Queue = "queue",
    }
}

labels! {
    /// How one run of a scheduled task ended.
    TaskEnd {
        /// It did what there was to do.
        Ok = "ok",
        /// It ended with an error.
        Failed = "failed",
    }
}

labels! {
    /// The class of an HTTP answer's status.
    HttpStatus {
        /// Informational.
        Informational = "1xx",
        /// Success.
        Success = "2xx",
        /// Redirection.
        Redirection = "3xx",
        /// The caller's mistake.
        ClientError = "4xx",
        /// The server's mistake.
        ServerError = "5xx",
        /// There was no answer.
        None = "none",
    }
}

impl HttpStatus {
    /// The class of a status code; no code, or one that is none, is [`HttpStatus::None`].
    pub fn class_of(status: Option<u16>) -> Self {
        match status.map(|code| code / 100) {
            Some(1) => Self::Informational,
            Some(2) => Self::Success,
            Some(3) => Self::Redirection,
            Some(4) => Self::ClientError,
            Some(5) => Self::ServerError,
            _ => Self::None,
        }
    }
}

/// Keeps the values of free labels to a short list: the first [`MAX_VALUES`] different ones of each label.
#[derive(Debug, Default)]
pub(crate) struct Bounded {
    seen: RwLock<HashMap<&'static str, HashSet<Box<str>>>>,
}

impl Bounded {
    /// `value`, or [`OTHER`] when it is long or the label has taken too many.
    pub(crate) fn value<'v>(&self, label: &'static str, value: &'v str) -> &'v str {
        if value.len() > MAX_LENGTH {
            return OTHER;
        }
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        if seen.get(label).is_some_and(|values| values.contains(value)) {
            return value;
        }
        drop(seen);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let values = seen.entry(label).or_default();
        if values.len() >= MAX_VALUES && !values.contains(value) {
            return OTHER;
        }
        values.insert(value.into());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_labels_take_so_many_values_and_no_more() {
        let bounded = Bounded::default();
        let names: Vec<String> = (0..2 * MAX_VALUES).map(|n| format!("v{n}")).collect();
        let (first, beyond) = names.split_at(MAX_VALUES);
        assert!(first.iter().all(|n| bounded.value("route", n) == n));
        assert!(beyond.iter().all(|n| bounded.value("route", n) == OTHER));
        // Known ones stay known, and another label has its own room.
        assert!(first.iter().all(|n| bounded.value("route", n) == n));
        assert_eq!(
            bounded.value("provider", &names[MAX_VALUES]),
            names[MAX_VALUES]
        );
        assert_eq!(
            bounded.value("provider", &"x".repeat(MAX_LENGTH + 1)),
            OTHER
        );
    }

    #[test]
    fn statuses_have_classes() {
        let classes = [
            None,
            Some(0),
            Some(101),
            Some(204),
            Some(303),
            Some(429),
            Some(503),
            Some(600),
        ]
        .map(|s| HttpStatus::class_of(s).as_str());
        assert_eq!(
            classes,
            ["none", "none", "1xx", "2xx", "3xx", "4xx", "5xx", "none"]
        );
    }
}
