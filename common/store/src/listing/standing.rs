//! [`Standing`]: where a listed connection stands, and what makes it so in the rows.

use latchkey_domain::{
    Timestamp,
    states::{ConnectionStatus, SessionStatus},
};

use crate::{Connection, Link};

/// The reason of a grant that its provider no longer knows.
const LOST: &str = "invalid_grant";

/// Where a listed connection stands: its own and its grant's state, or its session's, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// A link that was not opened yet.
    LinkOpen,
    /// A link whose user is at the provider, or whose code is being exchanged.
    LinkUnderWay,
    /// A link that ended with an error.
    LinkFailed,
    /// A link whose time ran out.
    LinkExpired,
    /// It works, or will after the next refresh.
    Active,
    /// Switched off by the partner.
    Paused,
    /// Its access token ended and nothing can refresh it.
    Ended,
    /// The provider ended the grant.
    Lost,
    /// Its user must connect again, for another reason.
    NeedsUser,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 9] = [
        Self::LinkOpen,
        Self::LinkUnderWay,
        Self::LinkFailed,
        Self::LinkExpired,
        Self::Active,
        Self::Paused,
        Self::Ended,
        Self::Lost,
        Self::NeedsUser,
    ];

    /// Where a connection stands; `None` if it was disconnected.
    pub fn of(connection: &Connection, now: Timestamp) -> Option<Self> {
        Some(match connection.status(now) {
            ConnectionStatus::Revoked => return None,
            ConnectionStatus::Pending => Self::LinkUnderWay,
            ConnectionStatus::Active => Self::Active,
            ConnectionStatus::Paused => Self::Paused,
            ConnectionStatus::Expired => Self::Ended,
            ConnectionStatus::NeedsReauth if connection.grant.reason.as_deref() == Some(LOST) => {
                Self::Lost
            }
            ConnectionStatus::NeedsReauth => Self::NeedsUser,
        })
    }

    /// Where a link stands; `None` once its connection does.
    pub fn of_link(link: &Link, now: Timestamp) -> Option<Self> {
        let session = &link.session;
        let is_over = session.expires_at <= now;
        Some(match session.status {
            SessionStatus::Completed => return None,
            SessionStatus::Failed => Self::LinkFailed,
            SessionStatus::Expired => Self::LinkExpired,
            SessionStatus::Pending
            | SessionStatus::Authorizing
            | SessionStatus::AwaitingConfirmation
                if is_over =>
            {
                Self::LinkExpired
            }
            SessionStatus::Pending => Self::LinkOpen,
            SessionStatus::Authorizing
            | SessionStatus::AwaitingConfirmation
            | SessionStatus::Exchanging => Self::LinkUnderWay,
        })
    }

    /// What makes it so in the rows: of `connections c` and `grants g`, or of `connect_sessions s`. `$2` is now.
    pub(super) const fn condition(self) -> &'static str {
        match self {
            Self::LinkOpen => "s.status = 'pending' AND s.expires_at > $2",
            Self::LinkUnderWay => {
                "(s.status = 'exchanging' OR (s.status IN ('authorizing', 'awaiting_confirmation') \
                 AND s.expires_at > $2))"
            }
            Self::LinkFailed => "s.status = 'failed'",
            Self::LinkExpired => {
                "(s.status = 'expired' OR (s.status IN \
                 ('pending', 'authorizing', 'awaiting_confirmation') AND s.expires_at <= $2))"
            }
            Self::Active => {
                "g.state = 'active' AND c.status = 'active' \
                 AND (g.refreshable = 1 OR g.expires_at IS NULL OR g.expires_at > $2)"
            }
            Self::Paused => "c.status = 'paused' AND g.state = 'active'",
            Self::Ended => {
                "g.state = 'active' AND g.refreshable = 0 AND g.expires_at IS NOT NULL \
                 AND g.expires_at <= $2 AND c.status = 'active'"
            }
            Self::Lost => "g.state = 'needs_reauth' AND g.reason = 'invalid_grant'",
            Self::NeedsUser => {
                "g.state = 'needs_reauth' \
                 AND (g.reason IS NULL OR g.reason <> 'invalid_grant')"
            }
        }
    }

    /// Whether it is a link's.
    pub(super) const fn is_of_link(self) -> bool {
        matches!(
            self,
            Self::LinkOpen | Self::LinkUnderWay | Self::LinkFailed | Self::LinkExpired
        )
    }
}
