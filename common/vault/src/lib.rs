//! Sealing: what a stolen copy of the database, of Redis or of a backup must not tell. A key-encryption key
//! ([`KeyRing`], from a file or a setting, never in the store) wraps one [`DataKey`] per partner; the data
//! key seals each secret with AES-256-GCM, bound by [`Aad`] to the table, column, partner, row and version
//! it was written for, so that a blob moved elsewhere does not open. Beside it: API keys with their
//! checksum and peppered hash ([`api_key`]), and random tokens that are stored as digests ([`token`]).
//!
//! Nothing here does I/O but reading and making the key file. No `Debug` prints a secret.

pub mod api_key;
mod cipher;
pub mod data_key;
pub mod error;
pub mod key_file;
pub mod key_ring;
pub mod seal;
pub mod token;

pub use api_key::{ApiKey, ApiKeyError, Mode, Pepper, same};
pub use data_key::DataKey;
pub use error::{KeyFileError, KeyTextError, VaultError};
pub use key_ring::{KeyRing, WrappedKey};
pub use seal::{Aad, open, seal, sealed_with};
pub use token::{digest, random_token};
