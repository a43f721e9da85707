//! The status of a connected account: one table from where a connection or link stands to Flowra's words.

use latchkey_store::Standing;
use serde::Serialize;
use utoipa::ToSchema;

/// A connected account's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = ConnectedAccountStatus)]
pub(crate) enum Status {
    /// The link was not opened yet.
    Initializing,
    /// The end user is on the way.
    Initiated,
    /// It works.
    Active,
    /// The attempt to connect failed.
    Failed,
    /// The link's time ran out, or the end user must connect again.
    Expired,
    /// Switched off.
    Inactive,
    /// The grant was ended at the provider.
    Revoked,
}

/// The table.
const TABLE: [(Standing, Status); 9] = [
    (Standing::LinkOpen, Status::Initializing),
    (Standing::LinkUnderWay, Status::Initiated),
    (Standing::LinkFailed, Status::Failed),
    (Standing::LinkExpired, Status::Expired),
    (Standing::Active, Status::Active),
    (Standing::Paused, Status::Inactive),
    (Standing::Ended, Status::Expired),
    (Standing::NeedsUser, Status::Expired),
    (Standing::Lost, Status::Revoked),
];

impl Status {
    /// Every status.
    pub(crate) const ALL: [Self; 7] = [
        Self::Initializing,
        Self::Initiated,
        Self::Active,
        Self::Failed,
        Self::Expired,
        Self::Inactive,
        Self::Revoked,
    ];

    /// As clients write it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Initiated => "INITIATED",
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
        }
    }

    /// The status of this text, in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let named = |status: &Self| status.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named)
    }

    /// Of what stands like this.
    pub(crate) fn of(standing: Standing) -> Self {
        let found = TABLE.iter().find(|(s, _)| *s == standing);
        // The test below sees to it that every standing is in the table.
        found.map_or(Self::Failed, |(_, status)| *status)
    }

    /// What stands so that it has this status.
    pub(crate) fn standings(self) -> impl Iterator<Item = Standing> {
        let of_it = TABLE.iter().filter(move |(_, status)| *status == self);
        of_it.map(|(standing, _)| *standing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // The store's suite shows that every state of connection, grant and session has one standing.
    #[test]
    fn every_standing_has_one_status_and_every_status_a_standing() {
        let standings: BTreeSet<_> = TABLE.iter().map(|(s, _)| *s).collect();
        assert_eq!(standings, Standing::ALL.into_iter().collect());
        assert_eq!(standings.len(), TABLE.len());
        let table: Vec<_> = Status::ALL
            .iter()
            .map(|status| {
                let from: Vec<_> = status.standings().map(|s| format!("{s:?}")).collect();
                format!("{}: {}", status.as_str(), from.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        INITIALIZING: LinkOpen
        INITIATED: LinkUnderWay
        ACTIVE: Active
        FAILED: LinkFailed
        EXPIRED: LinkExpired Ended NeedsUser
        INACTIVE: Paused
        REVOKED: Lost
        ");
        for status in Status::ALL {
            assert_eq!(Status::parse(&status.as_str().to_lowercase()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
