//! Settings: built-in defaults (`deploy/config/latchkey.toml`, compiled in) < file < environment < flags.

mod check;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use latchkey_domain::{pacing::Budgets, plan::Plan, refresh::Timings};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use url::Url;

/// The shipped settings file: the one place where defaults stand.
pub const DEFAULTS: &str = include_str!("../../../deploy/config/latchkey.toml");

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag does not read; the source names it.
    #[error("the settings do not read")]
    Read(#[source] Box<figment::Error>),
    /// A setting is out of range or contradicts another.
    #[error("setting '{name}': {problem}")]
    Invalid {
        /// Its path.
        name: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// A role of the one binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// HTTP in.
    Api,
    /// Jobs in.
    Worker,
    /// Time in.
    Scheduler,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Api, Self::Worker, Self::Scheduler];

    /// Its name in flags, on the first screen and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
        }
    }
}

/// All settings. Each is explained where its default stands, in `deploy/config/latchkey.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    #[serde(deserialize_with = "maybe_url")]
    pub public_url: Option<Url>,
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "maybe_path")]
    pub catalog_dir: Option<PathBuf>,
    #[serde(deserialize_with = "maybe_path")]
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "maybe_secret")]
    pub key: Option<SecretString>,
    #[serde(deserialize_with = "maybe_secret")]
    pub operator_token: Option<SecretString>,
    #[serde(deserialize_with = "list")]
    pub egress_allow: Vec<String>,
    #[serde(deserialize_with = "maybe_secret")]
    pub database_url: Option<SecretString>,
    #[serde(deserialize_with = "maybe_secret")]
    pub redis_url: Option<SecretString>,
    pub redis_namespace: String,
    pub migrate_on_start: bool,
    pub log_format: LogChoice,
    #[serde(rename = "stop_grace_ms", deserialize_with = "millis")]
    pub stop_grace: Duration,
    pub http: Http,
    pub connect: Connect,
    pub calls: Calls,
    pub callbacks: Callbacks,
    pub refresh: Refresh,
    pub worker: Worker,
    pub scheduler: Scheduler,
    pub retention: Retention,
    pub plans: BTreeMap<String, Plan>,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogChoice {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// For programs.
    Json,
}

/// Limits of the public listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Http {
    pub body_max_bytes: usize,
    pub call_body_max_bytes: usize,
    pub call_answer_max_bytes: usize,
    pub connections_max: usize,
    #[serde(rename = "header_read_timeout_ms", deserialize_with = "millis")]
    pub header_read_timeout: Duration,
    #[serde(rename = "write_timeout_ms", deserialize_with = "millis")]
    pub write_timeout: Duration,
}

/// Connect sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Connect {
    #[serde(rename = "session_ms", deserialize_with = "millis")]
    pub session: Duration,
    #[serde(rename = "link_ms", deserialize_with = "millis")]
    pub link: Duration,
    #[serde(rename = "callback_wait_ms", deserialize_with = "millis")]
    pub callback_wait: Duration,
}

/// Provider calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Calls {
    #[serde(rename = "wait_ms", deserialize_with = "millis")]
    pub wait: Duration,
    pub waiting_max: usize,
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
    #[serde(rename = "result_retention_ms", deserialize_with = "millis")]
    pub result_retention: Duration,
    pub backlog_max: u64,
}

/// Callbacks of asynchronous calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Callbacks {
    #[serde(deserialize_with = "list")]
    pub egress_allow: Vec<String>,
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
}

/// The refresh protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Refresh {
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
    #[serde(rename = "lease_ms", deserialize_with = "millis")]
    pub lease: Duration,
    #[serde(rename = "provider_delay_ms", deserialize_with = "millis")]
    pub provider_delay: Duration,
    #[serde(rename = "quiet_ms", deserialize_with = "millis")]
    pub quiet: Duration,
    #[serde(rename = "sweep_ms", deserialize_with = "millis")]
    pub sweep: Duration,
    pub patience_sweeps: u32,
    #[serde(rename = "ending_ms", deserialize_with = "millis")]
    pub ending: Duration,
    pub batch: usize,
    pub concurrency: usize,
    #[serde(rename = "tick_ms", deserialize_with = "millis")]
    pub tick: Duration,
    pub provider_per_second: u32,
    pub auth_config_per_second: u32,
}

impl Refresh {
    /// The budgets of background refreshes.
    pub fn budgets(&self) -> Budgets {
        Budgets {
            provider: self.provider_per_second,
            auth_config: self.auth_config_per_second,
        }
    }

    /// The times as the protocol's decisions take them.
    pub fn timings(&self) -> Timings {
        Timings {
            timeout: self.timeout,
            lease: self.lease,
            provider_delay: self.provider_delay,
            quiet: self.quiet,
            sweep: self.sweep,
            patience_sweeps: self.patience_sweeps,
            ending: self.ending,
        }
    }
}

/// The worker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Worker {
    pub interactive: usize,
    pub refresh: usize,
    pub background: usize,
    #[serde(rename = "job_lease_ms", deserialize_with = "millis")]
    pub job_lease: Duration,
    pub per_provider: usize,
    #[serde(rename = "journal_replay_ms", deserialize_with = "millis")]
    pub journal_replay: Duration,
}

/// The scheduler.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Scheduler {
    #[serde(rename = "requeue_ms", deserialize_with = "millis")]
    pub requeue: Duration,
    #[serde(rename = "release_ms", deserialize_with = "millis")]
    pub release: Duration,
    #[serde(rename = "sweep_ms", deserialize_with = "millis")]
    pub sweep: Duration,
    pub usage_rollup: String,
}

/// How long things are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is explained beside its default")]
pub struct Retention {
    #[serde(rename = "sessions_ms", deserialize_with = "millis")]
    pub sessions: Duration,
    #[serde(rename = "receipts_ms", deserialize_with = "millis")]
    pub receipts: Duration,
    #[serde(rename = "refreshes_ms", deserialize_with = "millis")]
    pub refreshes: Duration,
}

impl Config {
    /// Reads the settings: defaults, this file if one is given, the environment, then `flags` (paths with
    /// dots, as the command line collected them).
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting, and where it came from, in words a person can act on.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(path) = file {
            figment = figment.merge(Toml::file_exact(path));
        }
        figment = figment
            .merge(
                Env::prefixed("LATCHKEY_")
                    // For the tests and the command line themselves, not settings of the server.
                    .filter(|key| key != "config" && !key.starts_with("test_"))
                    .split("__")
                    .lowercase(true),
            )
            .merge(
                Env::raw()
                    .only(&["DATABASE_URL", "REDIS_URL"])
                    .lowercase(true),
            );
        for (path, value) in flags {
            figment = figment.merge(Serialized::default(path, value));
        }
        let config: Self = figment
            .extract()
            .map_err(|e| ConfigError::Read(Box::new(e)))?;
        config.check()?;
        Ok(config)
    }

    /// The origin that browsers see, without a trailing slash.
    pub fn public_origin(&self) -> String {
        self.public_url.as_ref().map_or_else(
            || format!("http://{}", self.listen),
            |url| url.as_str().trim_end_matches('/').to_owned(),
        )
    }

    /// Whether cookies may be `Secure` and `__Host-`.
    pub fn is_https(&self) -> bool {
        self.public_url
            .as_ref()
            .is_some_and(|url| url.scheme() == "https")
    }

    /// Whether this is the fleet engine.
    pub fn is_fleet(&self) -> bool {
        self.database_url.is_some() || self.redis_url.is_some()
    }

    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.get(name)
    }
}

/// A value as it comes from a file (typed) or from the environment (where a number may be meant as text).
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(i64),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(n) => n.to_string(),
        }
    }
}

fn filled<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Text::deserialize(d)?.into_string()).filter(|text| !text.is_empty()))
}

fn maybe_url<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Url>, D::Error> {
    let Some(text) = filled(d)? else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|e| serde::de::Error::custom(format!("'{text}' is not a URL: {e}")))
}

fn maybe_path<'de, D: Deserializer<'de>>(d: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(filled(d)?.map(PathBuf::from))
}

fn maybe_secret<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SecretString>, D::Error> {
    Ok(filled(d)?.map(SecretString::from))
}

fn list<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Many(Vec<String>),
        One(String),
    }
    Ok(match List::deserialize(d)? {
        List::Many(many) => many,
        List::One(text) => text
            .split(',')
            .map(|t| t.trim().to_owned())
            .filter(|t| !t.is_empty())
            .collect(),
    })
}

fn millis<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    Ok(Duration::from_millis(u64::deserialize(d)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let flags: Vec<_> = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        Config::load(None, &flags)
    }

    #[test]
    fn the_shipped_file_reads_and_holds_the_promised_times() {
        let config = load(&[]).unwrap();
        assert_eq!(config.refresh.timings(), Timings::default());
        assert_eq!(config.public_origin(), "http://127.0.0.1:8080");
        assert_eq!(
            config.plan("free").unwrap().included_calls_per_month,
            Some(1000)
        );
        assert!(
            config
                .plan("enterprise")
                .unwrap()
                .included_calls_per_month
                .is_none()
        );
        assert!(!config.is_fleet() && !config.is_https());
    }

    #[test]
    fn every_setting_of_the_shipped_file_has_a_reason() {
        let mut explained = false;
        for line in DEFAULTS.lines() {
            if line.is_empty() || line.starts_with('[') {
                explained = false;
            } else if line.starts_with('#') {
                explained = true;
            } else {
                assert!(explained, "'{line}' has no reason above it");
            }
        }
    }

    #[test]
    fn the_readme_lists_every_setting_with_its_default() {
        let readme = include_str!("../../../README.md");
        let rows: Vec<_> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"))
            .filter_map(|(name, rest)| Some((name, rest.split_once("` | ")?)))
            .filter(|(_, (_, reason))| reason.len() > 10)
            .map(|(name, (default, _))| format!("{name} = {default}"))
            .collect();
        let mut section = String::new();
        let mut settings = Vec::new();
        for line in DEFAULTS
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            match line.strip_prefix('[') {
                Some(name) => section = name.replace(']', "."),
                None => settings.push(format!("{section}{line}")),
            }
        }
        assert_eq!(settings, rows);
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        for (flags, name) in [
            (
                vec![("public_url", "http://keys.example.com")],
                "public_url",
            ),
            (
                vec![("public_url", "https://keys.example.com/path")],
                "public_url",
            ),
            (vec![("listen", "0.0.0.0:8080")], "public_url"),
            (vec![("database_url", "postgres://x")], "database_url"),
            (vec![("operator_token", "hunter2")], "operator_token"),
            (vec![("redis_url", "redis://x")], "database_url"),
            (
                vec![("database_url", "mysql://x"), ("redis_url", "redis://x")],
                "database_url",
            ),
            (
                vec![
                    ("database_url", "postgres://a:b@[::1"),
                    ("redis_url", "redis://x"),
                ],
                "database_url",
            ),
            (
                vec![("database_url", "postgres://x"), ("redis_url", "x:6379")],
                "redis_url",
            ),
        ] {
            let error = load(&flags).unwrap_err();
            assert!(
                matches!(error, ConfigError::Invalid { name: n, .. } if n == name),
                "{error}"
            );
        }
        assert!(
            load(&[("public_url", "https://keys.example.com")])
                .unwrap()
                .is_https()
        );
        let error = load(&[("nonsense", "1")]).unwrap_err();
        assert!(format!("{error:?}").contains("nonsense"), "{error:?}");
    }

    #[test]
    fn secrets_do_not_print() {
        let config = load(&[("key", "k1 c2VjcmV0")]).unwrap();
        assert!(!format!("{config:?}").contains("c2VjcmV0"));
    }
}
