//! How fast grants are refreshed: budgets per provider and auth config, how far ahead a backlog is begun, and
//! how much of the traffic may be retries. Pure, so that the scheduler, the worker and the simulation of a day
//! share every line.

use std::{collections::HashMap, time::Duration};

use crate::{AuthConfigId, Timestamp};

/// Refreshes a second, of all workers together; 0 for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// At one provider.
    pub provider: u32,
    /// With one OAuth client.
    pub auth_config: u32,
}

/// Shares out one tick of the scheduler: what is over a budget waits for a time of its own, so that nothing is
/// looked at twice in vain. Each tick's allowance follows from its number, so that any process may make any
/// tick and none keeps a state.
#[derive(Debug)]
pub struct Pacer {
    budgets: Budgets,
    period: Duration,
    tick: u64,
    providers: HashMap<String, Use>,
    auth_configs: HashMap<AuthConfigId, Use>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    sent: u64,
    waiting: u64,
}

impl Pacer {
    /// The pacer of the tick with this number.
    pub fn new(budgets: Budgets, period: Duration, tick: u64) -> Self {
        Self {
            budgets,
            period,
            tick,
            providers: HashMap::new(),
            auth_configs: HashMap::new(),
        }
    }

    /// May one more refresh go out in this tick?
    ///
    /// # Errors
    /// How long it waits, with those before it.
    pub fn admit(&mut self, provider: &str, auth_config: AuthConfigId) -> Result<(), Duration> {
        let most_there = allowance(self.budgets.provider, self.period, self.tick);
        let most_by_it = allowance(self.budgets.auth_config, self.period, self.tick);
        if !self.providers.contains_key(provider) {
            self.providers.insert(provider.to_owned(), Use::default());
        }
        let by_it = self.auth_configs.entry(auth_config).or_default();
        let Some(there) = self.providers.get_mut(provider) else {
            return Ok(());
        };
        if there.sent < most_there && by_it.sent < most_by_it {
            there.sent += 1;
            by_it.sent += 1;
            return Ok(());
        }
        let mut wait = Duration::ZERO;
        if by_it.sent >= most_by_it {
            by_it.waiting += 1;
            wait = turn(by_it.waiting, self.budgets.auth_config);
        }
        if there.sent >= most_there {
            there.waiting += 1;
            wait = wait.max(turn(there.waiting, self.budgets.provider));
        }
        Err(wait.max(self.period))
    }

    /// How much of its budget each provider used in this tick, 1 being all of it. Nothing without a budget.
    pub fn used(&self) -> impl Iterator<Item = (&str, f64)> {
        let most = allowance(self.budgets.provider, self.period, self.tick);
        let bounded = self.budgets.provider > 0 && most > 0;
        self.providers
            .iter()
            .filter(move |_| bounded)
            .map(move |(provider, used)| (provider.as_str(), ratio(used.sent, most)))
    }
}

/// How many refreshes this tick may send at a rate: over any number of ticks, the rate and no more than one.
fn allowance(per_second: u32, period: Duration, tick: u64) -> u64 {
    if per_second == 0 {
        return u64::MAX;
    }
    let upto = |ticks: u128| ticks * u128::from(per_second) * period.as_micros() / 1_000_000;
    let tick = u128::from(tick);
    u64::try_from(upto(tick + 1) - upto(tick)).unwrap_or(u64::MAX)
}

/// When the n-th that waits has its turn.
fn turn(waiting: u64, per_second: u32) -> Duration {
    let micros = u128::from(waiting) * 1_000_000 / u128::from(per_second.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The order of dispatch: what ends first goes first, and what never ends by itself last.
pub fn urgency(
    expires_at: Option<Timestamp>,
    due_at: Timestamp,
) -> (bool, Option<Timestamp>, Timestamp) {
    (expires_at.is_none(), expires_at, due_at)
}

/// How far ahead the scheduler looks for a backlog, in minutes: each step at most half as far again as the one
/// before, so that [`FILLED`] leaves no gap between them.
pub const HORIZONS: [u32; 15] = [1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94, 141, 211, 316];
/// The share of what the budget makes by a horizon from which what is due by then counts as a backlog: the
/// steps between horizons, and room for what fails.
const FILLED: f64 = 0.6;

/// How many of a provider's coming refreshes are to be begun now, for the next `period`: all that the budget
/// makes, if it might not make what is coming in time by waiting for their turn. `due_within` counts those due
/// within each of [`HORIZONS`].
pub fn pulled_ahead(due_within: &[u64; HORIZONS.len()], per_second: u32, period: Duration) -> u64 {
    let is_late = per_second > 0
        && HORIZONS.iter().zip(due_within).any(|(minutes, due)| {
            ratio(*due, 1) > FILLED * f64::from(per_second) * f64::from(*minutes) * 60.0
        });
    if !is_late {
        return 0;
    }
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    u64::from(per_second).saturating_mul(millis) / 1000
}

/// How much of the traffic to one provider may be retries (`reliability.md` B6).
pub const RETRY_SHARE: f64 = 0.1;
/// Retries that may go out a second however little else does, so that a provider with few grants heals.
const RETRIES_PER_SECOND: f64 = 0.2;
/// Retries that may be saved up.
const RETRIES_SAVED: f64 = 20.0;

/// The retry budget of one provider: every first attempt pays in a tenth of a retry. When a provider fails
/// for all, its retries do not add to its trouble.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    saved: f64,
    at: Duration,
}

impl RetryBudget {
    /// A full one.
    pub fn new(now: Duration) -> Self {
        Self {
            saved: RETRIES_SAVED,
            at: now,
        }
    }

    /// A first attempt goes out.
    pub fn first(&mut self) {
        self.save(RETRY_SHARE);
    }

    /// May a retry go out at `now` (monotonic)?
    pub fn retry(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.save(passed * RETRIES_PER_SECOND);
        let may = self.saved >= 1.0;
        if may {
            self.saved -= 1.0;
        }
        may
    }

    fn save(&mut self, more: f64) {
        self.saved = (self.saved + more).min(RETRIES_SAVED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    fn config(n: u128) -> AuthConfigId {
        AuthConfigId::from_u128(n)
    }

    #[test]
    fn ticks_add_up_to_the_rate() {
        for rate in [1, 3, 7, 100, 1001] {
            let sent: u64 = (1000..1040).map(|tick| allowance(rate, TICK, tick)).sum();
            assert_eq!(sent, u64::from(rate) * 10, "{rate} a second for 10 s");
        }
        assert_eq!(allowance(0, TICK, 7), u64::MAX);
    }

    #[test]
    fn what_is_over_waits_its_turn() {
        let budgets = Budgets {
            provider: 40,
            auth_config: 20,
        };
        let mut pacer = Pacer::new(budgets, TICK, 0);
        let sent = (0..30)
            .filter(|_| pacer.admit("a", config(1)).is_ok())
            .count();
        assert_eq!(sent, 5, "one client has 20 a second");
        let sent = (0..30)
            .filter(|_| pacer.admit("a", config(2)).is_ok())
            .count();
        assert_eq!(sent, 5, "and its provider 40");
        let (provider, used) = pacer.used().next().unwrap();
        assert_eq!((provider, used), ("a", 1.0));
        // Another provider is not held back.
        assert!(pacer.admit("b", config(3)).is_ok());
        // The 26th that waits for its client comes after 1.3 s.
        assert_eq!(
            pacer.admit("a", config(1)),
            Err(Duration::from_millis(1300))
        );
    }

    #[test]
    fn a_backlog_is_begun_ahead() {
        let minute = Duration::from_secs(60);
        // 100 a second make 54,000 in nine minutes; six tenths of that are begun at once.
        let mut within = [0; HORIZONS.len()];
        within[5..].fill(32_400);
        assert_eq!(pulled_ahead(&within, 100, minute), 0);
        within[5..].fill(32_401);
        assert_eq!(pulled_ahead(&within, 100, minute), 6000);
        assert_eq!(pulled_ahead(&[u64::MAX; HORIZONS.len()], 0, minute), 0);
        for pair in HORIZONS.windows(2) {
            let step = f64::from(pair[0]) / f64::from(pair[1]);
            assert!(step >= 0.5 && (pair[0] < 3 || step > FILLED), "{pair:?}");
        }
    }

    #[test]
    fn retries_are_a_tenth_of_the_traffic() {
        let at = Duration::from_secs(100);
        let mut budget = RetryBudget::new(at);
        assert_eq!((0..100).filter(|_| budget.retry(at)).count(), 20);
        let mut made = 0;
        for _ in 0..1000 {
            budget.first();
            made += usize::from(budget.retry(at));
        }
        assert!((90..=100).contains(&made), "{made}");
        // Without any traffic, one in five seconds.
        let later = at + Duration::from_secs(50);
        let made = (0..100).filter(|_| budget.retry(later)).count();
        assert!((10..=11).contains(&made), "{made}");
    }
}
