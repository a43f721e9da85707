//! Test vectors: the formats that stored bytes depend on, pinned. The expected values were computed with
//! another implementation of AES-GCM, HMAC and CRC32 (pyca/cryptography and Python's library). If one of
//! these fails, existing stores would not open: add a new format byte instead of changing a vector.

use std::fmt::Write;

use latchkey_domain::{DataKeyId, GrantId, PartnerId, SeededEntropy};
use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::{
    Aad, ApiKey, DataKey, KeyRing, Mode, Pepper, WrappedKey, digest, open, random_token, seal,
};

const DATA_KEY: DataKeyId = DataKeyId::from_u128(0x0190_a000_b000_7000_8000_0000_0000_00d1);
const PARTNER: PartnerId = PartnerId::from_u128(0x0190_a000_b000_7000_8000_0000_0000_00f2);
const GRANT: GrantId = GrantId::from_u128(0x0190_a000_b000_7000_8000_0000_0000_00a3);
/// The bytes 0x40 to 0x5f.
const KEK: &str = "kek_vector QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";

const SEALED: &str = "010190a000b000700080000000000000d1c15c0289ec2d0a9167ec8e65e2166fdddbb294d01e8\
                      ec7f93ca04d708f3fdbc491e8e93cedf0def094b636";
const WRAPPED: &str = "01ce56971cde355897421efc0beb7f34a97859318f9ca8ce6b8b0f22bab94b0194c49890d5ec\
                       751c3a03866ffdaeb720caa08ddf2714e30166cdacef76";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    })
}

/// The data key with the bytes 0 to 31.
fn data_key() -> DataKey {
    let counting =
        |bytes: &mut [u8; 32]| *bytes = std::array::from_fn(|i| u8::try_from(i).unwrap());
    DataKey::from_bytes(DATA_KEY, SecretBox::init_with_mut(counting))
}

#[test]
fn a_sealed_value() {
    let row = GRANT.to_string();
    let aad = Aad {
        table: "grant_secrets",
        column: "sealed",
        partner: PARTNER,
        row: &row,
        version: 7,
    };
    let blob = seal(
        &data_key(),
        &aad,
        b"a refresh token",
        &SeededEntropy::new(1),
    );
    assert_eq!(hex(&blob), SEALED);
    let text = open(&data_key(), &aad, &blob).unwrap();
    assert_eq!(text.expose_secret(), b"a refresh token");
}

#[test]
fn a_wrapped_key() {
    let ring = KeyRing::from_text(&SecretString::from(KEK)).unwrap();
    let wrapped = ring.wrap(&data_key(), PARTNER, &SeededEntropy::new(2));
    assert_eq!(wrapped.kek_id, "kek_vector");
    assert_eq!(hex(&wrapped.bytes), WRAPPED);
    let again = WrappedKey {
        kek_id: "kek_vector".into(),
        bytes: wrapped.bytes,
    };
    let key = ring.unwrap_key(DATA_KEY, PARTNER, &again).unwrap();
    assert_eq!(key.bytes(), data_key().bytes());
}

#[test]
fn an_api_key_and_its_hash() {
    let key = ApiKey::generate(Mode::Test, &SeededEntropy::new(3));
    assert_eq!(key.expose(), "sk_test_pJ1XgKBTDj5zEn8t1ZIMgknWLFlech44nzNM");
    let pepper: Vec<u8> = (0x80..0xa0).collect();
    let hash = Pepper::from_bytes(&pepper).unwrap().hash(&key);
    assert_eq!(
        hex(&hash),
        "f2c04410dbc53ea96fc952134c85b836a465951c276fc84a59e7e8420e362a13"
    );
}

#[test]
fn a_token_and_its_digest() {
    let token = random_token(&SeededEntropy::new(4));
    assert_eq!(
        token.expose_secret(),
        "yooz4nLjc24wsJhLasZ05F-Ee478Ge_bnvjzJgzr5H0"
    );
    assert_eq!(
        hex(&digest(token.expose_secret())),
        "c06790dbd607d156e19130621a85a20808b448dfd023579bd190239e7950d027"
    );
    // FIPS 180-4, the one-block example.
    assert_eq!(
        hex(&digest("abc")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
