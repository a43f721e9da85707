//! API keys: `sk_live_` or `sk_test_`, 30 random base62 characters (178 bits) and a checksum, so that a
//! mistyped or made-up key is refused without asking the store. The store keeps the public beginning for
//! looking it up and an HMAC-SHA256 under the [`Pepper`], which a copy of the database does not hold.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use latchkey_domain::Entropy;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{DataKey, VaultError};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of `sk_live_` and `sk_test_`.
const PREFIX: usize = 8;
const RANDOM: usize = 30;
/// 62^6 is more than 2^32, so six characters hold a CRC32.
const CHECKSUM: usize = 6;
/// Characters of a whole key.
pub const LENGTH: usize = PREFIX + RANDOM + CHECKSUM;
/// Characters of what a key is looked up by and shown as: the prefix and eight of the random ones (48 bits,
/// so that two keys rarely share it; 130 secret bits remain).
pub const LOOKUP: usize = PREFIX + 8;
/// Bytes of a pepper.
const PEPPER: usize = 32;

/// What a key reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Real providers; calls are billed.
    Live,
    /// The sandbox provider only; never billed.
    Test,
}

impl Mode {
    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The mode of this text, if it names one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    /// What its keys begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "sk_live_",
            Self::Test => "sk_test_",
        }
    }
}

/// A text that no API key can be. Its message may be shown to whoever sent the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Begins otherwise.
    #[error("an API key begins with sk_live_ or sk_test_")]
    Prefix,
    /// Longer, shorter, or with other characters than letters and digits.
    #[error("an API key has 36 letters and digits after its prefix")]
    Form,
    /// Its last six characters do not match the rest.
    #[error("the API key was mistyped or cut: its checksum does not match")]
    Checksum,
}

/// An API key in readable form: made once and shown once, or sent by a partner. Wiped when dropped.
pub struct ApiKey {
    text: SecretString,
    mode: Mode,
}

impl ApiKey {
    /// A new random key.
    pub fn generate(mode: Mode, entropy: &dyn Entropy) -> Self {
        // Room for all of it, so that growing leaves no copy.
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(mode.prefix());
        while text.len() < PREFIX + RANDOM {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            entropy.fill(bytes.as_mut_slice());
            // 248 is four times 62: a byte below it gives each character equally often.
            let fair = bytes.iter().filter(|b| **b < 248);
            for byte in fair.take(PREFIX + RANDOM - text.len()) {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
        let sum = checksum(text.as_bytes());
        text.extend(sum.iter().map(|c| char::from(*c)));
        Self {
            text: SecretString::from(text.as_str()),
            mode,
        }
    }

    /// Reads a key that was sent, checking form and checksum and nothing else.
    ///
    /// # Errors
    /// [`ApiKeyError`] says what is wrong with the text; the store need not be asked.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let mode = [Mode::Live, Mode::Test]
            .into_iter()
            .find(|mode| text.starts_with(mode.prefix()))
            .ok_or(ApiKeyError::Prefix)?;
        let body = &text.as_bytes()[PREFIX..];
        if text.len() != LENGTH || !body.iter().all(u8::is_ascii_alphanumeric) {
            return Err(ApiKeyError::Form);
        }
        let (random, sum) = text.as_bytes().split_at(PREFIX + RANDOM);
        if checksum(random).as_slice() != sum {
            return Err(ApiKeyError::Checksum);
        }
        Ok(Self {
            text: SecretString::from(text),
            mode,
        })
    }

    /// What the key reaches.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The public beginning ([`LOOKUP`] characters): how its row is found and how it is shown in lists.
    /// Two keys may share it.
    pub fn lookup(&self) -> &str {
        &self.expose()[..LOOKUP]
    }

    /// The whole key, to be shown once to its owner.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.lookup())
    }
}

/// CRC32 of the text, base62, most significant character first. It finds mistakes; it is no secret.
fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(text);
    let mut out = [ALPHABET[0]; CHECKSUM];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    out
}

/// The key of the API-key hash. It is sealed like any other secret; whoever has only the database cannot
/// try keys against the hashes.
pub struct Pepper(SecretSlice<u8>);

impl Pepper {
    /// A new random pepper.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = vec![0; PEPPER];
        entropy.fill(&mut bytes);
        Self(SecretSlice::from(bytes))
    }

    /// The pepper that is this key: it is wrapped and re-wrapped as data keys are, in a row of its own.
    pub fn of(key: &DataKey) -> Self {
        Self(SecretSlice::from(key.bytes().to_vec()))
    }

    /// The pepper of these bytes, as [`Pepper::as_secret`] gave them.
    ///
    /// # Errors
    /// [`VaultError::Length`] when they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        if bytes.len() == PEPPER {
            Ok(Self(SecretSlice::from(bytes.to_vec())))
        } else {
            Err(VaultError::Length {
                what: "API-key pepper",
                length: bytes.len(),
            })
        }
    }

    /// The bytes, to be sealed.
    pub fn as_secret(&self) -> &SecretSlice<u8> {
        &self.0
    }

    /// HMAC-SHA256 of the key's text: what the store keeps. (Argon2 is for passwords; 178 random bits
    /// cannot be guessed.)
    pub fn hash(&self, key: &ApiKey) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret())
            // RFC 2104 takes keys of any length, and so does the crate.
            .expect("HMAC takes a key of any length");
        mac.update(key.expose().as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// Whether two hashes are the same, in time that does not depend on where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use latchkey_domain::{DataKeyId, SeededEntropy};

    use super::*;

    #[test]
    fn a_new_key_reads_back() {
        let entropy = SeededEntropy::new(1);
        for mode in [Mode::Live, Mode::Test] {
            let key = ApiKey::generate(mode, &entropy);
            let read = ApiKey::parse(key.expose()).unwrap();
            assert_eq!((read.mode(), read.expose()), (mode, key.expose()));
            assert_eq!(key.lookup(), &key.expose()[..16]);
            assert!(key.lookup().starts_with(mode.prefix()));
            assert_eq!(Mode::parse(mode.as_str()), Some(mode));
        }
        assert_eq!(Mode::parse("LIVE"), None);
    }

    #[test]
    fn characters_are_drawn_evenly() {
        let entropy = SeededEntropy::new(2);
        let mut counts = [0_u32; 128];
        let mut seen = HashSet::new();
        for _ in 0..2000 {
            let key = ApiKey::generate(Mode::Live, &entropy);
            for c in key.expose()[PREFIX..PREFIX + RANDOM].bytes() {
                counts[usize::from(c)] += 1;
            }
            assert!(seen.insert(key.expose().to_owned()));
        }
        // 60,000 characters, 968 expected of each of 62; six standard deviations are 185.
        for c in ALPHABET {
            let count = counts[usize::from(*c)];
            assert!((783..=1153).contains(&count), "{}: {count}", char::from(*c));
        }
    }

    #[test]
    fn every_mistyped_character_and_swap_is_found() {
        let key = ApiKey::generate(Mode::Live, &SeededEntropy::new(3));
        let text = key.expose();
        for at in PREFIX..LENGTH {
            for c in ALPHABET.iter().filter(|c| **c != text.as_bytes()[at]) {
                let mut wrong = text.to_owned();
                wrong.replace_range(at..=at, &char::from(*c).to_string());
                assert_eq!(ApiKey::parse(&wrong).unwrap_err(), ApiKeyError::Checksum);
            }
            if at + 1 < LENGTH && text.as_bytes()[at] != text.as_bytes()[at + 1] {
                let mut wrong = text.as_bytes().to_vec();
                wrong.swap(at, at + 1);
                let wrong = String::from_utf8(wrong).unwrap();
                assert_eq!(ApiKey::parse(&wrong).unwrap_err(), ApiKeyError::Checksum);
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let key = ApiKey::generate(Mode::Live, &SeededEntropy::new(3));
        let text = key.expose();
        let cases = [
            (String::new(), ApiKeyError::Prefix),
            ("sk_live".into(), ApiKeyError::Prefix),
            (text.to_uppercase(), ApiKeyError::Prefix),
            (format!(" {text}"), ApiKeyError::Prefix),
            ("sk_live_".into(), ApiKeyError::Form),
            (format!("{text} "), ApiKeyError::Form),
            (format!("{text}0"), ApiKeyError::Form),
            (text[..LENGTH - 1].into(), ApiKeyError::Form),
            (format!("{}-", &text[..LENGTH - 1]), ApiKeyError::Form),
            // 44 bytes, but not 44 characters.
            (format!("{}é", &text[..LENGTH - 2]), ApiKeyError::Form),
            (text.replace("live", "test"), ApiKeyError::Checksum),
        ];
        for (wrong, error) in cases {
            assert_eq!(ApiKey::parse(&wrong).unwrap_err(), error, "{wrong}");
        }
    }

    #[test]
    fn hashes_need_key_and_pepper() {
        let entropy = SeededEntropy::new(4);
        let (key, other) = (
            ApiKey::generate(Mode::Live, &entropy),
            ApiKey::generate(Mode::Live, &entropy),
        );
        let pepper = Pepper::generate(&entropy);
        let again = Pepper::from_bytes(pepper.as_secret().expose_secret()).unwrap();
        assert!(same(&pepper.hash(&key), &again.hash(&key)));
        assert!(!same(&pepper.hash(&key), &pepper.hash(&other)));
        assert!(!same(
            &pepper.hash(&key),
            &Pepper::generate(&entropy).hash(&key)
        ));
        assert!(!same(&pepper.hash(&key), &pepper.hash(&key)[..31]));
        assert!(Pepper::from_bytes(&[1; 31]).is_err());
        // Hashes outlive a restart: the pepper of a row is the same each time.
        let row = || DataKey::generate(DataKeyId::from_u128(1), &SeededEntropy::new(9));
        assert!(same(
            &Pepper::of(&row()).hash(&key),
            &Pepper::of(&row()).hash(&key)
        ));
    }
}
