//! Usage, statements and receipts over one ledger.

use std::time::Duration;

use latchkey_domain::{CallId, Timestamp, states::CallOutcome};
use latchkey_store::CallRow;
use serde_json::{Value, json};

use crate::testing::{TestApi, TestPartner};

/// Writes the receipt of a call that was answered at this time.
async fn answered(api: &TestApi, partner: &TestPartner, at: &str, service: &str, billed: bool) {
    let at = Timestamp::parse(at).unwrap();
    let ms = Duration::from_millis;
    let row = CallRow {
        id: CallId::new(at, &*api.api.ctx.entropy),
        partner_id: partner.id,
        account_id: None,
        connection_id: None,
        provider: "sandbox".to_owned(),
        service: service.to_owned(),
        endpoint: "get_profile".to_owned(),
        method: "GET".to_owned(),
        path: "/me".to_owned(),
        status: Some(200),
        outcome: CallOutcome::Answered,
        billed,
        not_billed_reason: (!billed).then(|| "test_key".to_owned()),
        bytes_in: 100,
        bytes_out: 10,
        queued: ms(1),
        throttled: ms(0),
        token_wait: ms(2),
        provider_time: ms(30),
        attempt: 1,
        job_id: None,
        request_id: Some("req_00000000000000000000000000000001".to_owned()),
        created_at: at,
        completed_at: Some(at),
    };
    assert!(api.api.ctx.store.insert_call(row).await.unwrap());
}

/// A partner on the plan `pro` with two included calls, and six receipts.
async fn ledger() -> (TestApi, TestPartner) {
    let api = TestApi::with(&[("plans.pro.included_calls_per_month", "2")]).await;
    let acme = api.partner("Acme").await;
    let path = format!("/operator/partners/{}", acme.id);
    api.operator()
        .patch(&path, json!({"plan": "pro"}))
        .await
        .data();
    for (at, service, billed) in [
        ("2026-10-31T23:59:59.999Z", "api", true),
        ("2026-11-01T00:00:00Z", "api", true),
        ("2026-11-20T10:00:00Z", "api", true),
        ("2026-11-21T19:59:00Z", "files", true),
        ("2026-11-21T20:00:00Z", "api", true),
        ("2026-11-21T20:00:00Z", "api", false),
    ] {
        answered(&api, &acme, at, service, billed).await;
    }
    (api, acme)
}

/// The lines of a usage answer, and its sum.
fn lines(usage: &Value) -> String {
    let lines = usage["lines"].as_array().unwrap().iter().map(|line| {
        format!(
            "{} {} {}/{}",
            line["start"].as_str().unwrap(),
            line["service"],
            line["billed"],
            line["calls"]
        )
    });
    let total = &usage["total"];
    format!(
        "{}\n{}/{}",
        lines.collect::<Vec<_>>().join("\n"),
        total["billed"],
        total["calls"]
    )
}

#[tokio::test]
async fn usage_counts_to_this_moment() {
    let (api, acme) = ledger().await;
    api.advance(Duration::from_secs(60));
    let usage = async |query: &str| {
        acme.client
            .get(&format!("/api/v1/usage{query}"))
            .await
            .data()
    };
    let by_day = usage("").await;
    insta::assert_snapshot!(lines(&by_day), @r#"
    2026-11-01T00:00:00.000Z "api" 1/1
    2026-11-20T00:00:00.000Z "api" 1/1
    2026-11-21T00:00:00.000Z "api" 1/2
    2026-11-21T00:00:00.000Z "files" 1/1
    4/5
    "#);
    insta::assert_snapshot!(lines(&usage("?granularity=HOUR&from=2026-11-21").await), @r#"
    2026-11-21T19:00:00.000Z "files" 1/1
    2026-11-21T20:00:00.000Z "api" 1/2
    2/3
    "#);
    insta::assert_snapshot!(lines(&usage("?granularity=period&from=2026-10-15").await), @r#"
    2026-10-01T00:00:00.000Z "api" 1/1
    2026-11-01T00:00:00.000Z "api" 3/4
    2026-11-01T00:00:00.000Z "files" 1/1
    5/6
    "#);
    // Rolled up or not, it is the same.
    api.api
        .ctx
        .store
        .roll_up_usage(api.api.ctx.now())
        .await
        .unwrap();
    assert_eq!(usage("").await["lines"], by_day["lines"]);
    // Each line lists its calls.
    let line = by_day["lines"].as_array().unwrap().last().unwrap();
    let calls = acme
        .client
        .get(line["calls_url"].as_str().unwrap())
        .await
        .data();
    assert_eq!(calls["calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_range_that_makes_no_sense_is_refused() {
    let (_api, acme) = ledger().await;
    let mut said = Vec::new();
    for query in [
        "granularity=week",
        "from=yesterday",
        "from=2026-11-22&to=2026-11-21",
        "from=2020-01-01",
        "granularity=hour&from=2026-01-01",
        "since=2026-01-01",
    ] {
        let refused = acme.client.get(&format!("/api/v1/usage?{query}")).await;
        said.push(refused.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    INVALID_REQUEST granularity: must be hour, day or period
    INVALID_REQUEST from: must be a time such as 2026-11-21T20:00:00Z, or a date
    INVALID_REQUEST from: must be before 'to'
    INVALID_REQUEST from: must be at most 366 days by the day before 'to'
    INVALID_REQUEST from: must be at most 31 days by the hour before 'to'
    INVALID_REQUEST since: unknown field `since`, expected one of `from`, `to`, `granularity`
    "#);
}

#[tokio::test]
async fn a_statement_says_what_a_month_costs() {
    let (api, acme) = ledger().await;
    let statement = acme.client.get("/api/v1/usage/statement").await;
    insta::assert_snapshot!(statement.shown(), @r#"
    200 OK
    {
      "data": {
        "amount_minor": 0,
        "currency": "USD",
        "from": "2026-11-01T00:00:00.000Z",
        "included": 2,
        "lines": [
          {
            "calls_url": "/api/v1/calls?provider=sandbox&service=api&from=2026-11-01T00%3A00%3A00.000Z&to=2026-12-01T00%3A00%3A00.000Z&billed=true",
            "not_billed": 1,
            "provider": "sandbox",
            "service": "api",
            "used": 3
          },
          {
            "calls_url": "/api/v1/calls?provider=sandbox&service=files&from=2026-11-01T00%3A00%3A00.000Z&to=2026-12-01T00%3A00%3A00.000Z&billed=true",
            "not_billed": 0,
            "provider": "sandbox",
            "service": "files",
            "used": 1
          }
        ],
        "overage_calls": 2,
        "overage_rest_calls": 2,
        "overage_units": 0,
        "period": "2026-11",
        "plan": "pro",
        "provisional": true,
        "to": "2026-12-01T00:00:00.000Z",
        "unit_calls": 1000,
        "unit_price_minor": 50,
        "used": 4
      },
      "ok": true
    }
    "#);
    let data = statement.data();
    let mut listed = 0;
    for line in data["lines"].as_array().unwrap() {
        let calls = acme
            .client
            .get(line["calls_url"].as_str().unwrap())
            .await
            .data();
        let count = calls["calls"].as_array().unwrap().len();
        assert_eq!(line["used"], count);
        listed += count;
    }
    assert_eq!(data["used"], listed);
    // Run again it is the same, whatever was rolled up between.
    api.api
        .ctx
        .store
        .roll_up_usage(api.api.ctx.now())
        .await
        .unwrap();
    assert_eq!(
        acme.client.get("/api/v1/usage/statement").await.data(),
        data
    );
}

#[tokio::test]
async fn a_month_that_ended_is_settled_and_one_that_did_not_begin_is_refused() {
    let (_api, acme) = ledger().await;
    let october = acme
        .client
        .get("/api/v1/usage/statement?period=2026-10")
        .await
        .data();
    assert_eq!(
        (&october["provisional"], &october["used"]),
        (&json!(false), &json!(1))
    );
    for period in ["2026-12", "2026-13", "2026-1", "november"] {
        let refused = acme
            .client
            .get(&format!("/api/v1/usage/statement?period={period}"))
            .await;
        assert_eq!(refused.code(), "INVALID_REQUEST", "{period}");
    }
}

#[tokio::test]
async fn receipts_are_found_by_what_they_say() {
    let (_api, acme) = ledger().await;
    let calls = async |query: &str| acme.client.get(&format!("/api/v1/calls{query}")).await;
    let count = async |query: &str| calls(query).await.data()["calls"].as_array().unwrap().len();
    for (query, expected) in [
        ("", 6),
        ("?service=files", 1),
        ("?provider=google", 0),
        ("?outcome=answered", 6),
        ("?outcome=SENT", 0),
        ("?billed=True", 5),
        ("?billed=0", 1),
        ("?from=2026-11-21T20:00:00Z", 2),
        ("?to=2026-11-01", 1),
        ("?account_id=00000000-0000-7000-8000-000000000000", 0),
        ("?job_id=job_00000000000070008000000000000000", 0),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let page = calls("?limit=4").await.data();
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(count(&format!("?limit=4&cursor={cursor}")).await, 2);
    let one = calls("?service=files").await;
    insta::assert_snapshot!(one.shown(), @r#"
    200 OK
    {
      "data": {
        "calls": [
          {
            "account_id": null,
            "attempt": 1,
            "billed": true,
            "bytes_in": 100,
            "bytes_out": 10,
            "completed_at": "2026-11-21T19:59:00.000Z",
            "created_at": "2026-11-21T19:59:00.000Z",
            "endpoint": "get_profile",
            "id": "call_<id>",
            "integration_id": null,
            "method": "GET",
            "outcome": "answered",
            "path": "/me",
            "provider": "sandbox",
            "provider_ms": 30,
            "queued_ms": 1,
            "request_id": "req_<id>",
            "service": "files",
            "status": 200,
            "throttled_ms": 0,
            "token_ms": 2
          }
        ],
        "next_cursor": null
      },
      "ok": true
    }
    "#);
}

#[tokio::test]
async fn a_search_for_receipts_that_makes_no_sense_is_refused() {
    let (_api, acme) = ledger().await;
    let calls = async |query: &str| acme.client.get(&format!("/api/v1/calls{query}")).await;
    let mut said = Vec::new();
    for query in [
        "?limit=0",
        "?limit=101",
        "?outcome=lost",
        "?billed=perhaps",
        "?from=x",
        "?cursor=x",
        "?job_id=x",
        "?account_id=ext:nobody",
        "?account=x",
    ] {
        let refused = calls(query).await;
        said.push(refused.said());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    INVALID_REQUEST limit must be 1 to 100
    INVALID_REQUEST limit must be 1 to 100
    INVALID_REQUEST outcome must be sent, answered, unknown or not_sent
    INVALID_REQUEST billed: must be true or false
    INVALID_REQUEST from: must be a time such as 2026-11-21T20:00:00Z, or a date
    INVALID_REQUEST cursor: must be next_cursor of the page before
    INVALID_REQUEST job_id: must be a job's id
    NOT_FOUND There is no such account.
    INVALID_REQUEST account: unknown field `account`, expected one of `account_id`, `provider`, `service`, `job_id`, `outcome`, `billed`, `from`, `to`, `limit`, `cursor`
    "#);
}

#[tokio::test]
async fn another_partners_receipts_are_not_counted() {
    let (api, _acme) = ledger().await;
    let other = api.partner("Other").await;
    let calls = other.client.get("/api/v1/calls").await.data();
    assert_eq!(calls["calls"], json!([]));
    assert_eq!(
        other
            .client
            .get("/api/v1/usage?from=2026-10-01")
            .await
            .data()["lines"],
        json!([])
    );
    assert_eq!(
        other.client.get("/api/v1/usage/statement").await.data()["used"],
        0
    );
}

#[tokio::test]
async fn a_key_knows_its_partner() {
    let (api, acme) = ledger().await;
    let account = acme.account("project_default_user").await;
    api.connection(&acme, &account).await;
    insta::assert_snapshot!(acme.client.get("/api/v1/me").await.shown(), @r#"
    200 OK
    {
      "data": {
        "dashboardUrl": "http://127.0.0.1:8080/docs",
        "email": null,
        "integrations": [
          {
            "provider": "sandbox",
            "status": "active"
          }
        ],
        "partner": {
          "company": "Acme",
          "id": "prt_<id>"
        },
        "tier": "pro",
        "usage": {
          "current": 4,
          "limit": 2
        }
      },
      "ok": true
    }
    "#);
    let path = format!("/operator/partners/{}", acme.id);
    api.operator()
        .patch(&path, json!({"plan": "enterprise"}))
        .await
        .data();
    assert_eq!(
        acme.client.get("/api/v1/me").await.data()["usage"]["limit"],
        -1
    );
}
