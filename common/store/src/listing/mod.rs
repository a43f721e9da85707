//! Lists of connections with the links that lead to some, in one order, page by page after a key: what comes or
//! goes meanwhile moves nothing else. A page is found by its ids alone, by an index for any one filter, and read
//! then.

mod count;
mod standing;
mod statement;

use std::collections::BTreeMap;

use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, PartnerId, Timestamp, states::SessionStatus,
};
use sqlx::any::AnyRow;

pub use self::standing::Standing;
pub(crate) use self::statement::page_statement;
use crate::{
    Connection, ConnectionRow, GrantRow, Link, Result, Scheme, Store,
    field::{Record, record},
    links::joined_links,
    sql::{Sql, column, columns, padded},
};

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
        // Two statements that read different tables, beside each other.
        let reached = Sql::new(
            "SELECT connection_id, toolkit FROM connection_toolkits WHERE partner_id = $1",
        )
        .bind(&partner)
        .any_of("connection_id", ids)
        .push(" ORDER BY toolkit");
        let rows = Sql::new(format!(
            "SELECT {}, {}, {} FROM connections c \
             JOIN grants g ON g.partner_id = c.partner_id AND g.connection_id = c.id \
             WHERE c.partner_id = $1 AND c.revoked_at IS NULL",
            columns::<ConnectionRow>("c."),
            columns::<GrantRow>("g."),
            columns::<ListedRow>("c.")
        ))
        .bind(&partner)
        .any_of("c.id", ids);
        let read = &self.engine.read;
        let (reached, rows) = futures::try_join!(reached.rows(read), rows.rows(read))?;
        let mut toolkits: BTreeMap<ConnectionId, Vec<String>> = BTreeMap::new();
        for row in &reached {
            toolkits
                .entry(column(row, 0)?)
                .or_default()
                .push(column(row, 1)?);
        }
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
