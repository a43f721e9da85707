//! What API and partner do for a call, and what they see of it.

use std::time::Duration;

use latchkey_domain::{CallId, JobId};
use latchkey_jobs::{
    Job, frame,
    kinds::{
        ProviderCall,
        provider_call::{CallAnswer, CallRequest, CallResult},
    },
};
use latchkey_store::{CallFilter, CallRow, Connection};
use secrecy::ExposeSecret;

use super::bench::{Bench, LONG, Sealed};

pub(super) fn request(method: &str, target: &str) -> CallRequest {
    CallRequest {
        method: method.into(),
        target: target.into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        raw: true,
    }
}

/// The same with an idempotency key of the caller's own.
pub(super) fn keyed(method: &str, target: &str, key: &str) -> CallRequest {
    let mut keyed = request(method, target);
    keyed.headers.push(("x-idempotency-key".into(), key.into()));
    keyed
}

/// What a caller sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Status(u16, Vec<u8>),
    Error(String),
}

impl Seen {
    pub(super) fn error(code: &str) -> Self {
        Self::Error(code.to_owned())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Status(_, body) => serde_json::from_slice(body).unwrap(),
            Self::Error(code) => panic!("{code}"),
        }
    }
}

impl Bench {
    pub(super) fn call(&self, connection: &Connection, service: &str) -> ProviderCall {
        let ctx = self.ctx();
        ProviderCall {
            call: CallId::new(ctx.now(), &*ctx.entropy),
            account: self.account,
            connection: connection.row.id,
            provider: connection.row.provider.clone(),
            service: service.into(),
            endpoint: "proxy".into(),
            test: false,
        }
    }

    /// The job of a caller that waits, for as long as callers wait.
    pub(super) async fn waiting(&self, kind: &ProviderCall, request: &CallRequest) -> Job {
        let (ctx, now) = (self.ctx(), self.ctx().now());
        let packed = frame::pack(request, b"the body").unwrap();
        let row = kind.call.to_string();
        let sealed = ctx
            .sealer
            .seal(self.partner, "calls", "request", &row, 0, &packed);
        let mut job = Job::new(JobId::new(now, &*ctx.entropy), self.partner, kind, now).unwrap();
        job.sealed = Some(sealed.await.unwrap());
        job.reply_to = Some(self.listen());
        job.deadline = Some(now + ctx.config.calls.wait);
        job
    }

    /// The job of a call that nobody waits for.
    pub(super) async fn queued(&self, kind: &ProviderCall, request: &CallRequest) -> Job {
        let packed = frame::pack(request, b"the body").unwrap();
        self.job(kind, Some(Sealed(&packed))).await
    }

    /// What came to whoever waits; `None` if nothing did.
    pub(super) async fn answer_within(&self, job: &Job, within: Duration) -> Option<CallAnswer> {
        self.reply(job, within).await.map(|(answer, _)| answer)
    }

    async fn reply(&self, job: &Job, within: Duration) -> Option<(CallAnswer, Vec<u8>)> {
        let (ctx, reply) = (self.ctx(), job.reply_to.unwrap());
        let sealed = self.heard(reply, within).await?;
        let row = reply.to_string();
        let opened = ctx
            .sealer
            .open(self.partner, "calls", "answer", &row, 0, &sealed)
            .await;
        let opened = opened.unwrap();
        let (answer, body) = frame::unpack::<CallAnswer>(opened.expose_secret()).unwrap();
        Some((answer, body.to_vec()))
    }

    /// Makes a call that is waited for.
    pub(super) async fn ask(&self, kind: &ProviderCall, request: &CallRequest) -> Seen {
        let job = self.waiting(kind, request).await;
        self.run(&job).await;
        let (answer, body) = self.reply(&job, LONG).await.unwrap();
        seen(answer.result, body)
    }

    /// What a finished job holds.
    pub(super) async fn seen(&self, job: &Job) -> Seen {
        let row = self.row(job).await;
        if let Some(code) = row.error_code.filter(|_| row.result.is_none()) {
            return Seen::Error(code);
        }
        let result = self.result(job).await;
        let (answer, body) = frame::unpack::<CallAnswer>(&result).unwrap();
        seen(answer.result, body.to_vec())
    }

    /// Every receipt, oldest first.
    pub(super) async fn receipts(&self) -> Vec<CallRow> {
        let filter = CallFilter {
            limit: 100,
            ..CallFilter::default()
        };
        let mut rows = self
            .ctx()
            .store
            .list_calls(self.partner, &filter)
            .await
            .unwrap();
        rows.sort_by_key(|row| (row.created_at, row.id));
        rows
    }

    /// The only receipt.
    pub(super) async fn receipt(&self) -> CallRow {
        let mut rows = self.receipts().await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }
}

fn seen(result: CallResult, body: Vec<u8>) -> Seen {
    match result {
        CallResult::Answered { status, .. } => Seen::Status(status, body),
        CallResult::Failed { code, .. } => Seen::Error(code),
    }
}
