//! What every implementation of [`CallLimits`] must do, as functions of assertions, so that one machine and a fleet
//! limit alike.

use std::{cell::Cell, sync::Arc, time::Duration};

use latchkey_domain::{AuthConfigId, ConnectionId, PartnerId, Timestamp, plan::Plan};

use crate::{Allowance, BudgetKey, CallLimits, PaceKey, Permit, Refused, Wanted};

const PARTNER: PartnerId = PartnerId::from_u128(1);
const OTHER: PartnerId = PartnerId::from_u128(2);
/// When a subject's time begins.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Limits under test, fresh, with the means to let their time pass.
pub struct Subject {
    limits: Arc<dyn CallLimits>,
    advance: Box<dyn Fn(Duration)>,
    now: Cell<Timestamp>,
}

impl Subject {
    /// Limits that know no partner and no budget, whose time is [`START`], and what lets time pass for them.
    pub fn new(limits: Arc<dyn CallLimits>, advance: impl Fn(Duration) + 'static) -> Self {
        Self {
            limits,
            advance: Box::new(advance),
            now: Cell::new(START),
        }
    }

    fn advance(&self, span: Duration) {
        (self.advance)(span);
        self.now.set(self.now.get() + span);
    }

    fn advance_to(&self, at: Timestamp) {
        self.advance(self.now.get().until(at));
    }

    async fn take(
        &self,
        plan: &Plan,
        published: &[(PaceKey, Allowance)],
    ) -> Result<Permit, Refused> {
        let wanted = Wanted {
            partner: PARTNER,
            plan,
            heard: &[user(1), app()],
            published,
            now: self.now.get(),
        };
        self.limits.take(wanted).await
    }

    /// How long the provider makes a call wait, for a partner whose plan allows it.
    async fn provider_wait(&self, published: &[(PaceKey, Allowance)]) -> Option<Duration> {
        match self.take(&plan(1_000_000, None), published).await {
            Ok(_) => None,
            Err(Refused::Provider(wait)) => Some(wait),
            Err(Refused::Plan(permit)) => panic!("{permit:?}"),
        }
    }

    async fn check(&self, partner: PartnerId, plan: &Plan) -> Permit {
        self.limits.take_permit(partner, plan, self.now.get()).await
    }
}

/// Panics unless the limits do what [`CallLimits`] says. `fresh` makes limits that know nobody.
pub async fn call_limits(fresh: impl AsyncFn() -> Subject) {
    a_burst_then_the_rate(&fresh().await).await;
    no_window_holds_more_than_rate_and_burst(&fresh().await).await;
    a_refused_call_says_when_to_come_back(&fresh().await).await;
    looking_takes_nothing(&fresh().await).await;
    partners_do_not_feel_each_other(&fresh().await).await;
    the_burst_is_a_minute_unless_the_plan_says(&fresh().await).await;
    a_changed_plan_counts_at_once(&fresh().await).await;
    a_plan_without_calls_allows_none(&fresh().await).await;
    turns_follow_each_other_at_the_rate(&fresh().await).await;
    no_span_holds_more_than_a_budget(&fresh().await).await;
    a_refusal_takes_nothing(&fresh().await).await;
    what_was_called_spent_rests(&fresh().await).await;
    neither_is_taken_without_the_other(&fresh().await).await;
}

fn plan(calls_per_minute: u32, burst_calls: Option<u32>) -> Plan {
    Plan {
        included_calls_per_month: None,
        calls_per_minute,
        burst_calls,
        overage: None,
    }
}

/// How many calls are allowed at once now.
async fn drain(subject: &Subject, partner: PartnerId, plan: &Plan) -> u32 {
    let mut allowed = 0;
    while subject.check(partner, plan).await.allowed {
        allowed += 1;
        assert!(allowed <= 10 * plan.burst(), "a bucket without a bottom");
    }
    allowed
}

async fn a_burst_then_the_rate(subject: &Subject) {
    let plan = plan(120, Some(5));
    for left in (0..5).rev() {
        let permit = subject.check(PARTNER, &plan).await;
        assert!(permit.allowed);
        assert_eq!((permit.limit, permit.remaining), (120, left));
        assert_eq!(permit.retry_after, Duration::ZERO);
    }
    assert!(!subject.check(PARTNER, &plan).await.allowed);
    // 120 a minute is one each half second.
    for _ in 0..10 {
        subject.advance(Duration::from_millis(500));
        assert_eq!(drain(subject, PARTNER, &plan).await, 1);
    }
    // What is not used is kept, up to the burst.
    subject.advance(Duration::from_millis(1500));
    assert_eq!(drain(subject, PARTNER, &plan).await, 3);
    subject.advance(Duration::from_secs(3600));
    assert_eq!(drain(subject, PARTNER, &plan).await, 5);
}

async fn no_window_holds_more_than_rate_and_burst(subject: &Subject) {
    // A rate that does not divide a minute, tried as hard as possible with pauses of all lengths.
    let plan = plan(70, Some(9));
    let mut now = Duration::ZERO;
    let mut allowed_at = Vec::new();
    for step in 0..1500_u64 {
        let tries = if step % 7 == 0 { 20 } else { 1 };
        for _ in 0..tries {
            if subject.check(PARTNER, &plan).await.allowed {
                allowed_at.push(now);
            }
        }
        let pause = Duration::from_millis(if step % 101 == 0 {
            20_000
        } else {
            step * 37 % 900
        });
        subject.advance(pause);
        now += pause;
    }
    for (first, start) in allowed_at.iter().enumerate() {
        for (count, end) in (1_u32..).zip(&allowed_at[first..]) {
            let window = end.saturating_sub(*start).as_secs_f64();
            let most = f64::from(plan.burst()) + window * f64::from(plan.calls_per_minute) / 60.0;
            assert!(
                f64::from(count) <= most + 1e-6,
                "{count} calls in {window} s"
            );
        }
    }
    // And it is no stricter than that: whoever always asks gets the rate.
    let used = u32::try_from(allowed_at.len()).unwrap_or(u32::MAX);
    let whole = now.as_secs_f64() * f64::from(plan.calls_per_minute) / 60.0;
    assert!(f64::from(used) > whole * 0.8, "{used} calls of {whole}");
}

async fn a_refused_call_says_when_to_come_back(subject: &Subject) {
    let plan = plan(20, Some(2));
    drain(subject, PARTNER, &plan).await;
    subject.advance(Duration::from_millis(800));
    let refused = subject.check(PARTNER, &plan).await;
    assert_eq!((refused.limit, refused.remaining), (20, 0));
    let off = refused.retry_after.abs_diff(Duration::from_millis(2200));
    assert!(off <= Duration::from_millis(1), "{refused:?}");
    assert_eq!(refused.retry_after_secs(), 3);
    // Being refused, however often, costs nothing.
    for _ in 0..100 {
        assert!(!subject.check(PARTNER, &plan).await.allowed);
    }
    subject.advance(refused.retry_after.saturating_sub(Duration::from_millis(2)));
    assert!(!subject.check(PARTNER, &plan).await.allowed);
    subject.advance(Duration::from_millis(3));
    assert!(subject.check(PARTNER, &plan).await.allowed);
}

async fn looking_takes_nothing(subject: &Subject) {
    let plan = plan(60, Some(3));
    for left in (0..=3).rev() {
        for _ in 0..5 {
            let seen = subject.limits.peek(PARTNER, &plan).await;
            assert_eq!(
                (seen.allowed, seen.limit, seen.remaining),
                (left > 0, 60, left)
            );
            assert_eq!(seen.retry_after.is_zero(), left > 0);
        }
        assert_eq!(subject.check(PARTNER, &plan).await.allowed, left > 0);
    }
}

async fn partners_do_not_feel_each_other(subject: &Subject) {
    let plan = plan(60, Some(4));
    assert_eq!(drain(subject, PARTNER, &plan).await, 4);
    assert_eq!(subject.limits.peek(OTHER, &plan).await.remaining, 4);
    assert_eq!(drain(subject, OTHER, &plan).await, 4);
}

async fn the_burst_is_a_minute_unless_the_plan_says(subject: &Subject) {
    assert_eq!(drain(subject, PARTNER, &plan(30, None)).await, 30);
    assert_eq!(drain(subject, OTHER, &plan(30, Some(1))).await, 1);
}

async fn a_changed_plan_counts_at_once(subject: &Subject) {
    // What was used stays used: changing plans is no way to a second burst.
    let (small, large) = (plan(60, Some(10)), plan(600, Some(100)));
    for _ in 0..4 {
        assert!(subject.check(PARTNER, &small).await.allowed);
    }
    assert_eq!(subject.limits.peek(PARTNER, &large).await.remaining, 96);
    assert_eq!(drain(subject, PARTNER, &large).await, 96);
    assert!(!subject.check(PARTNER, &small).await.allowed);
    subject.advance(Duration::from_secs(3600));
    assert_eq!(drain(subject, PARTNER, &small).await, 10);
}

async fn a_plan_without_calls_allows_none(subject: &Subject) {
    let refused = subject.check(PARTNER, &plan(0, None)).await;
    assert_eq!(
        (refused.allowed, refused.limit, refused.remaining),
        (false, 0, 0)
    );
    assert!(refused.retry_after > Duration::ZERO);
    assert!(!subject.limits.peek(PARTNER, &plan(0, None)).await.allowed);
}

async fn turns_follow_each_other_at_the_rate(subject: &Subject) {
    let plan = plan(30, Some(1));
    let turn = async |partner| {
        let turn = subject.limits.turn(partner, &plan).await;
        (turn.permit.allowed, turn.wait.as_secs())
    };
    // One may go at once, the others one in two seconds each.
    for expected in [0, 2, 4, 6] {
        assert_eq!(turn(PARTNER).await, (true, expected));
    }
    assert_eq!(turn(OTHER).await, (true, 0));
    // What passed meanwhile is not made up for.
    subject.advance(Duration::from_secs(100));
    assert_eq!(turn(PARTNER).await, (true, 0));
    // A turn comes no sooner than a permit.
    subject.advance(Duration::from_secs(100));
    assert!(subject.check(PARTNER, &plan).await.allowed);
    assert_eq!(turn(PARTNER).await, (false, 2));
}

const fn user(n: u128) -> BudgetKey {
    BudgetKey::User(ConnectionId::from_u128(n))
}

const fn app() -> BudgetKey {
    BudgetKey::App(AuthConfigId::from_u128(1))
}

fn budget(whose: BudgetKey, nth: usize, requests: u64, per_s: u64) -> (PaceKey, Allowance) {
    let key = PaceKey {
        whose,
        nth,
        endpoint: None,
    };
    let per = Duration::from_secs(per_s);
    (key, Allowance { requests, per })
}

async fn no_span_holds_more_than_a_budget(subject: &Subject) {
    let asked = [budget(app(), 0, 20, 10)];
    let mut sent = Vec::new();
    for _ in 0..1_000 {
        if subject.provider_wait(&asked).await.is_none() {
            sent.push(subject.now.get());
        }
        subject.advance(Duration::from_millis(50));
    }
    for (nth, first) in sent.iter().enumerate() {
        let within = sent[nth..].iter();
        let within = within.take_while(|at| first.until(**at) < Duration::from_secs(10));
        assert!(within.count() <= 20, "from {first}");
    }
    // Fifty seconds of two a second; three quarters are earned, and what goes at once comes once.
    assert!(sent.len() >= 70, "{}", sent.len());
}

async fn a_refusal_takes_nothing(subject: &Subject) {
    let (slow, fast) = (budget(user(1), 0, 1, 60), budget(user(1), 1, 8, 1));
    let both = [slow.clone(), fast.clone()];
    assert_eq!(subject.provider_wait(&both).await, None);
    let minute = Duration::from_secs(60);
    assert_eq!(subject.provider_wait(&both).await, Some(minute));
    // Two at once, and one of them went with the slow one.
    let once_more = subject.provider_wait(std::slice::from_ref(&fast)).await;
    assert_eq!(once_more, None);
    assert!(subject.provider_wait(&[fast]).await.is_some());
    let other = [budget(user(2), 0, 1, 60)];
    assert_eq!(subject.provider_wait(&other).await, None, "another's");
    let mut endpoint = slow;
    endpoint.0.endpoint = Some("send".to_owned());
    let own = subject.provider_wait(&[endpoint]).await;
    assert_eq!(own, None, "an endpoint's own");
    subject.advance(minute);
    assert_eq!(subject.provider_wait(&both).await, None);
}

async fn what_was_called_spent_rests(subject: &Subject) {
    let now = subject.now.get();
    let after = |secs| now + Duration::from_secs(secs);
    let asked = [budget(user(1), 0, 1, 60)];
    subject.limits.spent(user(2), after(30), now).await;
    subject.limits.spent(app(), after(30), now).await;
    let wait = subject.provider_wait(&asked).await;
    assert_eq!(wait, Some(Duration::from_secs(30)));
    subject.limits.spent(user(1), after(40), now).await;
    let wait = subject.provider_wait(&[]).await;
    assert_eq!(wait, Some(Duration::from_secs(40)));
    // It took nothing meanwhile.
    subject.advance_to(after(40));
    assert_eq!(subject.provider_wait(&asked).await, None);
    assert!(subject.provider_wait(&asked).await.is_some());
}

async fn neither_is_taken_without_the_other(subject: &Subject) {
    let (few, asked) = (plan(1, Some(2)), [budget(app(), 0, 2, 3600)]);
    let taken = subject.take(&few, &asked).await;
    assert!(matches!(taken, Ok(permit) if permit.remaining == 1));
    // The provider's is used up: the permit stays.
    assert!(matches!(
        subject.take(&few, &asked).await,
        Err(Refused::Provider(_))
    ));
    assert_eq!(subject.limits.peek(PARTNER, &few).await.remaining, 1);
    assert!(subject.check(PARTNER, &few).await.allowed);
    // The plan's are used up: the provider's budget stays.
    let fresh = [budget(user(1), 1, 2, 3600)];
    let refused = subject.take(&few, &fresh).await;
    assert!(matches!(refused, Err(Refused::Plan(permit)) if !permit.allowed));
    assert_eq!(subject.provider_wait(&fresh).await, None);
}
