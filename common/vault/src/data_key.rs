//! [`DataKey`]: the key that seals one partner's secrets.

use std::fmt;

use latchkey_domain::{DataKeyId, Entropy};
use secrecy::{ExposeSecret, SecretBox};

use crate::cipher::{Cipher, KEY};

/// A partner's data key, with its AES schedule expanded once. Wiped when dropped; not `Clone`, so share it
/// by `Arc`.
///
/// Nonces are random, so one key must not seal more than 2^32 times (NIST SP 800-38D §8.3); a partner that
/// seals a thousand times a second takes 49 days to get there. `seal` does not count: the owner of the
/// key's row does, and makes a new data key in time.
pub struct DataKey {
    id: DataKeyId,
    bytes: SecretBox<[u8; KEY]>,
    cipher: Cipher,
}

impl DataKey {
    /// Seals after which a key must be replaced: half of the 2^32 that NIST SP 800-38D §8.3 allows.
    pub const MAX_SEALS: u64 = 1 << 31;

    /// A new random key.
    pub fn generate(id: DataKeyId, entropy: &dyn Entropy) -> Self {
        let bytes = SecretBox::init_with_mut(|bytes: &mut [u8; KEY]| entropy.fill(bytes));
        Self::from_bytes(id, bytes)
    }

    pub(crate) fn from_bytes(id: DataKeyId, bytes: SecretBox<[u8; KEY]>) -> Self {
        let cipher = Cipher::new(bytes.expose_secret());
        Self { id, bytes, cipher }
    }

    /// The id that blobs sealed with this key carry.
    pub fn id(&self) -> DataKeyId {
        self.id
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY] {
        self.bytes.expose_secret()
    }

    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}
