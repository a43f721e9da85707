//! The second public API: Flowra's, over the same rows as the first. Its routes, its shapes and the translation
//! between them and ours are here; what is below the routes does not know which API asked.
//!
//! | here | ours |
//! | --- | --- |
//! | toolkit | service of a provider ([`toolkit`]) |
//! | auth config | auth config, and how it is offered ([`config`]) |
//! | connected account | connection, or a link that leads to one ([`account`], [`status`]) |
//! | external user, `eUID` | account, `external_id` ([`user`]) |
//! | tool | named endpoint ([`tool`]) |

mod account;
mod adopt;
mod config;
mod cursor;
mod face;
mod query;
pub(crate) mod routes;
pub(crate) mod scheme;
mod shape;
mod status;
#[cfg(test)]
mod tests;
mod tool;
mod toolkit;
mod totals;
mod user;

pub(crate) use self::{
    adopt::{Adopted, adopt},
    face::Face,
    shape::{Refusal, refusal},
    totals::Totals,
};
