//! Checks of what surrounds the data: the clock, the catalogue, where provider requests may go.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, UNIX_EPOCH},
};

use latchkey_domain::Timestamp;
use latchkey_oauth::Cidr;
use latchkey_providers::Catalog;

use crate::doctor::{Finding, Subject, chain};

/// No machine that runs this version shows an earlier time: 2026-01-01.
const BUILT_AFTER: Timestamp = Timestamp::from_secs(1_767_225_600);
/// How far the clock may lie behind the newest file of the data directory: file systems round.
const BEHIND: Duration = Duration::from_secs(60);

/// The clock: leases, expiries and billing months count by it.
pub(super) fn clock(subject: &Subject) -> Finding {
    const CHECK: &str = "clock";
    let now = subject.clock.now();
    let fix = "set the clock and keep it right (timedatectl set-ntp true)";
    if now < BUILT_AFTER {
        return Finding::fail(
            CHECK,
            format!("it shows {now}, before this version was made"),
            fix,
        );
    }
    let newest = fs::read_dir(&subject.config.data_dir)
        .ok()
        .and_then(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok())
                .max()
        });
    let newest = newest.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    if let Some(newest) = newest {
        let written = Timestamp::from_micros(i64::try_from(newest.as_micros()).unwrap_or(i64::MAX));
        if written.since(now) > BEHIND {
            let found = format!("it shows {now}, but the data directory was written at {written}");
            return Finding::fail(CHECK, found, fix);
        }
    }
    Finding::ok(CHECK, format!("it shows {now}"))
}

/// The catalogue: every file reads, the operator's too.
pub(super) fn catalog(subject: &Subject) -> Finding {
    const CHECK: &str = "catalogue";
    match Catalog::load(subject.config.catalog_dir.as_deref()) {
        Ok(catalog) => {
            let names: Vec<_> = catalog
                .providers()
                .map(|provider| provider.slug.as_str())
                .collect();
            Finding::ok(
                CHECK,
                format!("{} providers: {}", names.len(), names.join(", ")),
            )
        }
        Err(error) => Finding::fail(
            CHECK,
            chain(error),
            "mend the file that is named, or leave --catalog-dir out; the README shows a minimal file",
        ),
    }
}

/// Where provider requests may go beyond public addresses.
pub(super) fn egress(subject: &Subject) -> Finding {
    let allowed = &subject.config.egress_allow;
    let blocks: Result<Vec<Cidr>, _> = allowed.iter().map(|text| text.parse()).collect();
    match blocks {
        Err(error) => Finding::fail(
            EGRESS,
            error.to_string(),
            "write LATCHKEY_EGRESS_ALLOW as blocks with commas between, such as 127.0.0.0/8",
        ),
        Ok(blocks) if blocks.is_empty() => Finding::ok(
            EGRESS,
            "public addresses only, beside the sandbox that --sandbox starts",
        ),
        Ok(_) => Finding::ok(
            EGRESS,
            format!("public addresses and {}", allowed.join(", ")),
        ),
    }
}

/// The name of the checks about outgoing requests.
pub(super) const EGRESS: &str = "egress";

/// Whether requests to a sandbox on this machine are allowed.
pub(super) fn reaches_loopback(subject: &Subject) -> bool {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let blocks = subject
        .config
        .egress_allow
        .iter()
        .filter_map(|text| text.parse::<Cidr>().ok());
    blocks.into_iter().any(|block| block.contains(loopback))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use latchkey_domain::ManualClock;

    use super::*;
    use crate::doctor::{State, tests::subject};

    #[test]
    fn a_clock_of_the_past_fails() {
        let (_temp, mut subject) = subject(&[]);
        subject.clock = Arc::new(ManualClock::new(Timestamp::from_secs(86_400)));
        assert_eq!(clock(&subject).state, State::Fail);
        // Plausible, but files of today lie in the directory.
        fs::create_dir(&subject.config.data_dir).unwrap();
        fs::write(subject.config.data_dir.join("key"), "").unwrap();
        subject.clock = Arc::new(ManualClock::new(BUILT_AFTER));
        let finding = clock(&subject);
        assert_eq!(finding.state, State::Fail);
        assert!(finding.found.contains("written at"), "{}", finding.found);
    }

    #[test]
    fn a_broken_catalogue_file_is_named() {
        let files = tempfile::tempdir().unwrap();
        let dir = files.path().display().to_string();
        let (_temp, subject) = subject(&[("catalog_dir", &dir)]);
        assert_eq!(catalog(&subject).state, State::Ok);
        fs::write(
            files.path().join("acme.toml"),
            "slug = \"acme\"\nnonsense = 1\n",
        )
        .unwrap();
        let finding = catalog(&subject);
        assert_eq!(finding.state, State::Fail);
        assert!(finding.found.contains("acme.toml"), "{}", finding.found);
    }

    #[test]
    fn egress_blocks_must_read() {
        let (_temp, broken) = subject(&[("egress_allow", "127.0.0.0/8,nonsense")]);
        assert_eq!(egress(&broken).state, State::Fail);
        assert!(reaches_loopback(&broken));
        let (_temp, none) = subject(&[]);
        assert_eq!(egress(&none).state, State::Ok);
        assert!(!reaches_loopback(&none));
    }
}
