//! The engine under test: `LATCHKEY_TEST_ENGINE=embedded` (the default) or `fleet`, whose servers
//! `tests/servers` starts. A test asks for nothing: every server it starts runs on that engine, in a database
//! and a Redis namespace of its own.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use latchkey_store::postgres_server::{PrivateDatabase, SERVER};

/// Where a Redis for tests is.
const REDIS: &str = "LATCHKEY_TEST_REDIS_URL";
/// The key-encryption key of every fleet under test, in the key file's form.
pub const KEY: &str = "k1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Which engine servers run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite and one process.
    Embedded,
    /// PostgreSQL, Redis and any number of processes.
    Fleet,
}

impl Engine {
    /// The one that this run of the tests is about.
    ///
    /// # Panics
    /// If the variable names neither.
    pub fn under_test() -> Self {
        match std::env::var("LATCHKEY_TEST_ENGINE").as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("fleet") => Self::Fleet,
            Ok(other) => panic!("LATCHKEY_TEST_ENGINE is '{other}', neither embedded nor fleet"),
        }
    }
}

/// What the processes of one fleet share. The last clone drops the database.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    database: PrivateDatabase,
    redis_url: String,
    namespace: String,
    /// The public origin of processes with single roles: the first API's.
    origin: Mutex<Option<SocketAddr>>,
}

impl Fleet {
    /// A new database and a new namespace on the servers of `tests/servers`.
    ///
    /// # Panics
    /// If there are none.
    pub async fn start() -> Self {
        let server = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: run this below tests/servers"))
        };
        Self::on(&server(SERVER), &server(REDIS)).await
    }

    /// The same on these servers: a test's own, which it may break.
    ///
    /// # Panics
    /// If the database's does not answer.
    pub async fn on(database_server: &str, redis_url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{}_{number}", std::process::id());
        let name = format!("latchkey_{namespace}");
        Self(Arc::new(Shared {
            database: PrivateDatabase::create(database_server, &name).await,
            redis_url: redis_url.to_owned(),
            namespace,
            origin: Mutex::new(None),
        }))
    }

    /// The settings by which a process with these roles joins it: all of them have one public origin, where the
    /// first API listens.
    pub fn variables_of(&self, roles: &[&str]) -> Vec<(String, String)> {
        let mut variables = self.variables();
        if roles.is_empty() {
            return variables;
        }
        let mut origin = self.0.origin.lock().expect("nobody panicked");
        let listen = match *origin {
            Some(_) => free_address(),
            None => *origin.insert(free_address()),
        };
        let public = format!("http://{}", origin.unwrap_or(listen));
        variables.push(("LATCHKEY_PUBLIC_URL".to_owned(), public));
        variables.push(("LATCHKEY_LISTEN".to_owned(), listen.to_string()));
        variables
    }

    /// The settings by which a process joins it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let shared = &*self.0;
        [
            ("DATABASE_URL", shared.database.url()),
            ("REDIS_URL", shared.redis_url.clone()),
            ("LATCHKEY_REDIS_NAMESPACE", shared.namespace.clone()),
            ("LATCHKEY_KEY", KEY.to_owned()),
            ("LATCHKEY_MIGRATE_ON_START", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// What its keys in Redis begin with.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Its database.
    pub fn database(&self) -> &PrivateDatabase {
        &self.0.database
    }
}

/// An address that is free now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
