//! Jobs as the operator finds, revives and stops them.

use std::time::Duration;

use latchkey_domain::{
    AccountId, AttemptId, CallId, ConnectionId, JobId, RequestId, SessionId, states::JobState,
};
use latchkey_jobs::{
    JobKind, MOST_LOST,
    kinds::{ExchangeCode, ProviderCall},
};
use latchkey_store::{CompleteJob, JobClaim, JobEnd, JobRow};
use serde_json::json;

use crate::{
    durable,
    testing::{TestApi, TestPartner, hide_ids},
};

/// A job of this kind that waits; calls have a request.
async fn waiting<K: JobKind>(api: &TestApi, partner: &TestPartner, kind: &K) -> JobId {
    let row = durable::row(&api.api, partner.id, RequestId::from_u128(1), kind).unwrap();
    let row = JobRow {
        sealed: (K::KIND == ProviderCall::KIND).then(|| vec![1; 9]),
        provider: Some("sandbox".to_owned()),
        ..row
    };
    let id = row.id;
    api.api.ctx.store.insert_job(row).await.unwrap();
    id
}

fn call() -> ProviderCall {
    ProviderCall {
        call: CallId::from_u128(1),
        account: AccountId::from_u128(2),
        connection: ConnectionId::from_u128(3),
        provider: "sandbox".to_owned(),
        service: "api".to_owned(),
        endpoint: "proxy".to_owned(),
        test: false,
    }
}

const LEASE: Duration = Duration::from_secs(60);
const CLAIM: AttemptId = AttemptId::from_u128(7);

async fn claim(api: &TestApi, partner: &TestPartner, job_id: JobId) {
    let wanted = JobClaim {
        partner_id: partner.id,
        job_id,
        claim: CLAIM,
        lease: LEASE,
    };
    api.api.ctx.store.claim_job(wanted).await.unwrap().unwrap();
}

/// Runs it once, to this end.
async fn ends(api: &TestApi, partner: &TestPartner, job_id: JobId, code: &str) {
    claim(api, partner, job_id).await;
    let ctx = &api.api.ctx;
    let complete = CompleteJob {
        partner_id: partner.id,
        job_id,
        claim: CLAIM,
        end: JobEnd::Failed {
            error_code: code.to_owned(),
            error: "it went wrong".to_owned(),
            result: None,
            expires_at: None,
        },
        release: None,
        now: ctx.now(),
    };
    assert!(ctx.store.complete_job(complete).await.unwrap());
}

#[tokio::test]
async fn a_failed_job_is_found_with_its_history_and_revived() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let (job, _other) = (
        waiting(&api, &acme, &call()).await,
        waiting(&api, &acme, &call()).await,
    );
    ends(&api, &acme, job, "PROVIDER_UNAVAILABLE").await;
    let operator = api.operator();
    let failed = operator.get("/operator/jobs?state=failed").await.data();
    insta::assert_snapshot!(hide_ids(&serde_json::to_string_pretty(&failed).unwrap()), @r#"
    {
      "jobs": [
        {
          "account_id": null,
          "attempts": 1,
          "completed_at": "2026-11-21T20:00:00.000Z",
          "created_at": "2026-11-21T20:00:00.000Z",
          "error": "it went wrong",
          "error_code": "PROVIDER_UNAVAILABLE",
          "history": [
            {
              "at": "2026-11-21T20:00:00.000Z",
              "attempt": 1,
              "code": "PROVIDER_UNAVAILABLE",
              "error": "it went wrong"
            }
          ],
          "id": "job_<id>",
          "kind": "provider_call",
          "partner_id": "prt_<id>",
          "provider": "sandbox",
          "started_at": "2026-11-21T20:00:00.000Z",
          "state": "failed",
          "urgency": "interactive"
        }
      ],
      "next_before": null
    }
    "#);
    let retried = operator
        .post(&format!("/operator/jobs/{job}/retry"), json!({}))
        .await
        .data();
    assert_eq!(
        (&retried["state"], &retried["attempts"]),
        (&json!("queued"), &json!(1))
    );
    assert_eq!(retried["history"][0]["code"], "PROVIDER_UNAVAILABLE");
    let again = operator
        .post(&format!("/operator/jobs/{job}/retry"), json!({}))
        .await;
    assert_eq!(
        again.said(),
        "CONFLICT A job that is queued cannot be retried; one that failed can."
    );
}

#[tokio::test]
async fn dead_are_those_that_nothing_more_is_tried_for() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let operator = api.operator();
    let dead = async || operator.get("/operator/jobs?state=dead").await.data()["jobs"].clone();
    let session = SessionId::from_u128(1);
    let exchange = waiting(&api, &acme, &ExchangeCode { session }).await;
    // It has two attempts. That it failed at the first is its own doing.
    ends(&api, &acme, exchange, "INTERNAL").await;
    assert_eq!(dead().await, json!([]));
    let path = format!("/operator/jobs/{exchange}/retry");
    operator.post(&path, json!({})).await.data();
    // It loses three workers.
    for _ in 0..MOST_LOST {
        claim(&api, &acme, exchange).await;
        api.advance(LEASE * 2);
        let store = &api.api.ctx.store;
        assert_eq!(
            store
                .requeue_stuck_jobs(api.api.ctx.now(), 10)
                .await
                .unwrap()
                .len(),
            1
        );
    }
    ends(&api, &acme, exchange, "INTERNAL").await;
    let dead = dead().await;
    assert_eq!(
        (&dead[0]["state"], &dead[0]["attempts"]),
        (&json!("dead"), &json!(5))
    );
    let history = dead[0]["history"].as_array().unwrap().iter();
    let codes: Vec<_> = history.map(|line| line["code"].as_str().unwrap()).collect();
    assert_eq!(
        codes,
        [
            "INTERNAL",
            "WORKER_LOST",
            "WORKER_LOST",
            "WORKER_LOST",
            "INTERNAL"
        ]
    );
    let revived = operator.post(&path, json!({})).await.data();
    assert_eq!(revived["state"], "queued");
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let job = waiting(&api, &acme, &call()).await;
    ends(&api, &acme, job, "OUTCOME_UNKNOWN").await;
    let refused = api
        .operator()
        .post(&format!("/operator/jobs/{job}/retry"), json!({}))
        .await;
    assert_eq!(
        refused.said(),
        "CONFLICT Its request was sent and the answer was lost. It is not sent again."
    );
}

#[tokio::test]
async fn a_job_is_canceled_before_it_begins_and_never_after() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let operator = api.operator();
    let cancel = async |job: JobId| {
        operator
            .post(&format!("/operator/jobs/{job}/cancel"), json!({}))
            .await
    };
    let job = waiting(&api, &acme, &call()).await;
    assert_eq!(
        cancel(job).await.data()["state"],
        JobState::Canceled.as_str()
    );
    // Asked again it is what it was.
    assert_eq!(
        cancel(job).await.data()["state"],
        JobState::Canceled.as_str()
    );
    let begun = waiting(&api, &acme, &call()).await;
    claim(&api, &acme, begun).await;
    assert_eq!(
        cancel(begun).await.said(),
        "CONFLICT This call has begun, so it cannot be canceled."
    );
    let session = SessionId::from_u128(1);
    let exchange = waiting(&api, &acme, &ExchangeCode { session }).await;
    assert_eq!(
        cancel(exchange).await.said(),
        "CONFLICT Only calls can be canceled."
    );
    assert_eq!(cancel(JobId::from_u128(5)).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn jobs_of_all_partners_are_listed_page_by_page() {
    let api = TestApi::new().await;
    let mut ids = Vec::new();
    for company in ["A", "B", "C"] {
        let partner = api.partner(company).await;
        ids.push((
            waiting(&api, &partner, &call()).await.to_string(),
            partner.id,
        ));
        api.advance(Duration::from_secs(1));
    }
    let operator = api.operator();
    let list = async |query: String| operator.get(&format!("/operator/jobs?{query}")).await;
    let first = list("limit=2".into()).await.data();
    assert_eq!(first["jobs"][0]["id"], ids[2].0);
    let rest = list(format!(
        "limit=2&before={}",
        first["next_before"].as_str().unwrap()
    ))
    .await
    .data();
    assert_eq!(
        (rest["jobs"][0]["id"].as_str(), &rest["next_before"]),
        (Some(ids[0].0.as_str()), &json!(null))
    );
    for (query, found) in [
        (format!("partner={}", ids[1].1), 1),
        ("kind=provider_call&state=queued".into(), 3),
        ("kind=revoke_grant".into(), 0),
    ] {
        assert_eq!(
            list(query.clone()).await.data()["jobs"]
                .as_array()
                .unwrap()
                .len(),
            found,
            "{query}"
        );
    }
    let odd = list("kind=odd".into()).await.said();
    assert!(
        odd.starts_with("INVALID_REQUEST kind must be one of ") && odd.contains("revoke_grant"),
        "{odd}"
    );
    let mut said = Vec::new();
    for query in ["state=odd", "limit=0", "limit=501", "partner=x", "before=x"] {
        said.push(list(query.into()).await.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    INVALID_REQUEST state must be queued, running, completed, failed, dead or canceled
    INVALID_REQUEST limit must be 1 to 500
    INVALID_REQUEST limit must be 1 to 500
    NOT_FOUND There is no such partner.
    NOT_FOUND There is no such job.
    ");
}
