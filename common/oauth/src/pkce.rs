//! PKCE (RFC 7636), S256 only: a fresh verifier for each flow and its challenge.

use std::fmt;

use latchkey_domain::Entropy;
use secrecy::SecretString;

/// A verifier and its challenge.
pub struct Pkce {
    /// 43 characters of base64url: 256 random bits. Sealed until the code is exchanged.
    pub verifier: SecretString,
    /// The base64url SHA-256 of the verifier: public, sent to the authorization endpoint.
    pub challenge: String,
}

impl Pkce {
    /// A fresh pair.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let _ = entropy;
        unimplemented!()
    }
}

impl fmt::Debug for Pkce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkce")
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}
