//! Full-jitter back-off: a wait drawn uniformly from zero to a doubling ceiling, so that clients that
//! failed together do not come back together.

use std::time::Duration;

use crate::{Entropy, entropy};

/// A back-off of base × 2^failures, capped, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling after the first failure.
    pub base: Duration,
    /// The ceiling that is never passed.
    pub cap: Duration,
}

impl Backoff {
    /// Refreshes: from 1 s to 15 min (`reliability.md` B6).
    pub const REFRESH: Self = Self {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(15 * 60),
    };

    /// The ceiling after this many failures (the first is 1).
    pub fn ceiling(self, failures: u32) -> Duration {
        let doubled = self
            .base
            .saturating_mul(1_u32 << failures.saturating_sub(1).min(30));
        doubled.min(self.cap)
    }

    /// The wait after this many failures.
    pub fn wait(self, failures: u32, entropy: &dyn Entropy) -> Duration {
        self.ceiling(failures).mul_f64(entropy::fraction(entropy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let secs: Vec<_> = (1..=12)
            .map(|n| Backoff::REFRESH.ceiling(n).as_secs())
            .collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(Backoff::REFRESH.ceiling(u32::MAX), Duration::from_secs(900));
    }

    #[test]
    fn waits_are_uniform_below_the_ceiling() {
        // Kolmogorov–Smirnov against the uniform distribution: with n = 10,000 the 1 % bound is 0.0163.
        let e = SeededEntropy::new(11);
        let mut waits: Vec<f64> = (0..10_000)
            .map(|_| Backoff::REFRESH.wait(4, &e).as_secs_f64() / 8.0)
            .collect();
        waits.sort_by(f64::total_cmp);
        let n = 10_000.0;
        let gap = waits
            .iter()
            .zip(0_u32..)
            .map(|(w, i)| {
                (w - f64::from(i) / n)
                    .abs()
                    .max((w - f64::from(i + 1) / n).abs())
            })
            .fold(0.0, f64::max);
        assert!(gap < 0.0163, "KS distance {gap}");
    }
}
