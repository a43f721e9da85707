//! The store: the only SQL of Latchkey. One file per aggregate with its row structs and its methods on
//! [`Store`]; one SQL text for SQLite and PostgreSQL, with every difference between them in `engine.rs`;
//! and one group-commit writer for the writes that many callers make at once.
//!
//! Every statement on tenant data carries the partner's id; the few that must not are named for it (a
//! callback's auth config, a session found by its own secret) or work over all partners by design
//! (the scheduler's sweeps). `now` is an argument; where a lease must hold among machines, the deadline is
//! taken from database time as it is written.

mod accounts;
mod api_keys;
mod attempts;
mod audit;
mod auth_configs;
pub mod bench;
mod bench_listing;
mod calls;
#[cfg(test)]
mod conformance;
mod connect;
mod connections;
mod data_keys;
mod dead_jobs;
mod dispatch;
mod due;
mod end_users;
mod engine;
mod error;
mod fair;
mod field;
mod grants;
mod idempotency;
mod job_leases;
mod jobs;
mod leases;
mod links;
mod listing;
mod migrations;
mod offers;
mod outlook;
mod partners;
#[cfg(any(test, feature = "conformance"))]
pub mod postgres_server;
mod quotas;
mod refresh_history;
mod sessions;
mod shared_grants;
mod sql;
mod store;
mod usage;
mod usage_log;
mod webhooks;
mod writer;

pub use accounts::{AccountFilter, AccountRow};
pub use api_keys::{ApiKeyRow, KeyMode};
pub use attempts::{AttemptRow, OpenGrant};
pub use audit::AuditRow;
pub use auth_configs::{AuthConfigChange, AuthConfigRow, NewCredentials};
pub use bench_listing::Filled;
pub use calls::{CallFilter, CallRow, FinishCall};
pub use connect::NewConnection;
pub use connections::{Connection, ConnectionFilter, ConnectionRow};
pub use data_keys::{DataKeyRow, KeyPurpose};
pub use dead_jobs::{AllJobsFilter, SUSPECT, Setback, Spent};
pub use dispatch::{JobCount, JobRef};
pub use due::DueGrant;
pub use end_users::{EndUser, EndUserFilter, EndUserOrder};
pub use error::StoreError;
pub use field::JsonMap;
pub use grants::{
    CloseAttempt, GrantClaim, GrantKey, GrantRow, GrantSecret, Landed, Landing, LoadedGrant,
};
pub use idempotency::{Begun, IdempotencyRow, IdempotencyState};
pub use job_leases::HeldJob;
pub use jobs::{ClaimedJob, CompleteJob, JobClaim, JobEnd, JobFilter, JobRow, ReleaseJob};
pub use leases::{TaskClaim, TaskLease};
pub use links::{Link, LinkRow};
pub use listing::{
    Listed, ListedConnection, ListedRow, Listing, ListingFilter, ListingKey, ListingOrder,
    ListingPage, Standing,
};
pub use offers::{OfferRow, OfferedConfig, Scheme};
pub use outlook::Outlook;
pub use partners::{Confirmation, PartnerChange, PartnerRow};
pub use quotas::{QUOTA_BLOCK, QuotaBlock};
pub use refresh_history::RefreshRow;
pub use sessions::{AfterCode, BeginAuthorizing, SessionRow, TakeCode};
pub use store::{Schema, Store, StoreConfig};
pub use usage::{COMMIT_WATERMARK, Granularity, RollUp, UsageLine};
pub use usage_log::UsageLogFilter;
pub use webhooks::WebhookSecretRow;
pub use writer::CommitStats;

/// What every method of the store returns.
pub type Result<T> = std::result::Result<T, StoreError>;
