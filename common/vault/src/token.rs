//! Random tokens that are themselves the credential: connect links, states, completion codes, browser
//! bindings, the operator's token. They are handed out once and stored as digests.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use latchkey_domain::Entropy;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A new token: 256 random bits as base64url without padding (RFC 4648 §5), 43 characters.
pub fn random_token(entropy: &dyn Entropy) -> SecretString {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    entropy.fill(bytes.as_mut_slice());
    SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// SHA-256 of a token: what the store keeps and looks up by. Fit for tokens with 128 random bits or more,
/// which nobody can guess; not for passwords.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
