//! Which settings are refused: out of range, or contradicting another. Each refusal names its setting.

use std::{net::IpAddr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Config, ConfigError};

/// Characters of an operator token that somebody chose, at least: 128 bits as hexadecimal digits. The token may
/// do everything.
const OPERATOR_TOKEN: usize = 32;

/// Callers that one process could let wait: each holds a request in memory.
const WAITING_MOST: usize = 1_000_000;

impl Config {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(url) = &self.public_url {
            if url.host_str().is_none() || url.path() != "/" || url.query().is_some() {
                return invalid(
                    "public_url",
                    "must be an origin such as https://keys.example.com",
                );
            }
            if url.scheme() != "https" && !is_loopback(url) {
                return invalid(
                    "public_url",
                    "must be https unless it is a loopback address",
                );
            }
        } else if !self.listen.ip().is_loopback() {
            return invalid(
                "public_url",
                "is needed when 'listen' is not a loopback address: the https origin that browsers see",
            );
        }
        let length = |token: &SecretString| token.expose_secret().len();
        if self.operator_token.as_ref().map_or(OPERATOR_TOKEN, length) < OPERATOR_TOKEN {
            return invalid(
                "operator_token",
                "must be at least 32 characters: it may do everything (openssl rand -hex 16 makes one)",
            );
        }
        if self.refresh.timeout >= self.refresh.lease {
            return invalid("refresh.timeout_ms", "must be less than refresh.lease_ms");
        }
        if self.refresh.batch == 0 || self.refresh.batch > 100 {
            return invalid("refresh.batch", "must be 1 to 100");
        }
        if self.refresh.concurrency == 0 {
            return invalid("refresh.concurrency", "must be at least 1");
        }
        if !(1..=WAITING_MOST).contains(&self.calls.waiting_max) {
            return invalid("calls.waiting_max", "must be 1 to 1000000");
        }
        for (name, n) in [
            ("worker.interactive", self.worker.interactive),
            ("worker.refresh", self.worker.refresh),
            ("worker.background", self.worker.background),
            ("worker.per_provider", self.worker.per_provider),
        ] {
            if n == 0 {
                return invalid(name, "must be at least 1");
            }
            // A worker fetches one job at least; with half of its slots it could do nothing else meanwhile.
            if n == 1 && self.is_fleet() {
                return invalid(
                    name,
                    "must be at least 2 in a fleet, twice the smallest batch",
                );
            }
        }
        if self.worker.job_lease < JOB_LEASE_MIN {
            return invalid("worker.job_lease_ms", "must be at least 1000");
        }
        if self.plans.values().any(|p| p.calls_per_minute == 0) {
            return invalid("plans", "calls_per_minute must be at least 1");
        }
        self.check_fleet()
    }

    fn check_fleet(&self) -> Result<(), ConfigError> {
        if self.database_url.is_some() != self.redis_url.is_some() {
            return invalid(
                "database_url",
                "DATABASE_URL and REDIS_URL belong together: set both for the fleet, or neither",
            );
        }
        for (name, url, schemes) in [
            ("database_url", &self.database_url, POSTGRES),
            ("redis_url", &self.redis_url, REDIS),
        ] {
            if let Some(url) = url
                && !reads_as(url.expose_secret(), schemes)
            {
                // Without the address: it may hold a password.
                return invalid(
                    name,
                    &format!("must be a URL that begins with {}", schemes[0]),
                );
            }
        }
        if self.redis_namespace.is_empty() {
            return invalid("redis_namespace", "must not be empty");
        }
        Ok(())
    }
}

fn invalid(name: &'static str, problem: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid {
        name,
        problem: problem.into(),
    })
}

/// The shortest claim on a job: it is prolonged three times in that.
const JOB_LEASE_MIN: Duration = Duration::from_secs(1);
/// What addresses of the database begin with.
const POSTGRES: &[&str] = &["postgres://", "postgresql://"];
/// What addresses of the queue begin with.
const REDIS: &[&str] = &["redis://", "rediss://", "redis+unix://", "unix://"];

fn reads_as(url: &str, schemes: &[&str]) -> bool {
    schemes.iter().any(|scheme| url.starts_with(scheme)) && Url::parse(url).is_ok()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}
