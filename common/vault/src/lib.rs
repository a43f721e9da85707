//! Sealing: what a stolen copy of the database, of Redis or of a backup must not tell. A key-encryption key
//! ([`KeyRing`], from a file or a setting, never in the store) wraps one [`DataKey`] per partner; the data
//! key seals each secret with AES-256-GCM, bound by [`Aad`] to the table, column, partner, row and version
//! it was written for, so that a blob moved elsewhere does not open. Beside it: API keys with their
//! checksum and peppered hash ([`api_key`]), random tokens that are stored as digests ([`token`]), and what
//! webhooks are signed with ([`webhook`]).
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
#[cfg(test)]
mod vectors;
pub mod webhook;

pub use api_key::{ApiKey, ApiKeyError, Mode, Pepper, same};
pub use data_key::DataKey;
pub use error::{KeyFileError, KeyTextError, VaultError};
pub use key_ring::{KeyRing, WrappedKey};
pub use seal::{Aad, open, seal, sealed_with};
pub use token::{digest, random_token};
pub use webhook::WebhookSecret;

#[cfg(test)]
mod tests {
    use latchkey_domain::{DataKeyId, PartnerId, SeededEntropy};
    use secrecy::{ExposeSecret, SecretString};

    use super::*;

    /// Every type that holds a secret, shown by `{:?}` and `{:#?}`: no piece of the secret may appear, as
    /// text, as hex or as a list of numbers.
    #[test]
    fn no_debug_shows_a_secret() {
        let entropy = SeededEntropy::new(21);
        let line = key_ring::new_line(&entropy);
        let ring = KeyRing::from_text(&SecretString::from(line.as_str())).unwrap();
        let key = DataKey::generate(DataKeyId::from_u128(1), &entropy);
        let wrapped = ring.wrap(&key, PartnerId::OPERATOR, &entropy);
        let api_key = ApiKey::generate(Mode::Live, &entropy);
        let pepper = Pepper::generate(&entropy);
        let token = random_token(&entropy);
        let aad = Aad {
            table: "t",
            column: "c",
            partner: PartnerId::OPERATOR,
            row: "r",
            version: 1,
        };
        let opened = open(&key, &aad, &seal(&key, &aad, b"the secret", &entropy)).unwrap();
        let shown = [
            &ring as &dyn std::fmt::Debug,
            &key,
            &wrapped,
            &api_key,
            &pepper,
            pepper.as_secret(),
            &token,
            &opened,
        ]
        .map(|what| format!("{what:?} {what:#?}"))
        .join(" ");
        let encoded = line.split_whitespace().last().unwrap();
        let mut secrets = vec![
            encoded.to_owned(),
            api_key.expose()[api_key::LOOKUP..].to_owned(),
            token.expose_secret().to_owned(),
            "the secret".to_owned(),
        ];
        let bytes = [
            key.bytes().as_slice(),
            pepper.as_secret().expose_secret(),
            b"the secret",
        ];
        for secret in bytes {
            secrets.push(format!(
                "{:02x}{:02x}{:02x}",
                secret[0], secret[1], secret[2]
            ));
            secrets.push(format!("{}, {}, {}", secret[0], secret[1], secret[2]));
        }
        for secret in secrets {
            assert!(!shown.contains(&secret), "{shown}");
        }
        assert!(shown.contains("kek_") && shown.contains("dk_"), "{shown}");
    }
}
