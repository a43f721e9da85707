//! Lists of connections with the links that lead to some, in one order, page by page after a key: what comes or
//! goes meanwhile moves nothing else. A page is found by its ids alone, by an index for any one filter, and read
//! then. A filter of several values is a branch for each, so that each is read in order and only as far as the
//! page goes.

use std::collections::{BTreeMap, BTreeSet};

use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, PartnerId, Timestamp,
    states::{ConnectionStatus, SessionStatus},
};
use sqlx::any::AnyRow;

use crate::{
    Connection, ConnectionRow, GrantRow, Link, Result, Scheme, Store,
    field::{Field, Record, record},
    links::joined_links,
    sql::{Sql, column, columns, padded},
};

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
    const fn condition(self) -> &'static str {
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

    const fn is_of_link(self) -> bool {
        matches!(
            self,
            Self::LinkOpen | Self::LinkUnderWay | Self::LinkFailed | Self::LinkExpired
        )
    }
}

/// Which connections to list; what is `None` is no filter, an empty list matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListingFilter {
    /// With one of these ids.
    pub ids: Option<Vec<ConnectionId>>,
    /// Of one of these accounts.
    pub accounts: Option<Vec<AccountId>>,
    /// Called one of these at the provider.
    pub labels: Option<Vec<String>>,
    /// Listed under one of these auth configs.
    pub configs: Option<Vec<AuthConfigId>>,
    /// That stand like this.
    pub standings: Option<Vec<Standing>>,
    /// That reach one of these toolkits.
    pub toolkits: Option<Vec<String>>,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ListingOrder {
    /// By the time they were made, which is the order of ids.
    #[default]
    Created,
    /// By the time of the last change, then by id.
    Updated,
}

/// Where a listed row stands in the order: the next page begins after the last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingKey {
    /// The time of the last change; the epoch in the order of making.
    pub updated_at: Timestamp,
    /// The id.
    pub id: ConnectionId,
}

/// A page of the list.
#[derive(Clone, Copy, Debug)]
pub struct ListingPage {
    /// In which order.
    pub order: ListingOrder,
    /// Oldest first.
    pub ascending: bool,
    /// After this one.
    pub after: Option<ListingKey>,
    /// How many.
    pub limit: u32,
}

record! {
    /// How a connection is listed.
    pub struct ListedRow in "connections" by "id" {
        /// The connection.
        pub id: ConnectionId,
        /// The auth config that was named; without it the one whose client it uses.
        pub listed_config_id: Option<AuthConfigId>,
        /// What it holds.
        pub scheme: Scheme,
        /// A name for people that the partner gave.
        pub display_name: Option<String>,
    }
}

/// How a new connection is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The auth config that was named, if it is not the one whose client the connection uses.
    pub config_id: Option<AuthConfigId>,
    /// What it holds.
    pub scheme: Scheme,
    /// A name for people that the partner gave.
    pub display_name: Option<String>,
    /// The toolkits that it reaches.
    pub toolkits: Vec<String>,
}

/// A connection as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedConnection {
    /// The connection with its grant.
    pub connection: Connection,
    /// How it is listed.
    pub listed: ListedRow,
    /// The toolkits that it reaches, by name.
    pub toolkits: Vec<String>,
}

/// One row of the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// A connection.
    Connection(Box<ListedConnection>),
    /// A link whose connection does not stand yet.
    Link(Box<Link>),
}

/// The tables a branch reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Connections,
    Links,
}

/// One value of the filter that leads, or none: then the list's own order leads.
#[derive(Clone, Copy)]
enum Lead<'a> {
    Nothing,
    Account(AccountId),
    Label(&'a String),
    Config(AuthConfigId),
    Standing(Standing),
    Toolkit(&'a String),
}

impl Store {
    /// The keys of one page, in order.
    pub async fn list_listed(
        &self,
        partner: PartnerId,
        filter: &ListingFilter,
        page: &ListingPage,
        now: Timestamp,
    ) -> Result<Vec<ListingKey>> {
        let Some(sql) = page_statement(partner, filter, page, now) else {
            return Ok(Vec::new());
        };
        let rows = sql.rows(&self.engine.read).await?;
        let key = |row: &AnyRow| {
            Ok(ListingKey {
                id: column(row, 0)?,
                updated_at: column(row, 1)?,
            })
        };
        // Several toolkits of one connection are several branches that find it.
        let mut keys: Vec<ListingKey> = rows.iter().map(key).collect::<Result<_>>()?;
        keys.dedup();
        keys.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
        Ok(keys)
    }

    /// How many there are, counted no further than `most`.
    pub async fn count_listed(
        &self,
        partner: PartnerId,
        filter: &ListingFilter,
        most: u32,
        now: Timestamp,
    ) -> Result<u64> {
        let mut total = 0;
        for source in [Source::Connections, Source::Links] {
            if !filter.may_match(source) {
                continue;
            }
            let sql = Sql::new("SELECT COUNT(*) FROM (SELECT 1 AS one FROM ")
                .bind(&partner)
                .bind(&now);
            let counted: u64 = branch(sql, source, Lead::Nothing, filter)
                .number(" LIMIT", most)
                .push(") AS counted")
                .scalar(&self.engine.read)
                .await?;
            total += counted;
        }
        Ok(total)
    }

    /// The rows of these ids, in their order; one that went meanwhile is left out.
    pub async fn read_listed(
        &self,
        partner: PartnerId,
        ids: &[ConnectionId],
    ) -> Result<Vec<Listed>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = ids.iter().collect();
        let asked = padded(&ids);
        let mut found = self.listed_connections(partner, &asked).await?;
        if found.len() < ids.len() {
            let links = joined_links()
                .push("WHERE l.partner_id = $1")
                .bind(&partner)
                .any_of("l.id", &asked)
                .pairs(&self.engine.read)
                .await?;
            for link in links.into_iter().map(Link::from) {
                if link.session.status != SessionStatus::Completed {
                    let id = link.row.id;
                    found.entry(id).or_insert(Listed::Link(Box::new(link)));
                }
            }
        }
        Ok(ids.into_iter().filter_map(|id| found.remove(id)).collect())
    }

    async fn listed_connections(
        &self,
        partner: PartnerId,
        ids: &[&ConnectionId],
    ) -> Result<BTreeMap<ConnectionId, Listed>> {
        let mut toolkits: BTreeMap<ConnectionId, Vec<String>> = BTreeMap::new();
        let reached = Sql::new(
            "SELECT connection_id, toolkit FROM connection_toolkits WHERE partner_id = $1",
        )
        .bind(&partner)
        .any_of("connection_id", ids)
        .push(" ORDER BY toolkit")
        .rows(&self.engine.read)
        .await?;
        for row in &reached {
            toolkits
                .entry(column(row, 0)?)
                .or_default()
                .push(column(row, 1)?);
        }
        let rows = Sql::new(format!(
            "SELECT {}, {}, {} FROM connections c \
             JOIN grants g ON g.partner_id = c.partner_id AND g.connection_id = c.id \
             WHERE c.partner_id = $1 AND c.revoked_at IS NULL",
            columns::<ConnectionRow>("c."),
            columns::<GrantRow>("g."),
            columns::<ListedRow>("c.")
        ))
        .bind(&partner)
        .any_of("c.id", ids)
        .rows(&self.engine.read)
        .await?;
        let (first, second) = (ConnectionRow::COLUMNS.len(), GrantRow::COLUMNS.len());
        let read = |row: &AnyRow| {
            let connection = Connection {
                row: ConnectionRow::read(row, 0)?,
                grant: GrantRow::read(row, first)?,
            };
            let id = connection.row.id;
            let listed = ListedConnection {
                listed: ListedRow::read(row, first + second)?,
                toolkits: toolkits.remove(&id).unwrap_or_default(),
                connection,
            };
            Ok((id, Listed::Connection(Box::new(listed))))
        };
        rows.iter().map(read).collect()
    }

    /// Names a connection for people; `None` clears. `false` if there is no such living connection.
    pub async fn set_connection_display_name(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE connections SET display_name = $1, updated_at = $2 \
             WHERE partner_id = $3 AND id = $4 AND revoked_at IS NULL",
        )
        .bind(&name.map(str::to_owned))
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }
}

/// The statement that finds a page's keys; `None` if nothing can match.
pub(crate) fn page_statement(
    partner: PartnerId,
    filter: &ListingFilter,
    page: &ListingPage,
    now: Timestamp,
) -> Option<Sql> {
    let direction = if page.ascending { "ASC" } else { "DESC" };
    let (connections, links, order) = match page.order {
        ListingOrder::Created => ("c.id, 0", "l.id, 0", format!("1 {direction}")),
        ListingOrder::Updated => (
            "c.id, c.updated_at",
            "l.id, s.updated_at",
            format!("2 {direction}, 1 {direction}"),
        ),
    };
    let mut branches = Vec::new();
    if filter.may_match(Source::Connections) {
        let leads = filter.leads(page.order).into_iter();
        branches.extend(leads.map(|lead| (Source::Connections, connections, lead)));
    }
    if filter.may_match(Source::Links) {
        branches.push((Source::Links, links, Lead::Nothing));
    }
    if branches.is_empty() {
        return None;
    }
    let mut sql = Sql::new("").bind(&partner).bind(&now);
    for (n, (source, keys, lead)) in branches.into_iter().enumerate() {
        let union = if n == 0 { "" } else { " UNION ALL " };
        sql = sql.push(&format!("{union}SELECT * FROM (SELECT {keys} FROM "));
        sql = branch(sql, source, lead, filter);
        sql = after(sql, source, page)
            .push(&format!(" ORDER BY {order}"))
            .number(" LIMIT", page.limit)
            .push(&format!(") AS b{n}"));
    }
    Some(sql.push(&format!(" ORDER BY {order}")))
}

/// Tables and conditions of one branch. `$1` is the partner and `$2` is now.
fn branch(mut sql: Sql, source: Source, lead: Lead<'_>, filter: &ListingFilter) -> Sql {
    if source == Source::Links {
        return links_branch(sql, filter);
    }
    let grants = filter.standings.is_some();
    sql = sql.push("connections c");
    if grants {
        sql = sql.push(" JOIN grants g ON g.partner_id = c.partner_id AND g.connection_id = c.id");
    }
    if matches!(lead, Lead::Toolkit(_)) {
        sql = sql.push(
            " JOIN connection_toolkits t ON t.partner_id = c.partner_id AND t.connection_id = c.id",
        );
    }
    sql = sql.push(" WHERE c.partner_id = $1 AND c.revoked_at IS NULL");
    sql = match lead {
        Lead::Nothing => sql,
        Lead::Account(id) => sql.and("c.account_id =", &id),
        Lead::Label(label) => sql.and("c.label =", label),
        Lead::Config(id) => sql.and("COALESCE(c.listed_config_id, c.auth_config_id) =", &id),
        Lead::Standing(standing) => sql.push(&format!(" AND {}", standing.condition())),
        Lead::Toolkit(name) => sql.push(" AND t.partner_id = $1").and("t.toolkit =", name),
    };
    sql = any(sql, "c.id", filter.ids.as_deref());
    if !matches!(lead, Lead::Account(_)) {
        sql = any(sql, "c.account_id", filter.accounts.as_deref());
    }
    if !matches!(lead, Lead::Label(_)) {
        sql = any(sql, "c.label", filter.labels.as_deref());
    }
    if !matches!(lead, Lead::Config(_)) {
        let named = "COALESCE(c.listed_config_id, c.auth_config_id)";
        sql = any(sql, named, filter.configs.as_deref());
    }
    if !matches!(lead, Lead::Standing(_)) {
        sql = standings(sql, Source::Connections, filter);
    }
    match &filter.toolkits {
        Some(names) if !matches!(lead, Lead::Toolkit(_)) => {
            let reached = " AND c.id IN (SELECT t.connection_id FROM connection_toolkits t \
                           WHERE t.partner_id = $1";
            any(sql.push(reached), "t.toolkit", Some(names)).push(")")
        }
        _ => sql,
    }
}

fn links_branch(mut sql: Sql, filter: &ListingFilter) -> Sql {
    sql = sql.push(
        "connect_links l JOIN connect_sessions s \
         ON s.partner_id = l.partner_id AND s.id = l.session_id \
         WHERE l.partner_id = $1 AND l.done = 0",
    );
    sql = any(sql, "l.id", filter.ids.as_deref());
    sql = any(sql, "l.account_id", filter.accounts.as_deref());
    sql = any(sql, "l.config_id", filter.configs.as_deref());
    sql = any(sql, "l.toolkit", filter.toolkits.as_deref());
    standings(sql, Source::Links, filter)
}

fn any<T: Field>(sql: Sql, column: &str, values: Option<&[T]>) -> Sql {
    match values {
        Some(values) => {
            let values: Vec<_> = values.iter().collect();
            sql.any_of(column, &padded(&values))
        }
        None => sql,
    }
}

fn standings(sql: Sql, source: Source, filter: &ListingFilter) -> Sql {
    let Some(asked) = &filter.standings else {
        return sql;
    };
    let of_links = source == Source::Links;
    let asked = asked.iter().filter(|s| s.is_of_link() == of_links);
    let conditions: Vec<_> = asked.map(|s| format!("({})", s.condition())).collect();
    sql.push(&format!(" AND ({})", conditions.join(" OR ")))
}

/// What stands after the last row of the page before.
fn after(sql: Sql, source: Source, page: &ListingPage) -> Sql {
    let Some(key) = page.after else {
        return sql;
    };
    let (id, updated) = match source {
        Source::Connections => ("c.id", "c.updated_at"),
        Source::Links => ("l.id", "s.updated_at"),
    };
    let sign = if page.ascending { ">" } else { "<" };
    match page.order {
        ListingOrder::Created => sql.and(&format!("{id} {sign}"), &key.id),
        ListingOrder::Updated => {
            let sql = sql.bind(&key.updated_at).bind(&key.id);
            let n = sql.bound();
            sql.push(&format!(" AND ({updated}, {id}) {sign} (${}, ${n})", n - 1))
        }
    }
}

impl ListingFilter {
    /// Whether rows of these tables can match at all.
    fn may_match(&self, source: Source) -> bool {
        let of_links = source == Source::Links;
        let standing = self
            .standings
            .as_ref()
            .is_none_or(|asked| asked.iter().any(|s| s.is_of_link() == of_links));
        let sizes = [
            self.ids.as_ref().map(Vec::len),
            self.accounts.as_ref().map(Vec::len),
            self.labels.as_ref().map(Vec::len),
            self.configs.as_ref().map(Vec::len),
            self.toolkits.as_ref().map(Vec::len),
        ];
        // Links have no label yet.
        let labelled = of_links && self.labels.is_some();
        standing && !labelled && !sizes.contains(&Some(0))
    }

    /// The values that lead a branch each: those of the filter that leaves the fewest rows, by experience.
    fn leads(&self, order: ListingOrder) -> Vec<Lead<'_>> {
        if order == ListingOrder::Updated || self.ids.is_some() {
            return vec![Lead::Nothing];
        }
        if let Some(accounts) = &self.accounts {
            return unique(accounts).map(|id| Lead::Account(*id)).collect();
        }
        if let Some(labels) = &self.labels {
            return unique(labels).map(Lead::Label).collect();
        }
        if let Some(configs) = &self.configs {
            return unique(configs).map(|id| Lead::Config(*id)).collect();
        }
        if let Some(standings) = &self.standings {
            let of_connections = unique(standings).filter(|s| !s.is_of_link());
            return of_connections.map(|s| Lead::Standing(*s)).collect();
        }
        if let Some(toolkits) = &self.toolkits {
            return unique(toolkits).map(Lead::Toolkit).collect();
        }
        vec![Lead::Nothing]
    }
}

fn unique<T: Ord>(values: &[T]) -> impl Iterator<Item = &T> {
    values.iter().collect::<BTreeSet<_>>().into_iter()
}
