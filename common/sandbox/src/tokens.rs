//! Opaque tokens that carry what they stand for, sealed with a key of this process: no table of tokens is
//! needed, a successor can be told again within its grace, and a restart forgets every token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use latchkey_domain::{Entropy, Timestamp, entropy};
use sha2::Sha256;

/// First characters of an access token.
const ACCESS_PREFIX: &str = "sbx_at_";
/// First characters of a refresh token.
const REFRESH_PREFIX: &str = "sbx_rt_";
/// Grant number, serial number, end of life in microseconds.
const CLAIMS: usize = 4 + 4 + 8;
/// Bytes of the seal: 128 bits cannot be guessed.
const SEAL: usize = 16;

/// What an access token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessClaims {
    pub(crate) grant: u32,
    pub(crate) issue: u32,
    pub(crate) expires_at: Timestamp,
}

/// What a refresh token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RefreshClaims {
    pub(crate) grant: u32,
    pub(crate) generation: u32,
}

/// Makes and reads tokens.
pub(crate) struct Minter {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Minter")
    }
}

impl Minter {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let key = hmac::digest::Key::<Hmac<Sha256>>::from(entropy::bytes::<64>(entropy));
        Self {
            keyed: Hmac::new(&key),
        }
    }

    pub(crate) fn access(&self, claims: AccessClaims) -> String {
        self.mint(
            ACCESS_PREFIX,
            claims.grant,
            claims.issue,
            claims.expires_at.as_micros(),
        )
    }

    pub(crate) fn refresh(&self, claims: RefreshClaims) -> String {
        self.mint(REFRESH_PREFIX, claims.grant, claims.generation, 0)
    }

    pub(crate) fn read_access(&self, token: &str) -> Option<AccessClaims> {
        let (grant, issue, end) = self.read(ACCESS_PREFIX, token)?;
        Some(AccessClaims {
            grant,
            issue,
            expires_at: Timestamp::from_micros(end),
        })
    }

    pub(crate) fn read_refresh(&self, token: &str) -> Option<RefreshClaims> {
        let (grant, generation, _) = self.read(REFRESH_PREFIX, token)?;
        Some(RefreshClaims { grant, generation })
    }

    fn mint(&self, prefix: &str, grant: u32, serial: u32, end: i64) -> String {
        let mut bytes = [0; CLAIMS + SEAL];
        bytes[..4].copy_from_slice(&grant.to_be_bytes());
        bytes[4..8].copy_from_slice(&serial.to_be_bytes());
        bytes[8..CLAIMS].copy_from_slice(&end.to_be_bytes());
        let seal = self.seal(prefix, &bytes[..CLAIMS]).finalize().into_bytes();
        bytes[CLAIMS..].copy_from_slice(&seal[..SEAL]);
        let mut token = String::with_capacity(prefix.len() + 44);
        token.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut token);
        token
    }

    fn read(&self, prefix: &str, token: &str) -> Option<(u32, u32, i64)> {
        let mut bytes = [0; CLAIMS + SEAL];
        let text = token.strip_prefix(prefix)?;
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        if read != bytes.len() {
            return None;
        }
        let (claims, seal) = bytes.split_at(CLAIMS);
        self.seal(prefix, claims).verify_truncated_left(seal).ok()?;
        let (grant, rest) = claims.split_first_chunk()?;
        let (serial, rest) = rest.split_first_chunk()?;
        let (end, _) = rest.split_first_chunk()?;
        Some((
            u32::from_be_bytes(*grant),
            u32::from_be_bytes(*serial),
            i64::from_be_bytes(*end),
        ))
    }

    fn seal(&self, prefix: &str, claims: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(prefix.as_bytes());
        mac.update(claims);
        mac
    }
}

/// A random string of 256 bits for codes and consent pages.
pub(crate) fn random(entropy: &dyn Entropy) -> String {
    URL_SAFE_NO_PAD.encode(entropy::bytes::<32>(entropy))
}

#[cfg(test)]
mod tests {
    use latchkey_domain::SeededEntropy;

    use super::*;

    #[test]
    fn tokens_read_back_and_forgeries_do_not() {
        let minter = Minter::new(&SeededEntropy::new(1));
        let access = AccessClaims {
            grant: 7,
            issue: 3,
            expires_at: Timestamp::from_micros(1_700_000_000_123_456),
        };
        let refresh = RefreshClaims {
            grant: 7,
            generation: 3,
        };
        let (a, r) = (minter.access(access), minter.refresh(refresh));
        assert_eq!(minter.read_access(&a), Some(access));
        assert_eq!(minter.read_refresh(&r), Some(refresh));
        assert_eq!(minter.refresh(refresh), r, "a successor can be told again");
        assert_eq!(minter.read_refresh(&a), None);
        let recast = a.replace(ACCESS_PREFIX, REFRESH_PREFIX);
        assert_eq!(
            minter.read_refresh(&recast),
            None,
            "the seal covers the kind"
        );
        let mut forged = r.into_bytes();
        forged[12] ^= 1;
        assert_eq!(
            minter.read_refresh(&String::from_utf8(forged).unwrap()),
            None
        );
        let other = Minter::new(&SeededEntropy::new(2));
        assert_eq!(other.read_access(&a), None, "another process, other tokens");
        for junk in ["", "sbx_at_", "sbx_at_AAAA", "sbx_rt_!!!!"] {
            assert!(minter.read_access(junk).is_none() && minter.read_refresh(junk).is_none());
        }
    }
}
