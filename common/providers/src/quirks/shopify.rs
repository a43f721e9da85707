//! Shopify signs what it sends to the callback with the client secret, over all parameters in their order:
//! data can say where a value stands, not how such a signature is made.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether the query is Shopify's own: `hmac` is the HMAC-SHA256, in hexadecimal, of the other parameters in
/// alphabetical order (shopify.dev, "Verify the installation request").
pub fn is_signed(pairs: &[(String, String)], secret: &[u8]) -> bool {
    let mut signatures = pairs.iter().filter(|(name, _)| name == "hmac");
    let (Some((_, signature)), None) = (signatures.next(), signatures.next()) else {
        return false;
    };
    let Some(given) = unhex(signature) else {
        return false;
    };
    mac(pairs, secret).is_some_and(|mac| mac.verify_slice(&given).is_ok())
}

/// The signature that Shopify would add.
pub fn sign(pairs: &[(String, String)], secret: &[u8]) -> Option<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = mac(pairs, secret)?.finalize().into_bytes();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    Some(
        digits
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect(),
    )
}

fn mac(pairs: &[(String, String)], secret: &[u8]) -> Option<Hmac<Sha256>> {
    let mut others: Vec<_> = pairs.iter().filter(|(name, _)| name != "hmac").collect();
    others.sort();
    let message: Vec<_> = others
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(message.join("&").as_bytes());
    Some(mac)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shopify_s_own_word_passes() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut pairs = vec![
            pair("shop", "acme.myshopify.com"),
            pair("code", "c"),
            pair("timestamp", "1337178173"),
        ];
        // openssl dgst -sha256 -hmac hush over code=c&shop=acme.myshopify.com&timestamp=1337178173
        let signature = sign(&pairs, b"hush").unwrap();
        assert_eq!(
            signature,
            "7a9f64e0a42cd4da7eef8567056b3d9387388e80bca75b9f367cc78abc71609b"
        );
        pairs.push(pair("hmac", &signature));
        assert!(is_signed(&pairs, b"hush"));
        assert!(!is_signed(&pairs, b"other"));
        let mut changed = pairs.clone();
        changed[0].1 = "evil.myshopify.com".to_owned();
        assert!(!is_signed(&changed, b"hush"));
        pairs.push(pair("hmac", &signature));
        assert!(!is_signed(&pairs, b"hush"), "twice");
        assert!(!is_signed(&[pair("hmac", "zz")], b"hush"));
    }
}
