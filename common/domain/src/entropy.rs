//! [`Entropy`]: where randomness comes from. Production asks the operating system; tests pass a seed.

use std::{fmt::Debug, sync::Mutex};

/// A source of random bytes. What it gives must be fit for keys and states unless it says otherwise.
pub trait Entropy: Debug + Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// An array of random bytes.
pub fn bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}

/// A fraction in [0, 1), for jitter.
pub fn fraction(entropy: &dyn Entropy) -> f64 {
    unit(u64::from_le_bytes(bytes(entropy)))
}

/// Maps 64 uniform bits to a fraction in [0, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is where randomness enters")]
    fn fill(&self, buffer: &mut [u8]) {
        if getrandom::fill(buffer).is_err() {
            // Going on would mean predictable keys; nothing above could do better.
            std::process::abort();
        }
    }
}

/// A repeatable stream (SplitMix64). For tests and simulations only: it is not fit for secrets.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = mix(*state).to_le_bytes();
            chunk.copy_from_slice(&mixed[..chunk.len()]);
        }
    }
}

/// SplitMix64's finaliser: spreads a seed over all 64 bits.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        let (a, b) = (SeededEntropy::new(7), SeededEntropy::new(7));
        assert_eq!(bytes::<19>(&a), bytes::<19>(&b));
        assert_ne!(bytes::<16>(&SystemEntropy), bytes::<16>(&SystemEntropy));
    }

    #[test]
    fn fractions_stay_in_range() {
        let e = SeededEntropy::new(1);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&fraction(&e))));
        assert!(unit(u64::MAX) < 1.0);
    }
}
