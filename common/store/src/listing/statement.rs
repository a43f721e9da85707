//! The statements of the list. Each is made of branches: one for each table and each value of the filter that leads,
//! so that a branch is read by an index, in the order of the list, and only as far as the page goes.

use std::collections::BTreeSet;

use latchkey_domain::{AccountId, AuthConfigId, PartnerId, Timestamp};

use super::{ListingFilter, ListingKey, ListingOrder, ListingPage, Standing};
use crate::{
    field::Field,
    sql::{Sql, padded},
};

/// The auth config that a connection is listed under, as `connections_config` has it.
const CONFIG: &str = "COALESCE(c.listed_config_id, c.auth_config_id)";

/// The tables a branch reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `connections c`, with `grants g` and `connection_toolkits t` as the filter needs them.
    Connections,
    /// `connection_toolkits t` alone: only living connections have rows there.
    Toolkits,
    /// `connect_links l` and `connect_sessions s`.
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

/// A part of the list.
#[derive(Clone, Copy)]
pub(super) struct Branch<'a> {
    source: Source,
    lead: Lead<'a>,
    filter: &'a ListingFilter,
}

impl<'a> Branch<'a> {
    /// The branches that find what the filter asks for; none if nothing can match. Those of several toolkits may
    /// find a connection twice, all others are disjoint.
    pub(super) fn all(filter: &'a ListingFilter, order: ListingOrder) -> Vec<Self> {
        let mut all = Vec::new();
        if filter.may_match(Source::Connections) {
            let source = if filter.asks_for_toolkits_alone() && order == ListingOrder::Created {
                Source::Toolkits
            } else {
                Source::Connections
            };
            all.extend(filter.leads(order).into_iter().map(|lead| Self {
                source,
                lead,
                filter,
            }));
        }
        if filter.may_match(Source::Links) {
            all.push(Self {
                source: Source::Links,
                lead: Lead::Nothing,
                filter,
            });
        }
        all
    }

    /// Whether another branch may find the same connection.
    pub(super) const fn may_overlap(&self) -> bool {
        matches!(self.lead, Lead::Toolkit(_))
    }

    /// Whether it finds links.
    pub(super) fn is_of_links(&self) -> bool {
        self.source == Source::Links
    }

    /// The column of the id.
    pub(super) const fn id(&self) -> &'static str {
        match self.source {
            Source::Connections => "c.id",
            Source::Toolkits => "t.connection_id",
            Source::Links => "l.id",
        }
    }

    /// The columns of the same id in the tables that are joined.
    fn joined_ids(&self) -> impl Iterator<Item = &'static str> {
        let connections = self.source == Source::Connections;
        let toolkits = connections && matches!(self.lead, Lead::Toolkit(_));
        let grants = connections && self.filter.standings.is_some();
        let joined = [(grants, "g.connection_id"), (toolkits, "t.connection_id")];
        joined
            .into_iter()
            .filter_map(|(is_joined, column)| is_joined.then_some(column))
    }

    /// The column of the time of the last change.
    const fn updated_at(&self) -> &'static str {
        match self.source {
            Source::Links => "s.updated_at",
            Source::Connections | Source::Toolkits => "c.updated_at",
        }
    }

    /// Appends tables and conditions. `$1` is the partner and `$2` is now.
    pub(super) fn push_to(&self, sql: Sql) -> Sql {
        match (self.source, self.lead) {
            (Source::Links, _) => self.push_links(sql),
            (Source::Toolkits, Lead::Toolkit(name)) => sql
                .push("connection_toolkits t WHERE t.partner_id = $1")
                .and("t.toolkit =", name),
            (Source::Connections | Source::Toolkits, _) => self.push_connections(sql),
        }
    }

    fn push_connections(&self, mut sql: Sql) -> Sql {
        let (lead, filter) = (self.lead, self.filter);
        sql = sql.push("connections c");
        if filter.standings.is_some() {
            sql = sql
                .push(" JOIN grants g ON g.partner_id = c.partner_id AND g.connection_id = c.id");
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
            Lead::Config(id) => sql.and(&format!("{CONFIG} ="), &id),
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
            sql = any(sql, CONFIG, filter.configs.as_deref());
        }
        if !matches!(lead, Lead::Standing(_)) {
            sql = self.push_standings(sql);
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

    fn push_links(&self, mut sql: Sql) -> Sql {
        let filter = self.filter;
        sql = sql.push(
            "connect_links l JOIN connect_sessions s \
             ON s.partner_id = l.partner_id AND s.id = l.session_id \
             WHERE l.partner_id = $1 AND l.done = 0",
        );
        sql = any(sql, "l.id", filter.ids.as_deref());
        sql = any(sql, "l.account_id", filter.accounts.as_deref());
        sql = any(sql, "l.config_id", filter.configs.as_deref());
        sql = any(sql, "l.toolkit", filter.toolkits.as_deref());
        self.push_standings(sql)
    }

    fn push_standings(&self, sql: Sql) -> Sql {
        let Some(asked) = &self.filter.standings else {
            return sql;
        };
        let asked = asked
            .iter()
            .filter(|s| s.is_of_link() == self.is_of_links());
        let conditions: Vec<_> = asked.map(|s| format!("({})", s.condition())).collect();
        sql.push(&format!(" AND ({})", conditions.join(" OR ")))
    }

    /// Appends what stands after the last row of the page before.
    fn push_after(&self, sql: Sql, page: &ListingPage) -> Sql {
        let Some(ListingKey { updated_at, id }) = page.after else {
            return sql;
        };
        let sign = if page.ascending { ">" } else { "<" };
        match page.order {
            ListingOrder::Created => {
                let mut sql = sql.and(&format!("{} {sign}", self.id()), &id);
                let n = sql.bound();
                // PostgreSQL carries over a join what a column equals, not what it is less than: without the bound a
                // merge reads the other tables' indexes from the end of the list on.
                for joined in self.joined_ids() {
                    sql = sql.push(&format!(" AND {joined} {sign} ${n}"));
                }
                sql
            }
            ListingOrder::Updated => {
                let sql = sql.bind(&updated_at).bind(&id);
                let (n, key) = (sql.bound(), (self.updated_at(), self.id()));
                sql.push(&format!(
                    " AND ({}, {}) {sign} (${}, ${n})",
                    key.0,
                    key.1,
                    n - 1
                ))
            }
        }
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
    let order = match page.order {
        ListingOrder::Created => format!("1 {direction}"),
        ListingOrder::Updated => format!("2 {direction}, 1 {direction}"),
    };
    let branches = Branch::all(filter, page.order);
    if branches.is_empty() {
        return None;
    }
    let mut sql = Sql::new("").bind(&partner).bind(&now);
    for (n, branch) in branches.into_iter().enumerate() {
        let union = if n == 0 { "" } else { " UNION ALL " };
        let updated = match page.order {
            ListingOrder::Created => "0",
            ListingOrder::Updated => branch.updated_at(),
        };
        let keys = format!("{}, {updated}", branch.id());
        sql = branch.push_to(sql.push(&format!("{union}SELECT * FROM (SELECT {keys} FROM ")));
        sql = branch
            .push_after(sql, page)
            .push(&format!(" ORDER BY {order}"))
            .number(" LIMIT", page.limit)
            .push(&format!(") AS b{n}"));
    }
    Some(sql.push(&format!(" ORDER BY {order}")))
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

    fn asks_for_toolkits_alone(&self) -> bool {
        let others = Self {
            toolkits: None,
            ..self.clone()
        };
        self.toolkits.is_some() && others == Self::default()
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
