//! Fair shares: what waits is taken partner by partner, so that one partner's backlog does not delay
//! another's. Each partner with something ready gets an equal share of the limit; what is left over goes
//! to those who have more, on the next run.

/// How many each of so many partners may have, the one that has waited longest first.
pub(crate) fn shares(partners: usize, limit: u32) -> impl Iterator<Item = u32> {
    let count = u32::try_from(partners).unwrap_or(u32::MAX).max(1);
    // The first ones get what does not divide.
    let (share, rest) = (limit / count, limit % count);
    (0..count).map(move |n| share + u32::from(n < rest))
}
