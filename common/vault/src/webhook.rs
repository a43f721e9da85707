//! Signing webhooks by the Standard Webhooks specification (version 1.0.0, "Webhook scheme"): HMAC-SHA256 over
//! `id.timestamp.body`, with secrets of 24 to 64 bytes that are written as `whsec_` and base64.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use latchkey_domain::{Entropy, Timestamp};
use secrecy::SecretString;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What stands before every secret.
const PREFIX: &str = "whsec_";
/// Bytes of a secret of ours: the strength of the HMAC, within the 24 to 64 of the specification.
const BYTES: usize = 32;

/// A secret that a partner's webhooks are signed with.
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl WebhookSecret {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0_u8; BYTES]);
        entropy.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The secret of these bytes, as [`WebhookSecret::bytes`] gave them.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Its bytes, to be sealed.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The form that the partner gives to its library.
    pub fn to_text(&self) -> SecretString {
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(self.0.as_slice()));
        SecretString::from(format!("{PREFIX}{}", encoded.as_str()))
    }

    /// The signature of a message, as it stands in `webhook-signature`: `v1,` and base64.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        #[expect(
            clippy::expect_used,
            reason = "HMAC takes keys of any length (RFC 2104 §2)"
        )]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(format!("{id}.{}.", at.as_secs()).as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use latchkey_domain::SeededEntropy;
    use secrecy::ExposeSecret;

    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn signs_like_the_published_example() {
        let bytes = BASE64_STANDARD
            .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap();
        let secret = WebhookSecret::from_bytes(&bytes);
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_secs(1_614_265_330),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_text_form_is_the_libraries() {
        let secret = WebhookSecret::generate(&SeededEntropy::new(3));
        let text = secret.to_text();
        let encoded = text.expose_secret().strip_prefix("whsec_").unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), secret.bytes());
        assert_eq!(secret.bytes().len(), 32);
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
    }
}
