//! The one place that touches AES-256-GCM: seal into `nonce | ciphertext | tag` and open it again.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag, aead::consts::U12};
use latchkey_domain::{Entropy, entropy};
use secrecy::{ExposeSecretMut, SecretSlice};

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// Bytes of a nonce, drawn at random (NIST SP 800-38D §8.2.2).
pub(crate) const NONCE: usize = 12;
/// Bytes of a tag.
pub(crate) const TAG: usize = 16;

/// A key with its schedule expanded once. The schedule is on the heap, so that moving it leaves no copy
/// behind, and is wiped when dropped (`aes-gcm`'s `zeroize` feature).
pub(crate) struct Cipher(Box<Aes256Gcm>);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY]) -> Self {
        Self(Box::new(Aes256Gcm::new(key.into())))
    }

    /// Appends `nonce | ciphertext | tag` to `out`.
    pub(crate) fn seal_onto(
        &self,
        out: &mut Vec<u8>,
        aad: &[u8],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) {
        let nonce = Nonce::<U12>::from(entropy::bytes::<NONCE>(entropy));
        out.reserve_exact(NONCE + plain.len() + TAG);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self
            .0
            .encrypt_inout_detached(&nonce, aad, (&mut out[start..]).into())
            // It fails only beyond 64 GiB of text or 2 EiB of AAD, far above what memory is given to.
            .expect("no secret is 64 GiB long");
        out.extend_from_slice(&tag);
    }

    /// Opens `nonce | ciphertext | tag`; nothing of the text is shown unless the tag matches.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<SecretSlice<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (body, tag) = rest.split_last_chunk::<TAG>()?;
        // Exactly as long as the text, and decrypted in place, so that no copy is left behind.
        let mut text = SecretSlice::from(body.to_vec());
        self.0
            .decrypt_inout_detached(
                &Nonce::<U12>::from(*nonce),
                aad,
                text.expose_secret_mut().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(text)
    }
}
