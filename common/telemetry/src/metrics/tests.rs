//! Every metric is fed, explained and bounded.

use std::collections::HashSet;

use latchkey_domain::{AccountId, SeededEntropy, Timestamp};

use super::*;
use crate::labels::MAX_VALUES;

const SOME: Duration = Duration::from_millis(40);

/// Feeds every metric, with this text wherever a label is free.
fn feed(metrics: &Metrics, text: &str) {
    metrics.http_request(text, 200, SOME);
    metrics.queue(text, 3, SOME);
    metrics.job_began(text, SOME);
    metrics.job_ended(text, JobEnd::Done, SOME);
    metrics.refresh(text, RefreshOutcome::Refreshed);
    metrics.refresh_landed(text, Some(SOME));
    metrics.refresh_landed(text, None);
    metrics.in_doubt(1);
    metrics.needs_reauth(text, DeadReason::InvalidGrant);
    metrics.call(text, CallOutcome::Answered, Some(200), SOME);
    metrics.throttled(ThrottleScope::Minute);
    metrics.aead_failure(text);
    metrics.store_commit(7, SOME);
    metrics.journal(2, 3000);
    metrics.refresh_budget(text, 0.5);
    metrics.grants_due(3);
    metrics.refresh_took(text, Duration::from_millis(3));
    metrics.auth_config_paused(text);
    metrics.breakers_not_closed(text, 1);
    metrics.task(text, TaskEnd::Ok, SOME);
}

#[test]
fn every_metric_is_fed_and_explained() {
    let metrics = Metrics::new();
    feed(&metrics, "x");
    let text = metrics.encode();
    let mut seen = HashSet::new();
    for name in NAMES {
        assert!(seen.insert(name), "{name} twice");
        let help = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("# HELP {name} ")));
        let help = help.unwrap_or_else(|| panic!("{name} is not there"));
        assert!(help.len() > 20 && !help.ends_with('.'), "{name}: {help}");
        assert!(name.starts_with("latchkey_"), "{name}");
        let kind = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("# TYPE {name} ")));
        assert_eq!(
            kind == Some("counter"),
            name.ends_with("_total"),
            "{name}: {kind:?}"
        );
    }
    let families = text.lines().filter(|l| l.starts_with("# HELP")).count();
    assert_eq!(families, NAMES.len());
}

#[test]
fn the_text_reads_as_prometheus_wants() {
    let metrics = Metrics::new();
    metrics.http_request("GET /api/v1/jobs/{id}", 404, SOME);
    metrics.refresh_landed("sandbox", None);
    metrics.store_commit(7, SOME);
    let text = metrics.encode();
    for line in [
        r#"latchkey_http_requests_total{route="GET /api/v1/jobs/{id}",status="404"} 1"#,
        r#"latchkey_http_request_seconds_bucket{route="GET /api/v1/jobs/{id}",le="0.05"} 1"#,
        r#"latchkey_refresh_missed_total{provider="sandbox"} 1"#,
        r#"latchkey_store_commit_rows_bucket{le="10"} 1"#,
        r#"latchkey_throttled_total{scope="minute"} 0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
    }
}

#[test]
fn ids_in_a_label_cannot_grow_without_bound() {
    let metrics = Metrics::new();
    let entropy = SeededEntropy::new(1);
    for n in 0..2000 {
        // A mistake that must not happen: an id where a name belongs.
        feed(
            &metrics,
            &AccountId::new(Timestamp::from_secs(n), &entropy).to_string(),
        );
    }
    for family in metrics.registry.gather() {
        let series = family.get_metric().len();
        assert!(series <= MAX_VALUES + 1, "{}: {series}", family.name());
    }
    assert!(
        metrics.encode().contains(
            r#"latchkey_calls_total{class="2xx",outcome="answered",provider="other"} 1700"#
        )
    );
}

#[test]
fn each_has_its_own_registry_and_clones_share_it() {
    let (one, two) = (Metrics::new(), Metrics::new());
    one.clone().journal(5, 9000);
    assert!(one.encode().contains("latchkey_journal_entries 5"));
    assert!(two.encode().contains("latchkey_journal_entries 0"));
}
