//! The catalogue: one TOML file per provider, typed, checked when it is read, and turned into what the API
//! and the worker ask of it: which endpoint a path names, which scopes a permission needs, where a request
//! goes. Adding a provider is adding a file under `catalog/` and its answers under `fixtures/`; only what
//! data cannot say is code, under [`quirks`].

pub mod call;
pub mod catalog;
mod checks;
pub mod endpoint;
pub mod entry;
pub mod keys;
mod lines;
pub mod paging;
pub mod permission;
pub mod quirks;
pub mod rate;
mod rebase;
pub mod shape;
pub mod target;
pub mod tool;
pub mod toolkit;

pub use call::{CallError, OutgoingCall, answer_headers, forward_headers};
pub use catalog::{Catalog, CatalogError, EndpointMatch, NoMatch};
pub use endpoint::{BuildError, PlannedCall};
pub use entry::{Endpoint, Param, Permission, PermissionKind, Provider, Service};
pub use keys::{KeyKind, KeyScheme};
pub use paging::{PageStyle, Pagination};
pub use permission::{CaptureError, ParamError, ScopeError, captured};
pub use rate::{Budget, BudgetScope, LimitedWhen, RateReading, RateScope, RateSpec};
pub use target::{Target, TargetError};
