//! [`KeyRing`]: the key-encryption keys, which wrap data keys and never touch the store.
//!
//! The text form is one key a line, `<id> <base64 of 32 bytes>`; empty lines and lines that begin with `#`
//! are comments. The *last* key is the current one, so rotation is a line added at the end. Older lines
//! stay until nothing is wrapped with them.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use latchkey_domain::{DataKeyId, Entropy, PartnerId, entropy};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use zeroize::Zeroizing;

use crate::{
    DataKey, KeyTextError, VaultError,
    cipher::{Cipher, KEY, NONCE, TAG},
};

/// Keys in a ring: rotation needs two, and a ring with more than this is a mistake.
pub const MAX_KEYS: usize = 64;
/// Characters of a key's id.
pub const MAX_ID: usize = 64;

/// The first byte of every wrapped key of this layout.
const FORMAT: u8 = 1;
const WRAPPED: usize = 1 + NONCE + KEY + TAG;
const WHAT: &str = "wrapped data key";

struct Kek {
    id: String,
    cipher: Cipher,
}

/// The key-encryption keys, the current one last.
pub struct KeyRing {
    // Never empty: `from_text` refuses that.
    keks: Vec<Kek>,
}

/// A data key as the store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The key-encryption key that wrapped it.
    pub kek_id: String,
    /// `1 | nonce (12) | ciphertext (32) | tag (16)`.
    pub bytes: Vec<u8>,
}

impl KeyRing {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`KeyTextError`] names the line and never shows its content.
    pub fn from_text(text: &SecretString) -> Result<Self, KeyTextError> {
        let mut keks: Vec<Kek> = Vec::new();
        for (line, number) in text.expose_secret().lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |problem| KeyTextError::Line {
                line: number,
                problem,
            };
            let kek = parse_line(line).map_err(wrong)?;
            if keks.iter().any(|k| k.id == kek.id) {
                return Err(wrong("its key id was used on an earlier line"));
            }
            if keks.len() == MAX_KEYS {
                return Err(wrong("more than 64 keys"));
            }
            keks.push(kek);
        }
        if keks.is_empty() {
            return Err(KeyTextError::Empty);
        }
        Ok(Self { keks })
    }

    /// The id of the key that wraps: the last line's.
    pub fn current_id(&self) -> &str {
        self.keks.last().map_or("", |k| &k.id)
    }

    /// Every id, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keks.iter().map(|k| k.id.as_str())
    }

    /// Wraps a partner's data key with the current key.
    pub fn wrap(&self, key: &DataKey, partner: PartnerId, entropy: &dyn Entropy) -> WrappedKey {
        // The ring is never empty; see the field.
        let kek = self.keks.last().expect("a key ring holds a key");
        let mut bytes = Vec::with_capacity(WRAPPED);
        bytes.push(FORMAT);
        let aad = wrap_aad(&kek.id, key.id(), partner);
        kek.cipher
            .seal_onto(&mut bytes, aad.as_bytes(), key.bytes(), entropy);
        WrappedKey {
            kek_id: kek.id.clone(),
            bytes,
        }
    }

    /// Opens the data key `id` of `partner`.
    ///
    /// # Errors
    /// [`VaultError::KekMissing`] names the key that the ring lacks; the others mean damage, or a wrapped
    /// key that belongs to another id or partner.
    pub fn unwrap_key(
        &self,
        id: DataKeyId,
        partner: PartnerId,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, VaultError> {
        let kek = self
            .keks
            .iter()
            .find(|k| k.id == wrapped.kek_id)
            .ok_or_else(|| VaultError::KekMissing {
                kek_id: wrapped.kek_id.chars().take(MAX_ID).collect(),
            })?;
        if wrapped.bytes.len() != WRAPPED {
            return Err(VaultError::Length {
                what: WHAT,
                length: wrapped.bytes.len(),
            });
        }
        if wrapped.bytes[0] != FORMAT {
            return Err(VaultError::Format {
                what: WHAT,
                format: wrapped.bytes[0],
            });
        }
        let aad = wrap_aad(&kek.id, id, partner);
        let opened = kek
            .cipher
            .open(aad.as_bytes(), &wrapped.bytes[1..])
            .ok_or(VaultError::Refused { what: WHAT })?;
        let bytes = SecretBox::init_with_mut(|bytes: &mut [u8; KEY]| {
            bytes.copy_from_slice(opened.expose_secret());
        });
        Ok(DataKey::from_bytes(id, bytes))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing")
            .field(&self.ids().collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey")
            .field("kek_id", &self.kek_id)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// What a wrapped key is bound to.
fn wrap_aad(kek_id: &str, id: DataKeyId, partner: PartnerId) -> String {
    format!("data_keys|wrapped|{partner}|{id}|{kek_id}")
}

fn parse_line(line: &str) -> Result<Kek, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let (Some(id), Some(encoded), None) = (words.next(), words.next(), words.next()) else {
        return Err("a line is '<key id> <base64 of 32 bytes>'");
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if id.len() > MAX_ID || !id.chars().all(plain) {
        return Err("a key id is 1 to 64 letters, digits, '_', '-' or '.'");
    }
    // The decoder wants room for a guess of the length, which for 44 characters is 33 bytes.
    let mut bytes = Zeroizing::new([0_u8; KEY + 1]);
    if encoded.len() != 44 {
        return Err("the key is not the base64 of 32 bytes");
    }
    match STANDARD.decode_slice(encoded, bytes.as_mut_slice()) {
        Ok(KEY) => {}
        Ok(_) => return Err("the key is not the base64 of 32 bytes"),
        Err(_) => return Err("the key is not valid base64"),
    }
    let mut key = Zeroizing::new([0; KEY]);
    key.copy_from_slice(&bytes[..KEY]);
    if key.iter().all(|b| *b == key[0]) {
        return Err("the key is one byte over and over, which is no random key");
    }
    Ok(Kek {
        id: id.to_owned(),
        cipher: Cipher::new(&key),
    })
}

/// A new line of the text form, with a random id and key.
pub(crate) fn new_line(entropy: &dyn Entropy) -> Zeroizing<String> {
    let id = u64::from_be_bytes(entropy::bytes(entropy));
    let key = Zeroizing::new(entropy::bytes::<KEY>(entropy));
    let encoded = Zeroizing::new(STANDARD.encode(key.as_slice()));
    // `concat` allocates once, so that no copy is left behind by growing.
    Zeroizing::new([format!("kek_{id:016x} ").as_str(), &encoded, "\n"].concat())
}

#[cfg(test)]
mod tests {
    use latchkey_domain::SeededEntropy;

    use super::*;

    const PARTNER: PartnerId = PartnerId::from_u128(7);
    const ID: DataKeyId = DataKeyId::from_u128(1);

    fn ring(text: &str) -> Result<KeyRing, KeyTextError> {
        KeyRing::from_text(&SecretString::from(text))
    }

    fn lines(ids: &[&str]) -> String {
        let entropy = SeededEntropy::new(1);
        let line = |id| {
            let made = new_line(&entropy);
            format!("{id} {}", made.split_once(' ').unwrap().1)
        };
        ids.iter().copied().map(line).collect()
    }

    fn key() -> DataKey {
        DataKey::generate(ID, &SeededEntropy::new(2))
    }

    #[test]
    fn the_last_line_is_current_and_older_ones_still_open() {
        let both = lines(&["kek_old", "kek_new"]);
        let old = ring(both.lines().next().unwrap()).unwrap();
        let new = ring(&format!("# two keys\n\n{both}\n# end")).unwrap();
        assert_eq!((old.current_id(), new.current_id()), ("kek_old", "kek_new"));
        assert_eq!(new.ids().collect::<Vec<_>>(), ["kek_old", "kek_new"]);
        let wrapped = old.wrap(&key(), PARTNER, &SeededEntropy::new(3));
        let opened = new.unwrap_key(ID, PARTNER, &wrapped).unwrap();
        assert_eq!(opened.bytes(), key().bytes());
        assert_eq!(
            new.wrap(&opened, PARTNER, &SeededEntropy::new(4)).kek_id,
            "kek_new"
        );
    }

    #[test]
    fn a_key_that_left_the_ring_is_named() {
        let both = lines(&["kek_old", "kek_new"]);
        let new_only = ring(both.lines().last().unwrap()).unwrap();
        let old = ring(both.lines().next().unwrap()).unwrap();
        let wrapped = old.wrap(&key(), PARTNER, &SeededEntropy::new(3));
        let error = new_only.unwrap_key(ID, PARTNER, &wrapped).unwrap_err();
        assert_eq!(
            error,
            VaultError::KekMissing {
                kek_id: "kek_old".into()
            }
        );
        assert!(error.to_string().contains("kek_old"));
        // Another key under the old name is not the old key.
        let renamed = ring(&lines(&["kek_other", "kek_old"])).unwrap();
        assert_eq!(
            renamed.unwrap_key(ID, PARTNER, &wrapped).unwrap_err(),
            VaultError::Refused { what: WHAT }
        );
    }

    #[test]
    fn a_wrapped_key_belongs_to_its_id_partner_and_kek() {
        let ring = ring(&lines(&["kek_a", "kek_b"])).unwrap();
        let wrapped = ring.wrap(&key(), PARTNER, &SeededEntropy::new(3));
        let refused = VaultError::Refused { what: WHAT };
        let other_id = ring.unwrap_key(DataKeyId::from_u128(2), PARTNER, &wrapped);
        assert_eq!(other_id.unwrap_err(), refused);
        let other_partner = ring.unwrap_key(ID, PartnerId::OPERATOR, &wrapped);
        assert_eq!(other_partner.unwrap_err(), refused);
        let other_kek = WrappedKey {
            kek_id: "kek_a".into(),
            ..wrapped.clone()
        };
        assert_eq!(
            ring.unwrap_key(ID, PARTNER, &other_kek).unwrap_err(),
            refused
        );
        for bit in 0..wrapped.bytes.len() * 8 {
            let mut changed = wrapped.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.unwrap_key(ID, PARTNER, &changed).is_err(), "bit {bit}");
        }
        for length in [0, 1, WRAPPED - 1, WRAPPED + 1] {
            let mut bytes = wrapped.bytes.clone();
            bytes.resize(length, 0);
            let changed = WrappedKey {
                bytes,
                ..wrapped.clone()
            };
            assert!(
                ring.unwrap_key(ID, PARTNER, &changed).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let good = lines(&["kek_a"]);
        let good = good.trim_end();
        let secret = good.split_once(' ').unwrap().1;
        let cases = [
            (
                format!("{good}\nkek_b {}", &secret[..40]),
                2,
                "base64 of 32 bytes",
            ),
            (
                format!("{good}\nkek_b {secret}AAAA"),
                2,
                "base64 of 32 bytes",
            ),
            // 44 characters that decode to 31 and to 33 bytes.
            (
                format!(
                    "kek_b {}==",
                    &secret[..42].replace(|c: char| !c.is_ascii_alphanumeric(), "A")
                ),
                1,
                "base64",
            ),
            (format!("kek_b {}A", &secret[..43]), 1, "base64 of 32 bytes"),
            (
                format!("\n# words\nkek_b {}!=", &secret[..42]),
                3,
                "valid base64",
            ),
            (format!("{good}\n{good}"), 2, "earlier line"),
            (format!("kek_b{secret}"), 1, "a line is"),
            (format!("kek_b {secret} {secret}"), 1, "a line is"),
            (format!("kek/b {secret}"), 1, "a key id is"),
            (format!("{} {secret}", "k".repeat(65)), 1, "a key id is"),
            (format!("kek_b {}=", "A".repeat(43)), 1, "no random key"),
        ];
        for (text, line, words) in cases {
            let error = ring(&text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(
                matches!(error, KeyTextError::Line { line: l, .. } if l == line),
                "{shown}"
            );
            assert!(shown.contains(words), "{shown}");
            assert!(!shown.contains(&secret[..8]), "{shown}");
        }
        for text in ["", "\n\n", "# only words\n"] {
            assert_eq!(ring(text).unwrap_err(), KeyTextError::Empty);
        }
    }

    #[test]
    fn a_ring_has_a_bound() {
        let ids: Vec<String> = (0..=MAX_KEYS).map(|n| format!("kek_{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert!(ring(&lines(&ids[1..])).is_ok());
        let error = ring(&lines(&ids)).unwrap_err().to_string();
        assert_eq!(error, "line 65: more than 64 keys");
    }
}
