//! What data cannot say, one file per provider.

pub mod google;
pub mod shopify;
