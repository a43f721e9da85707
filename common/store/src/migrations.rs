//! The files of `migrations/`, embedded. A test fails if one is missing here.

use std::borrow::Cow;

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        const FILES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../migrations/", $name, ".sql")))),+
        ];
    };
}

files!(
    "0001_partners",
    "0002_api_keys",
    "0003_auth_configs",
    "0004_accounts",
    "0005_connect_sessions",
    "0006_connections",
    "0007_grants",
    "0008_grant_secrets",
    "0009_data_keys",
    "0010_idempotency_keys",
    "0011_jobs",
    "0012_calls",
    "0013_usage",
    "0014_audit_log",
    "0015_task_leases",
    "0016_store_checks",
    "0017_grants_in_doubt",
    "0018_queue_epochs",
    "0020_jobs_history",
    "0021_grants_forecast",
    "0022_grants_refused",
    "0023_refresh_history",
    "0025_jobs_then",
    "0026_webhooks",
    "0027_jobs_ready",
    "0028_usage_kept",
    "0029_quota_blocks",
    "0035_accounts_active",
    "0036_auth_configs_toolkit",
    "0037_connections_listed",
    "0038_connect_links",
    "0039_listing_indexes",
    "0045_jobs_alone",
    "0050_connections_sharing",
    "0055_grant_attempts",
    "0056_due_passes",
    "0057_due_covered",
);

/// Every migration, in order.
pub(crate) fn migrator() -> Migrator {
    let each = FILES.iter().map(|(name, sql)| {
        Migration::new(
            number(name),
            Cow::Borrowed(&name[5..]),
            MigrationType::Simple,
            SqlStr::from_static(sql),
            false,
        )
    });
    Migrator::with_migrations(each.collect())
}

/// The number that a file's name begins with.
fn number(name: &str) -> i64 {
    // A test reads every name.
    name[..4].parse().unwrap_or(0)
}

/// Every file by its number and name, in order.
pub(crate) fn names() -> impl Iterator<Item = (i64, &'static str)> {
    FILES.iter().map(|(name, _)| (number(name), *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_in_order_and_explains_itself() {
        // Relative to the package, where tests run: a build folder may outlive the checkout it was filled from.
        let folder = "../../migrations";
        let mut on_disk: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
            .collect();
        on_disk.sort();
        let embedded: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(on_disk, embedded);
        for (name, sql) in FILES {
            assert!(number(name) > 0 && name[4..].starts_with('_'), "{name}");
            assert!(sql.starts_with("-- "), "{name} has no header comment");
            assert!(
                !sql.contains("BOOLEAN"),
                "{name} uses a type that SQLite does not have"
            );
        }
    }
}
