//! What a connection can truthfully say of itself: what it is, since when, why, and what happens next. One
//! place, so that the API and the command line tell the same.

use latchkey_domain::{
    Timestamp,
    states::{ConnectionStatus, GrantState},
};

use crate::Connection;

/// A connection's state in fields and in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What it is.
    pub status: ConnectionStatus,
    /// Why, where it is not simply well.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When it will be refreshed, or tried again; none if it cannot be or only a refused call shows the need.
    pub next_refresh_at: Option<Timestamp>,
    /// When it dies if nothing happens: the access token's end where nothing can renew it, else the refresh
    /// token's, where an end is known.
    pub dies_at: Option<Timestamp>,
    /// All of it, for people.
    pub sentence: String,
}

impl Connection {
    /// What it says of itself at `now`.
    pub fn outlook(&self, now: Timestamp) -> Outlook {
        let (row, grant) = (&self.row, &self.grant);
        let status = self.status(now);
        let lives = grant.state == GrantState::Active;
        let dies_at = if grant.refreshable {
            grant.dies_at
        } else {
            grant.expires_at
        };
        let since = match status {
            ConnectionStatus::Pending | ConnectionStatus::Active => row.connected_at,
            ConnectionStatus::Paused => row.updated_at,
            ConnectionStatus::NeedsReauth => grant.updated_at,
            ConnectionStatus::Expired => grant.expires_at.unwrap_or(grant.updated_at),
            ConnectionStatus::Revoked => row.revoked_at.unwrap_or(row.updated_at),
        };
        let reason = match status {
            ConnectionStatus::Active if grant.in_doubt => Some("in_doubt".to_owned()),
            ConnectionStatus::Active if grant.failures > 0 => grant.last_failure.clone(),
            ConnectionStatus::Pending | ConnectionStatus::Active => None,
            ConnectionStatus::Expired => Some("no_refresh_token".to_owned()),
            _ => self.reason().map(str::to_owned),
        };
        Outlook {
            status,
            reason,
            since,
            next_refresh_at: grant.due_at.filter(|_| lives),
            dies_at: dies_at.filter(|_| lives),
            sentence: self.sentence(status, dies_at, now),
        }
    }

    fn sentence(
        &self,
        status: ConnectionStatus,
        dies_at: Option<Timestamp>,
        now: Timestamp,
    ) -> String {
        match status {
            ConnectionStatus::Pending | ConnectionStatus::Active => self.active(dies_at, now),
            ConnectionStatus::Paused => "Paused: calls are refused until it is resumed; its tokens are kept fresh.".to_owned(),
            ConnectionStatus::NeedsReauth => self.needs_reauth(),
            ConnectionStatus::Expired => "Expired: the provider gave no refresh token, and the access token has ended; the end user must connect again.".to_owned(),
            ConnectionStatus::Revoked => match self.grant.state {
                GrantState::Revoked => "Disconnected, and revoked at the provider as far as it offers that.".to_owned(),
                _ => "Disconnected: nothing uses it any more; its revocation at the provider is under way.".to_owned(),
            },
        }
    }

    fn active(&self, dies_at: Option<Timestamp>, now: Timestamp) -> String {
        let grant = &self.grant;
        let text = if grant.in_doubt {
            "Active, but the outcome of the last refresh is not known".to_owned()
        } else if grant.failures > 0 {
            let failure = grant.last_failure.as_deref().unwrap_or("no answer");
            format!("Active, but the last refresh failed ({failure})")
        } else {
            "Active".to_owned()
        };
        let next = match (grant.expires_at, grant.due_at) {
            (Some(end), _) if !grant.token_lives(now) => {
                format!(
                    "; the access token ended at {end} and is renewed at the next call or before"
                )
            }
            (_, Some(due)) if due <= now => "; a refresh is due now".to_owned(),
            (_, Some(due)) if grant.failures > 0 || grant.in_doubt => {
                format!("; it is tried again at {due}, and calls go on meanwhile")
            }
            (_, Some(due)) => format!("; the next refresh is at {due}"),
            (None, None) => {
                "; the provider names no end of the token, so a refused call renews it".to_owned()
            }
            (Some(end), None) => {
                format!("; the access token ends at {end} and cannot be renewed")
            }
        };
        let death = dies_at
            .filter(|end| grant.refreshable && *end > now)
            .map_or_else(String::new, |end| {
                format!("; unless it is refreshed it dies at {end}")
            });
        text + &next + &death + "."
    }

    fn needs_reauth(&self) -> String {
        let why = match self.reason() {
            Some("rotation_outcome_unknown") => {
                "the provider replaced the token in an answer that never arrived"
            }
            Some("invalid_grant") | None => "the provider says that the grant is gone",
            Some(other) => other,
        };
        format!("Needs its end user: {why}; connecting again keeps this connection and its id.")
    }
}
