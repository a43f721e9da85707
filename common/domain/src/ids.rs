//! Typed ids: UUID version 7 (RFC 9562 §5.7), so that rows sort by the time they were made. Most show a
//! prefix that says what they name (`job_…`); accounts, connect sessions and connections are bare UUIDs,
//! because existing clients expect that.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Entropy, Timestamp, entropy};

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {kind} id")]
pub struct IdError {
    /// What kind of id was wanted.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
}

fn version_7(now: Timestamp, entropy: &dyn Entropy) -> Uuid {
    let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &entropy::bytes(entropy)).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the UUID in public form; empty for bare UUIDs.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, sorted by `now`.
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(version_7(now, entropy))
            }

            /// The id with these 128 bits.
            pub const fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// The id's 128 bits.
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if $prefix.is_empty() {
                    write!(f, "{}", self.0.as_hyphenated())
                } else {
                    write!(f, concat!($prefix, "{}"), self.0.as_simple())
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { kind: $kind, text: text.chars().take(80).collect() };
                let bare = text.strip_prefix($prefix).ok_or_else(wrong)?;
                let id = Self(Uuid::try_parse(bare).map_err(|_| wrong())?);
                // One spelling each, so that an id in a path is the id in the store.
                if id.to_string() == text { Ok(id) } else { Err(wrong()) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/** A partner, our customer. */ PartnerId, "partner", "prt_");
id!(/** An API key (its row, not its secret). */ KeyId, "key", "key_");
id!(/** OAuth client credentials for one provider. */ AuthConfigId, "auth config", "ac_");
id!(/** A connected account: one end user of one partner. */ AccountId, "account", "");
id!(/** One attempt of an end user to connect. */ SessionId, "connect session", "");
id!(/** An account's grant at a provider, as partners see it. */ ConnectionId, "integration", "");
id!(/** The sealed token set of a connection. */ GrantId, "grant", "gr_");
id!(/** One attempt to refresh a grant. */ AttemptId, "attempt", "att_");
id!(/** A worker's journal; who holds an attempt. */ HolderId, "holder", "hold_");
id!(/** One durable unit of asynchronous work. */ JobId, "job", "job_");
id!(/** One request to a provider; its receipt. */ CallId, "call", "call_");
id!(/** One HTTP request to us. */ RequestId, "request", "req_");
id!(/** Where the reply to a waiting caller goes. */ ReplyId, "reply", "rep_");
id!(/** What a partner's webhooks are signed with. */ WebhookSecretId, "webhook secret", "ws_");
id!(/** Calls of a month, handed out to a process. */ QuotaBlockId, "quota block", "qb_");
id!(/** A data key that seals a partner's secrets. */ DataKeyId, "data key", "dk_");
id!(/** A line of the audit log. */ AuditId, "audit", "aud_");

impl PartnerId {
    /// The operator's own partner row: it owns shared auth configs and no accounts.
    pub const OPERATOR: Self = Self::from_u128(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn public_forms_read_back() {
        let now = Timestamp::from_secs(1_800_000_000);
        let e = SeededEntropy::new(3);
        let job = JobId::new(now, &e);
        assert!(job.to_string().starts_with("job_0"));
        assert_eq!(job.to_string().parse::<JobId>().unwrap(), job);
        let account = AccountId::new(now, &e);
        assert_eq!(account.to_string().len(), 36);
        assert_eq!(account.to_string().parse::<AccountId>().unwrap(), account);
        let json = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<JobId>(&json).unwrap(), job);
    }

    #[test]
    fn other_spellings_are_refused() {
        let id = JobId::from_u128(5).to_string();
        for text in [
            "",
            "job_",
            "5",
            &id[4..],
            &id.to_uppercase(),
            &id.replace("job_", "call_"),
        ] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let e = SeededEntropy::new(9);
        let ids: Vec<_> = (0..50)
            .map(|s| CallId::new(Timestamp::from_secs(s), &e))
            .collect();
        assert!(ids.is_sorted());
        let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted());
    }
}
