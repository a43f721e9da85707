//! What became of each token that a dialect gave.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use latchkey_domain::Timestamp;
use latchkey_oauth::{
    OauthSpec,
    spec::{BlastRadius, Evicts, RefreshTrigger, ReuseEffect, RotationMode},
};

/// Grants, codes and tokens kept of one provider; a sandbox that has given more refuses.
const MOST: usize = 100_000;

/// Life of a code where the entry names none: what RFC 6749 §4.1.2 recommends at most.
const CODE_LIFE_S: u64 = 600;

/// Life of an access token that can be refreshed, where the entry names none: what Slack gives.
const ACCESS_LIFE_S: u64 = 43_200;

/// Who consented to what.
#[derive(Clone, Debug)]
pub(super) struct Consent {
    pub(super) client: String,
    pub(super) user: String,
    pub(super) scopes: Vec<String>,
    pub(super) kind: Option<String>,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) at: Timestamp,
}

/// What one token stands for.
#[derive(Clone, Debug)]
struct Held {
    grant: usize,
    class: String,
    generation: u32,
    is_refresh: bool,
    issued_at: Timestamp,
    ends_at: Option<Timestamp>,
    dead: bool,
}

#[derive(Debug)]
struct Grant {
    consent: Consent,
    alive: bool,
    /// The living generation of each class.
    generations: BTreeMap<String, u32>,
    /// The latest answer of each class, told again within the grace.
    last: BTreeMap<String, Issued>,
    /// The living refresh token of each class.
    refresh: BTreeMap<String, String>,
}

/// One class's new tokens.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) class: String,
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) expires_in: Option<u64>,
    pub(super) at: Timestamp,
}

/// For whom an access token speaks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) scopes: Vec<String>,
    pub(super) class: String,
}

/// All codes, grants and tokens of one provider.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    codes: HashMap<String, (Consent, bool)>,
    rows: Vec<Grant>,
    tokens: HashMap<String, Held>,
}

impl Grants {
    pub(super) fn give_code(&mut self, code: String, consent: Consent) {
        if self.codes.len() < MOST {
            self.codes.insert(code, (consent, false));
        }
    }

    /// Uses a code up; `None` if it is unknown, used or too old.
    pub(super) fn take_code(
        &mut self,
        code: &str,
        ttl_s: Option<u64>,
        now: Timestamp,
    ) -> Option<Consent> {
        let (consent, used) = self.codes.get_mut(code)?;
        let life = Duration::from_secs(ttl_s.unwrap_or(CODE_LIFE_S));
        (!std::mem::replace(used, true) && now < consent.at + life).then(|| consent.clone())
    }

    /// Makes a grant with a token of each class.
    pub(super) fn make(
        &mut self,
        spec: &OauthSpec,
        consent: Consent,
        classes: &[String],
        now: Timestamp,
        mint: &mut dyn FnMut() -> String,
    ) -> Vec<Issued> {
        if spec.lifetimes.shared_refresh_across_connections
            && let Some(id) = self.living(&consent)
        {
            return self.join(spec, id, consent, classes, now, mint);
        }
        if self.rows.len() >= MOST {
            return Vec::new();
        }
        self.evict(spec, &consent);
        let id = self.rows.len();
        self.rows.push(Grant {
            consent,
            alive: true,
            generations: BTreeMap::new(),
            last: BTreeMap::new(),
            refresh: BTreeMap::new(),
        });
        let issue = |class: &String| self.issue(spec, id, class, true, now, mint);
        classes.iter().map(issue).collect()
    }

    /// The living grant of the same user and client.
    fn living(&self, consent: &Consent) -> Option<usize> {
        let same = |grant: &Grant| {
            grant.alive
                && grant.consent.client == consent.client
                && grant.consent.user == consent.user
        };
        self.rows.iter().position(same)
    }

    /// Another connection of a grant: access tokens of its own, and the refresh token that the others hold.
    fn join(
        &mut self,
        spec: &OauthSpec,
        id: usize,
        consent: Consent,
        classes: &[String],
        now: Timestamp,
        mint: &mut dyn FnMut() -> String,
    ) -> Vec<Issued> {
        self.rows[id].consent = consent;
        let issue = |class: &String| {
            let mut issued = self.issue(spec, id, class, false, now, mint);
            issued.refresh = self.rows[id].refresh.get(class).cloned();
            issued
        };
        classes.iter().map(issue).collect()
    }

    /// A user has only so many grants; one makes room. Where the provider does not say which, it is not the
    /// oldest, which anybody would count on.
    fn evict(&mut self, spec: &OauthSpec, consent: &Consent) {
        let Some(most) = spec.lifetimes.max_live_grants else {
            return;
        };
        let same = |grant: &&mut Grant| {
            grant.alive
                && grant.consent.client == consent.client
                && grant.consent.user == consent.user
        };
        let mut living: Vec<_> = self.rows.iter_mut().filter(same).collect();
        if living.len() < most.count {
            return;
        }
        let gone = match most.evicts {
            Evicts::Oldest => living.first_mut(),
            Evicts::Any => living.iter_mut().take(2).next_back(),
        };
        if let Some(gone) = gone {
            gone.alive = false;
        }
    }

    fn issue(
        &mut self,
        spec: &OauthSpec,
        id: usize,
        class: &str,
        with_refresh: bool,
        now: Timestamp,
        mint: &mut dyn FnMut() -> String,
    ) -> Issued {
        let refreshable = is_refreshable(spec);
        let trigger = spec.refresh.trigger;
        let ends = refreshable && trigger != RefreshTrigger::On401;
        let life = spec.lifetimes.access_s.or(ends.then_some(ACCESS_LIFE_S));
        // Where the end must be asked for, it is none that anybody could have known.
        let halved = trigger == RefreshTrigger::Introspect;
        let life = life.map(|life| if halved { life / 2 } else { life });
        if spec.rotation.old_access_dies {
            let old = self
                .tokens
                .values_mut()
                .filter(|held| held.grant == id && !held.is_refresh);
            old.filter(|held| held.class == class)
                .for_each(|held| held.dead = true);
        }
        let generation = {
            let generation = self.rows[id]
                .generations
                .entry(class.to_owned())
                .or_default();
            *generation += u32::from(with_refresh);
            *generation
        };
        let held = |is_refresh: bool, ends_at| Held {
            grant: id,
            class: class.to_owned(),
            generation,
            is_refresh,
            issued_at: now,
            ends_at,
            dead: false,
        };
        let access = mint();
        let end = life.map(|life| now + Duration::from_secs(life));
        self.tokens.insert(access.clone(), held(false, end));
        let refresh = (refreshable && with_refresh).then(|| {
            let token = mint();
            let end = spec
                .lifetimes
                .refresh_s
                .map(|life| now + Duration::from_secs(life));
            self.tokens.insert(token.clone(), held(true, end));
            token
        });
        if let Some(token) = &refresh {
            self.rows[id]
                .refresh
                .insert(class.to_owned(), token.clone());
        }
        let issued = Issued {
            class: class.to_owned(),
            access,
            refresh,
            expires_in: life,
            at: now,
        };
        self.rows[id].last.insert(class.to_owned(), issued.clone());
        issued
    }

    /// Uses a refresh token: the new tokens and what was consented to; `None` if it is refused.
    pub(super) fn refresh(
        &mut self,
        spec: &OauthSpec,
        client: &str,
        token: &str,
        now: Timestamp,
        mint: &mut dyn FnMut() -> String,
    ) -> Option<(Issued, Consent)> {
        let held = self
            .tokens
            .get(token)
            .filter(|held| held.is_refresh && !held.dead)?
            .clone();
        let grant = self.rows.get(held.grant).filter(|grant| grant.alive)?;
        if grant.consent.client != client || held.ends_at.is_some_and(|end| end <= now) {
            return None;
        }
        let lifetimes = &spec.lifetimes;
        let over = |from: Timestamp, life: Option<u64>| {
            life.is_some_and(|life| now >= from + Duration::from_secs(life))
        };
        if over(held.issued_at, lifetimes.refresh_idle_s)
            || over(grant.consent.at, lifetimes.refresh_hard_s)
        {
            return None;
        }
        let consent = grant.consent.clone();
        let current = grant
            .generations
            .get(&held.class)
            .copied()
            .unwrap_or_default();
        if spec.rotation.mode.spends() && held.generation != current {
            let last = grant.last.get(&held.class)?.clone();
            let grace = Duration::from_secs(spec.rotation.grace_s);
            if held.generation + 1 == current && now < last.at + grace {
                return Some((last, consent));
            }
            self.alarm(spec, held.grant);
            return None;
        }
        let renews = spec.rotation.mode != RotationMode::None;
        let issued = self.issue(spec, held.grant, &held.class, renews, now, mint);
        if !renews && let Some(held) = self.tokens.get_mut(token) {
            held.issued_at = now;
        }
        Some((issued, consent))
    }

    /// A spent token was presented.
    fn alarm(&mut self, spec: &OauthSpec, id: usize) {
        match spec.rotation.reuse_effect {
            ReuseEffect::Error => {}
            ReuseEffect::RevokesGrant => self.rows[id].alive = false,
            ReuseEffect::RevokesBeyondGrant => self.end_around(id, BlastRadius::Account),
        }
    }

    /// For whom an access token speaks, if it works.
    pub(super) fn caller(&self, token: &str, now: Timestamp) -> Option<Caller> {
        let held = self
            .tokens
            .get(token)
            .filter(|held| !held.is_refresh && !held.dead)?;
        let grant = self.rows.get(held.grant).filter(|grant| grant.alive)?;
        if held.ends_at.is_some_and(|end| end <= now) {
            return None;
        }
        Some(Caller {
            user: grant.consent.user.clone(),
            scopes: grant.consent.scopes.clone(),
            class: held.class.clone(),
        })
    }

    /// Ends access tokens before their time, one user's or all; returns how many.
    pub(crate) fn kill_access(&mut self, user: Option<&str>) -> usize {
        let rows = &self.rows;
        let theirs = |held: &&mut Held| {
            let of = &rows[held.grant].consent.user;
            !held.is_refresh && !held.dead && user.is_none_or(|user| user == of)
        };
        let ended = self.tokens.values_mut().filter(theirs);
        ended.map(|held| held.dead = true).count()
    }

    /// When an access token of this client ends, if it works.
    pub(super) fn end_of(&self, token: &str, client: &str, now: Timestamp) -> Option<Timestamp> {
        self.caller(token, now)?;
        let held = self.tokens.get(token)?;
        let theirs = self.rows.get(held.grant)?.consent.client == client;
        held.ends_at.filter(|_| theirs)
    }

    /// Revokes a token as far as the provider says; says whether it was alive.
    pub(super) fn revoke(
        &mut self,
        token: &str,
        client: Option<&str>,
        radius: BlastRadius,
    ) -> bool {
        let Some(held) = self.tokens.get_mut(token) else {
            return false;
        };
        let id = held.grant;
        let theirs = client.is_none_or(|client| self.rows[id].consent.client == client);
        if !theirs || held.dead || !self.rows[id].alive {
            return false;
        }
        held.dead = true;
        self.end_around(id, radius);
        true
    }

    fn end_around(&mut self, id: usize, radius: BlastRadius) {
        let (client, user) = {
            let consent = &self.rows[id].consent;
            (consent.client.clone(), consent.user.clone())
        };
        for (place, grant) in self.rows.iter_mut().enumerate() {
            let reached = match radius {
                BlastRadius::Token => false,
                BlastRadius::Grant => place == id,
                BlastRadius::Account => {
                    grant.consent.client == client && grant.consent.user == user
                }
                BlastRadius::Install => grant.consent.client == client,
            };
            grant.alive &= !reached;
        }
    }

    /// How many grants are alive.
    pub(crate) fn alive(&self) -> usize {
        self.rows.iter().filter(|grant| grant.alive).count()
    }
}

/// Whether the provider gives refresh tokens: one that lets tokens end, or rotates, does.
fn is_refreshable(spec: &OauthSpec) -> bool {
    spec.lifetimes.access_s.is_some()
        || spec.rotation.mode != RotationMode::None
        || spec.refresh.trigger == RefreshTrigger::On401
}
