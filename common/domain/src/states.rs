//! Every state machine of Latchkey as an enum with its legal moves. The store keeps the text form; a text
//! that names no state is a named error there. The test at the end pins the whole table of moves.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal => [$($to:ident),*]),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every state, in the order a row usually goes through them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The form kept in the store and shown in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The state of this text, if it names one.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// Where a row in this state may go.
            pub const fn moves(self) -> &'static [Self] {
                match self { $(Self::$variant => &[$(Self::$to),*]),+ }
            }

            /// Whether a row in this state may go to `next`.
            pub fn may_become(self, next: Self) -> bool {
                self.moves().contains(&next)
            }

            /// Whether nothing follows this state.
            pub const fn is_final(self) -> bool {
                self.moves().is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

states! {
    /// Whether a partner may use Latchkey.
    PartnerStatus {
        /// May use everything its plan allows.
        Active = "active" => [Suspended, PastDue],
        /// Stopped by the operator: every call answers 403.
        Suspended = "suspended" => [Active],
        /// Payment is late: every call answers 401 until it is paid.
        PastDue = "past_due" => [Active, Suspended],
    }
}

states! {
    /// Whether OAuth client credentials may be used.
    AuthConfigStatus {
        /// In use.
        Enabled = "enabled" => [Disabled, Paused],
        /// Switched off by its owner: no new sessions.
        Disabled = "disabled" => [Enabled],
        /// The provider refused the client itself (operator error): refreshes wait, connections stay.
        Paused = "paused" => [Enabled, Disabled],
    }
}

states! {
    /// A connect session: one attempt of an end user to connect, for 30 minutes.
    SessionStatus {
        /// Made; its link was not opened yet.
        Pending = "pending" => [Authorizing, Failed, Expired],
        /// The browser was sent to the provider; state and verifier are set.
        Authorizing = "authorizing" => [AwaitingConfirmation, Exchanging, Failed, Expired],
        /// The provider sent a code; the partner's backend must say that the right user came back.
        AwaitingConfirmation = "awaiting_confirmation" => [Exchanging, Failed, Expired],
        /// A worker sends the code, once.
        Exchanging = "exchanging" => [Completed, Failed],
        /// The connection stands.
        Completed = "completed" => [],
        /// Ended with an error code.
        Failed = "failed" => [],
        /// Its 30 minutes ran out.
        Expired = "expired" => [],
    }
}

states! {
    /// A connection as partners see it.
    ConnectionStatus {
        /// A session is under way and nothing was granted yet.
        Pending = "pending" => [Active, Revoked],
        /// Its tokens work, or will after the next refresh.
        Active = "active" => [Expired, NeedsReauth, Revoked, Paused],
        /// The access token ended and no refresh token was ever given.
        Expired = "expired" => [Active, NeedsReauth, Revoked],
        /// The grant is dead; the end user must connect again.
        NeedsReauth = "needs_reauth" => [Active, Revoked],
        /// Switched off by the partner.
        Paused = "paused" => [Active, NeedsReauth, Revoked],
        /// Disconnected here; the provider is told by a job.
        Revoked = "revoked" => [],
    }
}

states! {
    /// The state of a grant's refresh protocol. Doubt, open attempts and cool-downs are fields beside it.
    GrantState {
        /// May be refreshed and used.
        Active = "active" => [NeedsReauth, Revoking],
        /// Dead at the provider as far as we know; an answer that still lands revives it.
        NeedsReauth = "needs_reauth" => [Active, Revoking],
        /// Disconnected: nothing refreshes it; what lands is revoked.
        Revoking = "revoking" => [Revoked],
        /// The revocation has its receipt; keys may be forgotten.
        Revoked = "revoked" => [],
    }
}

states! {
    /// A job's row. The API shows `queued` and `running` as `processing`.
    JobState {
        /// Accepted; waits for a worker, its turn, or its next attempt.
        Queued = "queued" => [Running, Canceled, Failed],
        /// Claimed by a worker until its lease ends.
        Running = "running" => [Queued, Completed, Failed],
        /// Done, with its result.
        Completed = "completed" => [],
        /// Ended without one. The operator may give it another life.
        Failed = "failed" => [Queued],
        /// Stopped before it began.
        Canceled = "canceled" => [],
    }
}

states! {
    /// What became of a provider call: the receipt's outcome, and with it whether it is billed.
    CallOutcome {
        /// An unsafe request is about to be sent, or was and its answer is not recorded yet.
        Sent = "sent" => [Answered, Unknown, NotSent],
        /// The provider answered, whatever it said. Billed.
        Answered = "answered" => [],
        /// An unsafe request was sent and its answer lost. Never repeated. Billed.
        Unknown = "unknown" => [],
        /// The request never reached the provider. Not billed.
        NotSent = "not_sent" => [],
    }
}

impl CallOutcome {
    /// Whether a receipt with this outcome counts toward the plan (`api.md` §6).
    pub const fn is_billed(self) -> bool {
        matches!(self, Self::Answered | Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table<T: Copy + fmt::Display + 'static>(all: &[T], moves: fn(T) -> &'static [T]) -> String {
        let line = |s: &T| {
            let to: Vec<_> = moves(*s).iter().map(ToString::to_string).collect();
            format!("{s} -> {}", to.join(" "))
        };
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_tables_of_moves() {
        insta::assert_snapshot!(table(SessionStatus::ALL, SessionStatus::moves), @r"
        pending -> authorizing failed expired
        authorizing -> awaiting_confirmation exchanging failed expired
        awaiting_confirmation -> exchanging failed expired
        exchanging -> completed failed
        completed -> 
        failed -> 
        expired ->
        ");
        insta::assert_snapshot!(table(ConnectionStatus::ALL, ConnectionStatus::moves), @r"
        pending -> active revoked
        active -> expired needs_reauth revoked paused
        expired -> active needs_reauth revoked
        needs_reauth -> active revoked
        paused -> active needs_reauth revoked
        revoked ->
        ");
        insta::assert_snapshot!(table(GrantState::ALL, GrantState::moves), @r"
        active -> needs_reauth revoking
        needs_reauth -> active revoking
        revoking -> revoked
        revoked ->
        ");
        insta::assert_snapshot!(table(JobState::ALL, JobState::moves), @r"
        queued -> running canceled failed
        running -> queued completed failed
        completed -> 
        failed -> queued
        canceled ->
        ");
        insta::assert_snapshot!(table(CallOutcome::ALL, CallOutcome::moves), @r"
        sent -> answered unknown not_sent
        answered -> 
        unknown -> 
        not_sent ->
        ");
        insta::assert_snapshot!(table(PartnerStatus::ALL, PartnerStatus::moves), @r"
        active -> suspended past_due
        suspended -> active
        past_due -> active suspended
        ");
        insta::assert_snapshot!(table(AuthConfigStatus::ALL, AuthConfigStatus::moves), @r"
        enabled -> disabled paused
        disabled -> enabled
        paused -> enabled disabled
        ");
    }

    #[test]
    fn texts_read_back_and_final_states_end() {
        for s in SessionStatus::ALL {
            assert_eq!(SessionStatus::parse(s.as_str()), Some(*s));
        }
        assert_eq!(JobState::parse("done"), None);
        assert!(JobState::Completed.is_final() && !JobState::Running.is_final());
        assert!(!SessionStatus::Completed.may_become(SessionStatus::Exchanging));
        assert!(CallOutcome::Unknown.is_billed() && !CallOutcome::NotSent.is_billed());
    }
}
