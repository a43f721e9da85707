//! Connect sessions from the partner's request to the partner's page.

mod attacks;
mod create;
mod walk;
