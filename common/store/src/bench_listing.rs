//! A large list of connections to measure: written by the database itself (PostgreSQL alone), and how it finds a
//! page.

use latchkey_domain::{ConnectionId, PartnerId, Timestamp};

use crate::{
    ListingFilter, ListingKey, ListingPage, Result, Store,
    listing::page_statement,
    sql::{Sql, column},
};

/// The id of the first connection; those of the others are so many more.
const FIRST_ID: u128 = 0x0190_0003_0000_7000_8000_0000_0000_0000;
/// Rows of one statement.
const AT_ONCE: u32 = 50_000;

/// What is in the list, beside its size: one account for ten connections, a hundred auth configs, and of every ten
/// thousand connections a hundred paused, a hundred that need their user, a hundred that ended, and one that
/// reaches the toolkit `rare`; the others reach `gmail` or `drive`.
pub struct Filled {
    /// The id of the account in the middle.
    pub account: String,
    /// The id of the auth config in the middle.
    pub config: String,
    /// The label of the connection in the middle.
    pub label: String,
    rows: u32,
}

impl Filled {
    /// The connection that so many parts of the list are newer than.
    pub fn at(&self, parts: u32, of: u32) -> ListingKey {
        let newer = u64::from(self.rows) * u64::from(parts) / u64::from(of.max(1));
        let number = u64::from(self.rows).saturating_sub(newer);
        ListingKey {
            id: ConnectionId::from_u128(FIRST_ID | u128::from(number)),
            updated_at: Timestamp::from_micros(0),
        }
    }
}

impl Store {
    /// Fills the partner's list with so many connections, the oldest first, and says after each part how many there
    /// are. Then the tables are vacuumed, as PostgreSQL by itself does with tables that grow, sooner or later.
    pub async fn fill_listing(
        &self,
        partner: PartnerId,
        rows: u32,
        now: Timestamp,
        mut progress: impl FnMut(u32),
    ) -> Result<Filled> {
        let mut from = 0;
        while from < rows {
            let to = (from + AT_ONCE).min(rows);
            self.fill(partner, from, to, now).await?;
            from = to;
            progress(from);
        }
        let mut connection = self.engine.write.acquire().await?;
        self.engine.allow_long_statements(&mut connection).await?;
        for table in ["accounts", "connections", "grants", "connection_toolkits"] {
            let vacuum = format!("VACUUM (ANALYZE) {table}");
            Sql::new(vacuum).run(&mut *connection).await?;
        }
        // What was written goes to the disk before anything is measured, if this role may ask for that: a page would
        // wait for the writing of what it takes the place of in memory.
        drop(Sql::new("CHECKPOINT").run(&mut *connection).await);
        connection.close().await?;
        let middle = rows / 2;
        Ok(Filled {
            account: uuid(1, middle / 10),
            config: format!("ac_{}", uuid(2, middle % 100).replace('-', "")),
            label: format!("user-{middle}@example.com"),
            rows,
        })
    }

    async fn fill(&self, partner: PartnerId, from: u32, to: u32, now: Timestamp) -> Result<()> {
        let uuid = |kind: u32, n: &str| {
            format!(
                "'0190{kind:04x}-0000-7000-8000-' || lpad(to_hex(CAST({n} AS BIGINT)), 12, '0')"
            )
        };
        let bare = |kind: u32, n: &str| {
            format!("'0190{kind:04x}000070008000' || lpad(to_hex(CAST({n} AS BIGINT)), 12, '0')")
        };
        let (id, account) = (uuid(3, "n"), uuid(1, "n / 10"));
        let (config, grant) = (bare(2, "n % 100"), bare(4, "n"));
        let each = format!("FROM generate_series({from}, {}) AS n", to - 1);
        let mut tx = self.engine.begin().await?;
        for text in [
            format!(
                "INSERT INTO accounts (id, partner_id, external_id, metadata, created_at, updated_at) \
                 SELECT {account}, $1, 'user-' || (n / 10), '{{}}', $2, $2 {each} WHERE n % 10 = 0"
            ),
            format!(
                "INSERT INTO connections (id, partner_id, account_id, auth_config_id, provider, identity, \
                 label, status, enabled_services, scopes, params, connected_at, updated_at) \
                 SELECT {id}, $1, {account}, 'ac_' || {config}, 'google', 'i' || n, \
                 'user-' || n || '@example.com', \
                 CASE WHEN n % 100 = 1 THEN 'paused' ELSE 'active' END, '{{}}', '[]', '{{}}', \
                 CAST($2 AS BIGINT) + n, CAST($2 AS BIGINT) + n {each}"
            ),
            format!(
                "INSERT INTO grants (id, partner_id, connection_id, account_id, auth_config_id, provider, \
                 state, reason, version, rev, in_doubt, failures, refreshable, issued_at, \
                 expires_at, created_at, updated_at) \
                 SELECT 'gr_' || {grant}, $1, {id}, {account}, 'ac_' || {config}, 'google', \
                 CASE WHEN n % 100 IN (2, 3) THEN 'needs_reauth' ELSE 'active' END, \
                 CASE WHEN n % 100 = 2 THEN 'invalid_grant' WHEN n % 100 = 3 THEN 'expired' END, \
                 1, 1, 0, 0, CASE WHEN n % 100 = 4 THEN 0 ELSE 1 END, $2, \
                 CASE WHEN n % 100 = 4 THEN 1 ELSE CAST($2 AS BIGINT) + 3600000000 END, $2, $2 {each}"
            ),
            format!(
                "INSERT INTO connection_toolkits (partner_id, toolkit, connection_id) \
                 SELECT $1, CASE WHEN n % 10000 = 7 THEN 'rare' WHEN n % 3 = 0 THEN 'drive' \
                 ELSE 'gmail' END, {id} {each} AND CAST($2 AS BIGINT) > 0"
            )
            .replace(&format!("{each} AND"), &format!("{each} WHERE")),
        ] {
            Sql::new(text)
                .bind(&partner)
                .bind(&now)
                .run(&mut *tx)
                .await?;
        }
        self.engine.commit(tx).await
    }

    /// The engine's plan for the statement that finds a page, line by line.
    pub async fn explain_listing(
        &self,
        partner: PartnerId,
        filter: &ListingFilter,
        page: &ListingPage,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let Some(sql) = page_statement(partner, filter, page, now) else {
            return Ok(Vec::new());
        };
        let rows = sql.explained().rows(&self.engine.read).await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }
}

fn uuid(kind: u32, n: u32) -> String {
    format!("0190{kind:04x}-0000-7000-8000-{n:012x}")
}
