//! PKCE (RFC 7636), S256 only: a fresh verifier for each flow and its challenge.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use latchkey_domain::{Entropy, entropy};
use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use secrecy::SecretString;
use zeroize::Zeroizing;

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
        let random = Zeroizing::new(entropy::bytes::<32>(entropy));
        let verifier = PkceCodeVerifier::new(BASE64_URL_SAFE_NO_PAD.encode(random.as_slice()));
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        Self {
            verifier: verifier.into_secret().into(),
            challenge: challenge.as_str().to_owned(),
        }
    }
}

/// The challenge alone.
impl fmt::Debug for Pkce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkce")
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use latchkey_domain::{SeededEntropy, SystemEntropy};
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_challenge_is_the_digest_of_the_verifier() {
        let pkce = Pkce::new(&SeededEntropy::new(3));
        let verifier = pkce.verifier.expose_secret();
        assert_eq!(verifier.len(), 43);
        assert!(
            verifier
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        let digest = Sha256::digest(verifier.as_bytes());
        assert_eq!(pkce.challenge, BASE64_URL_SAFE_NO_PAD.encode(digest));
    }

    #[test]
    fn each_flow_has_its_own_and_debug_hides_it() {
        let (a, b) = (Pkce::new(&SystemEntropy), Pkce::new(&SystemEntropy));
        assert_ne!(a.challenge, b.challenge);
        assert!(!format!("{a:?}").contains(a.verifier.expose_secret()));
    }
}
