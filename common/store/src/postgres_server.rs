//! A PostgreSQL database of a test's own, on the server that `LATCHKEY_TEST_DATABASE_URL` names (`tests/servers`
//! starts one). It is dropped with its handle, whoever still uses it.

#![expect(clippy::unwrap_used, reason = "for tests: a failure is a panic")]

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

/// Where a PostgreSQL server for tests is; databases are made and dropped there.
pub const SERVER: &str = "LATCHKEY_TEST_DATABASE_URL";

/// A private database.
#[derive(Debug)]
pub struct PrivateDatabase {
    server: String,
    name: String,
}

impl PrivateDatabase {
    /// Makes a database of this name (lower case letters, digits, underscores) on a server.
    ///
    /// # Panics
    /// If the server does not answer or has such a database.
    pub async fn create(server: &str, name: &str) -> Self {
        execute(server, &format!("CREATE DATABASE {name}")).await;
        Self {
            server: server.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its address.
    ///
    /// # Panics
    /// If the server's address names no database.
    pub fn url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').unwrap();
        format!("{base}/{}", self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a statement in it, as a person with a database client would.
    ///
    /// # Panics
    /// If it fails.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }

    /// The one number that a query in it answers.
    ///
    /// # Panics
    /// If it fails or answers something else.
    pub async fn number(&self, query: &str) -> i64 {
        let mut connection = connect(&self.url()).await;
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }
}

impl Drop for PrivateDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread of its own, because a runtime may be ending here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(execute(
                &server,
                &format!("DROP DATABASE {name} WITH (FORCE)"),
            ));
        });
        // A server that is gone took it along.
        drop(dropped.join());
    }
}

async fn connect(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}

async fn execute(url: &str, sql: &str) {
    let statement = AssertSqlSafe(sql.to_owned());
    connect(url).await.execute(statement).await.unwrap();
}
