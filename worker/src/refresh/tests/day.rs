//! A day in the life of 100,000 grants, in virtual time and from a seed: providers that fail, limit and hang.
//! The due times, budgets, order, classes, back-offs and breakers are the production functions themselves; what
//! is simulated is the clock, the provider, and the store's index of who is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use latchkey_domain::{
    AuthConfigId, GrantId, SeededEntropy, Timestamp,
    backoff::Backoff,
    entropy,
    pacing::{Budgets, HORIZONS, Pacer, pulled_ahead, urgency},
    refresh::{
        self, COOL_DOWN, ClaimDecision, Class, Closed, Ended, GrantView, Need, RotationRules,
        Timings, due_at, may_claim,
    },
    states::GrantState,
};
use latchkey_limits::{BreakerRules, Breakers};
use latchkey_oauth::{
    AllowedHosts, HttpAnswer, HttpRequest, OauthSpec, TokenSet,
    answer::{Asked, parse_tokens},
};

use super::super::health::{Health, Path};

const SEED: u64 = 20_261_121;
const GRANTS: usize = 100_000;
const DAY: u32 = 24 * 3600;
const TICK: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// How often coming refreshes are counted, in ticks.
const SWEEP: u32 = 15;

/// What a provider answers.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    Fine,
    /// 503.
    Fails,
    /// 429 with `Retry-After: 30`.
    Limits,
    /// No answer.
    Hangs,
}

struct Provider {
    name: &'static str,
    life: u64,
    rules: RotationRules,
    /// From second to second of the day.
    trouble: (u32, u32, Weather),
    path: Path,
    auth_config: AuthConfigId,
    /// Who is to be looked at when.
    waiting: BTreeSet<(Timestamp, usize)>,
    /// How many of them in each minute.
    minutes: BTreeMap<i64, u64>,
}

impl Provider {
    fn new(name: &'static str, life: u64, rules: RotationRules, n: u128) -> Self {
        let auth_config = AuthConfigId::from_u128(n);
        let url = format!("https://{name}.example/token");
        let request = Request::post(&url).body(Bytes::new()).unwrap();
        let request = HttpRequest {
            request,
            hosts: AllowedHosts::of([&url.parse().unwrap()]),
        };
        Self {
            name,
            life,
            rules,
            trouble: (0, 0, Weather::Fine),
            path: Path::of(name, auth_config, &request),
            auth_config,
            waiting: BTreeSet::new(),
            minutes: BTreeMap::new(),
        }
    }

    fn weather(&self, second: u32) -> Weather {
        let (from, to, weather) = self.trouble;
        if (from..to).contains(&second) {
            weather
        } else {
            Weather::Fine
        }
    }

    fn add(&mut self, at: Timestamp, grant: usize) {
        self.waiting.insert((at, grant));
        *self.minutes.entry(at.as_secs() / 60).or_default() += 1;
    }

    fn take(&mut self, entry: (Timestamp, usize)) {
        self.waiting.remove(&entry);
        let minute = entry.0.as_secs() / 60;
        let left = self.minutes.get(&minute).map_or(0, |count| count - 1);
        if left == 0 {
            self.minutes.remove(&minute);
        } else {
            self.minutes.insert(minute, left);
        }
    }

    /// Those due by then.
    fn due(&mut self, now: Timestamp) -> Vec<usize> {
        let due: Vec<_> = self.waiting.range(..=(now, usize::MAX)).copied().collect();
        for entry in &due {
            self.take(*entry);
        }
        due.into_iter().map(|(_, grant)| grant).collect()
    }

    /// How many are due within each horizon, to the minute.
    fn within(&self, now: Timestamp) -> [u64; HORIZONS.len()] {
        let minute = now.as_secs() / 60;
        let mut coming = self.minutes.iter().peekable();
        let mut sum = 0;
        HORIZONS.map(|minutes| {
            let last = minute + i64::from(minutes);
            while let Some((_, count)) = coming.next_if(|(at, _)| **at < last) {
                sum += count;
            }
            sum
        })
    }
}

struct Grant {
    id: GrantId,
    provider: usize,
    view: GrantView,
    due_at: Timestamp,
}

#[derive(Debug, Default)]
struct Seen {
    refreshed: u64,
    requests: u64,
    /// Landed late although no attempt had failed.
    missed: u64,
    /// Most requests to one provider in one tick.
    peak: u64,
}

struct Day {
    providers: Vec<Provider>,
    grants: Vec<Grant>,
    budgets: Budgets,
    timings: Timings,
    health: Health,
    entropy: SeededEntropy,
    seen: Seen,
}

impl Day {
    fn new(providers: Vec<Provider>, budgets: Budgets) -> Self {
        let breakers = Breakers::new(BreakerRules::default());
        Self {
            providers,
            grants: Vec::with_capacity(GRANTS),
            budgets,
            timings: Timings::default(),
            health: Health::new(std::sync::Arc::new(breakers)),
            entropy: SeededEntropy::new(SEED),
            seen: Seen::default(),
        }
    }

    /// A grant whose token was issued at `issued`.
    fn add(&mut self, provider: usize, issued: Timestamp) {
        let n = self.grants.len();
        let id = GrantId::from_u128(u128::from_le_bytes(entropy::bytes(&self.entropy)));
        let mut grant = Grant {
            id,
            provider,
            view: GrantView {
                state: GrantState::Active,
                version: 0,
                open: None,
                in_doubt: false,
                closed_at: None,
                first_claim_at: None,
                retry_at: None,
                failures: 0,
                expires_at: None,
            },
            due_at: issued,
        };
        grant.renew(issued, self.providers[provider].life);
        self.providers[provider].add(grant.due_at, n);
        self.grants.push(grant);
    }

    fn run(&mut self, ticks: u32) {
        for second in 0..ticks {
            let now = START + TICK * second;
            if second % SWEEP == 0 {
                self.pull_ahead(now);
            }
            self.tick(second, now);
        }
    }

    /// What `refresh_ahead` does.
    fn pull_ahead(&mut self, now: Timestamp) {
        for provider in &mut self.providers {
            let period = TICK * SWEEP;
            let ahead = pulled_ahead(&provider.within(now), self.budgets.provider, period);
            let coming = provider.waiting.range((now, usize::MAX)..);
            let wells = coming.filter(|(_, grant)| {
                let Grant { view, due_at, .. } = &self.grants[*grant];
                view.failures == 0 && !view.in_doubt && *due_at > now
            });
            let ahead = usize::try_from(ahead).unwrap();
            let pulled: Vec<_> = wells.take(ahead).copied().collect();
            for entry in pulled {
                provider.take(entry);
                provider.add(now, entry.1);
                self.grants[entry.1].due_at = now;
            }
        }
    }

    /// What `refresh_due` and a worker do.
    fn tick(&mut self, second: u32, now: Timestamp) {
        let mut pacer = Pacer::new(self.budgets, TICK, u64::from(second));
        for at in 0..self.providers.len() {
            let mut due = self.providers[at].due(now);
            due.sort_by_key(|n| {
                let grant = &self.grants[*n];
                (urgency(grant.view.expires_at, grant.due_at), grant.id)
            });
            let mut sent = 0;
            for n in due {
                let provider = &self.providers[at];
                match pacer.admit(provider.name, provider.auth_config) {
                    Ok(()) => sent += u64::from(self.attempt(n, second, now)),
                    Err(wait) => self.providers[at].add(now + wait, n),
                }
            }
            self.seen.requests += sent;
            self.seen.peak = self.seen.peak.max(sent);
        }
    }

    /// One attempt; whether a request went out.
    fn attempt(&mut self, n: usize, second: u32, now: Timestamp) -> bool {
        let monotonic = TICK * second + Duration::from_secs(1000);
        let (grant, jitter) = (
            &self.grants[n],
            COOL_DOWN.mul_f64(entropy::fraction(&self.entropy)),
        );
        let at = grant.provider;
        let provider = &self.providers[at];
        let decided = may_claim(&grant.view, &provider.rules, &self.timings, now, Need::Due);
        let put_off = match decided {
            ClaimDecision::Claim { .. }
                if !self
                    .health
                    .may_try(provider.name, grant.view.failures, monotonic) =>
            {
                Some(now + jitter)
            }
            ClaimDecision::Claim { .. } => {
                let blocked = self.health.blocked(&provider.path, monotonic);
                blocked.map(|wait| now + wait + jitter)
            }
            ClaimDecision::Later(later) => Some(later),
            other => panic!("seed {SEED}: {other:?}"),
        };
        if let Some(later) = put_off {
            if self.health.blocked(&provider.path, monotonic).is_some() {
                self.health.trouble(provider.name, monotonic);
            }
            self.providers[at].add(later.max(now + TICK), n);
            return false;
        }
        let passage = self.health.pass(&provider.path, monotonic).unwrap();
        let weather = provider.weather(second);
        let well = matches!(weather, Weather::Fine | Weather::Limits);
        self.health.ended(&provider.path, &passage, monotonic, well);
        if !well {
            self.health.trouble(provider.name, monotonic);
        }
        let (life, rules) = (provider.life, provider.rules);
        if weather == Weather::Fine {
            self.land(n, life, now, monotonic);
        } else {
            let (ended, class) = class_of(weather, self.grants[n].view.failures, now);
            self.close(n, ended, class, &rules, now);
        }
        let due = self.grants[n].due_at;
        self.providers[at].add(due.max(now + TICK), n);
        true
    }

    fn land(&mut self, n: usize, life: u64, now: Timestamp, monotonic: Duration) {
        let name = self.providers[self.grants[n].provider].name;
        let since = monotonic.saturating_sub(self.grants[n].due_at.until(now));
        let was_well = self.health.was_well(name, since, monotonic);
        let grant = &mut self.grants[n];
        let late = grant.view.expires_at.is_some_and(|end| end <= now);
        // As `landing.rs` counts it: late is a miss if the provider was well.
        self.seen.missed +=
            u64::from(late && was_well && grant.view.failures == 0 && !grant.view.in_doubt);
        self.seen.refreshed += 1;
        grant.renew(now, life);
    }

    fn close(
        &mut self,
        n: usize,
        ended: Ended,
        class: Class,
        rules: &RotationRules,
        now: Timestamp,
    ) {
        let grant = &mut self.grants[n];
        let closing = refresh::close(ended, class, grant.view.in_doubt);
        let failures = grant.view.failures + u32::from(closing.counts_failure);
        let first_claim_at = grant.view.first_claim_at.unwrap_or(now);
        let closed = Closed {
            grant: &grant.view,
            first_claim_at,
            closing,
            class,
            jittered: Backoff::REFRESH.wait(failures, &self.entropy),
        };
        let (retry_at, due) = closed.next(rules, &self.timings, now);
        grant.view.in_doubt = closing.in_doubt;
        grant.view.closed_at = closing
            .closed_in_doubt
            .then_some(now)
            .or(grant.view.closed_at);
        grant.view.first_claim_at = closing.in_doubt.then_some(first_claim_at);
        (grant.view.retry_at, grant.view.failures) = (retry_at, failures);
        grant.due_at = due.expect("nothing here kills a grant");
    }
}

impl Grant {
    /// New tokens.
    fn renew(&mut self, now: Timestamp, life: u64) {
        let end = now + Duration::from_secs(life);
        self.view = GrantView {
            version: self.view.version + 1,
            expires_at: Some(end),
            in_doubt: false,
            closed_at: None,
            first_claim_at: None,
            retry_at: None,
            failures: 0,
            ..self.view
        };
        self.due_at = due_at(self.id, self.view.version, now, end);
    }
}

/// What the protocol makes of an answer that brings no tokens.
fn class_of(weather: Weather, failures: u32, now: Timestamp) -> (Ended, Class) {
    let (status, wait) = match weather {
        Weather::Limits => (StatusCode::TOO_MANY_REQUESTS, Some("30")),
        Weather::Hangs => return (Ended::Unknown, Class::Transient),
        Weather::Fails | Weather::Fine => (StatusCode::SERVICE_UNAVAILABLE, None),
    };
    let mut headers = HeaderMap::new();
    if let Some(wait) = wait {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(wait));
    }
    let answer = HttpAnswer {
        status,
        headers,
        body: Bytes::new(),
        sent_bytes: 0,
    };
    let spec: OauthSpec = serde_json::from_value(serde_json::json!({
        "authorize": { "url": "https://a.example/a" },
        "token": { "url": "https://a.example/t" },
    }))
    .unwrap();
    let held = TokenSet {
        access: "a".into(),
        refresh: Some("r".into()),
        token_type: "Bearer".into(),
        scopes: Vec::new(),
        expires_at: None,
        refresh_expires_at: None,
        issued_at: now,
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        extra: serde_json::Map::new(),
        id_token: None,
    };
    let refused = parse_tokens(&spec, &answer, Asked::Refresh(&held), now).unwrap_err();
    (refused.ended, refused.class_after(failures))
}

fn rules(rotates: bool) -> RotationRules {
    RotationRules {
        rotates,
        grace: Duration::ZERO,
        reuse_beyond_grant: false,
    }
}

#[test]
fn a_day_with_outages_misses_nothing_and_keeps_to_the_budgets() {
    let mut providers = vec![
        Provider::new("steady", 3600, rules(true), 1),
        Provider::new("fails", 3600, rules(false), 2),
        Provider::new("limits", 24 * 3600, rules(true), 3),
        Provider::new("hangs", 8 * 3600, rules(true), 4),
    ];
    let hour = 3600;
    providers[1].trouble = (2 * hour, 2 * hour + 1800, Weather::Fails);
    providers[2].trouble = (5 * hour, 5 * hour + 600, Weather::Limits);
    providers[3].trouble = (9 * hour, 10 * hour, Weather::Hangs);
    // A tenth of the grants on a tenth of the budget takes seconds in a debug build, all of them minutes.
    let full = std::env::var_os("LATCHKEY_TEST_FULL").is_some();
    let (grants, per_second) = if full { (GRANTS, 40) } else { (GRANTS / 10, 4) };
    let budgets = Budgets {
        provider: per_second,
        auth_config: per_second,
    };
    let mut day = Day::new(providers, budgets);
    for n in 0..grants {
        let at = match n % 20 {
            0 => 0,
            1 => 1,
            2..=10 => 2,
            _ => 3,
        };
        let life = day.providers[at].life;
        // Connected at any time before: as old as they may be without being due.
        let age = u64::from_le_bytes(entropy::bytes(&day.entropy)) % (life * 3 / 4);
        day.add(at, START.minus(Duration::from_secs(age)));
    }
    day.run(DAY);
    let seen = &day.seen;
    assert_eq!(seen.missed, 0, "seed {SEED}: {seen:?}");
    assert!(seen.peak <= u64::from(per_second), "seed {SEED}: {seen:?}");
    // A tenth of them some 28 times, 45 % some 3 times, 45 % once or twice.
    assert!(seen.refreshed > 4 * grants as u64, "seed {SEED}: {seen:?}");
    // Failures and retries together stay a small part of the traffic.
    assert!(
        seen.requests < seen.refreshed * 21 / 20,
        "seed {SEED}: {seen:?}"
    );
    let end = START + TICK * DAY;
    for grant in &day.grants {
        let name = day.providers[grant.provider].name;
        assert!(!grant.view.in_doubt, "seed {SEED}: {name} in doubt");
        assert!(grant.view.token_lives(end), "seed {SEED}: {name} dead");
    }
}

#[test]
fn a_hundred_thousand_that_end_in_one_second_are_spread_within_the_budget() {
    // 100 a second: the window of 360 s would hold 36,000.
    let budgets = Budgets {
        provider: 100,
        auth_config: 0,
    };
    let mut day = Day::new(vec![Provider::new("one", 3600, rules(true), 1)], budgets);
    for _ in 0..GRANTS {
        day.add(0, START);
    }
    day.run(3600);
    let seen = &day.seen;
    assert_eq!(seen.missed, 0, "seed {SEED}: {seen:?}");
    assert!(seen.peak <= 100, "seed {SEED}: {seen:?}");
    let renewed = day.grants.iter().filter(|grant| grant.view.version > 1);
    assert_eq!(renewed.count(), GRANTS, "seed {SEED}: {seen:?}");
}
