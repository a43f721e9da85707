//! The table of grants: what the sandbox has granted, and the rules of rotation, grace and reuse. No I/O;
//! time and settings are arguments.

use std::{collections::HashMap, sync::Arc};

use latchkey_domain::Timestamp;
use serde::Serialize;

use crate::{
    limits::MAX_GRANTS,
    settings::{Rotation, Settings},
    tokens::{AccessClaims, RefreshClaims},
};

/// Who granted what to whom.
#[derive(Clone, Debug)]
pub(crate) struct Consent {
    pub(crate) client: Arc<str>,
    pub(crate) user: Arc<str>,
    pub(crate) scope: Arc<str>,
}

/// One grant. Ended grants stay, so that their tokens are recognised.
#[derive(Debug)]
struct Grant {
    consent: Consent,
    /// Serial of the living refresh token.
    generation: u32,
    /// Serial of the latest access token.
    issue: u32,
    /// Access tokens before this serial are dead whatever their end of life.
    oldest_live_issue: u32,
    access_expires_at: Timestamp,
    /// When the living refresh token was given, or last used where it does not rotate.
    issued_at: Timestamp,
    alive: bool,
}

/// A token set to be minted.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access: AccessClaims,
    pub(crate) refresh: Option<RefreshClaims>,
    pub(crate) generation: u32,
    pub(crate) user: Arc<str>,
    pub(crate) scope: Arc<str>,
    /// Whether these are the tokens of an earlier answer, told again within the grace.
    pub(crate) again: bool,
}

/// Why a refresh is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such grant, or it belongs to another client.
    Unknown,
    /// The grant was ended.
    Ended,
    /// The refresh token's life is over.
    Expired,
    /// The token was used before and its grace is over.
    Reused,
    /// More scope than was granted.
    Scope,
}

/// A grant as admins see it: no tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrantView {
    /// Its number.
    pub grant: u32,
    /// The client that holds it.
    pub client_id: String,
    /// The user who gave it.
    pub user: String,
    /// What it allows.
    pub scope: String,
    /// Whether its tokens work.
    pub alive: bool,
    /// Serial of the living refresh token, from 1.
    pub generation: u32,
    /// When that token was issued, RFC 3339.
    pub issued_at: String,
    /// When the latest access token ends, RFC 3339.
    pub access_expires_at: String,
}

/// All grants of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    rows: Vec<Grant>,
    alive: u64,
    /// Presentations of refresh tokens that are being processed.
    presented: HashMap<RefreshClaims, u32>,
}

impl Grants {
    pub(crate) fn alive(&self) -> u64 {
        self.alive
    }

    pub(crate) fn made(&self) -> usize {
        self.rows.len()
    }

    /// Makes a grant; `None` when the table is full.
    pub(crate) fn make(
        &mut self,
        consent: Consent,
        settings: &Settings,
        now: Timestamp,
    ) -> Option<Issued> {
        if self.rows.len() >= MAX_GRANTS {
            return None;
        }
        let id = number(self.rows.len());
        let grant = Grant {
            consent,
            generation: 1,
            issue: 1,
            oldest_live_issue: 1,
            access_expires_at: now + settings.access_lifetime(),
            issued_at: now,
            alive: true,
        };
        let issued = grant.issued(id, !settings.omit_refresh_token, false);
        self.rows.push(grant);
        self.alive += 1;
        Some(issued)
    }

    /// Uses a refresh token.
    pub(crate) fn refresh(
        &mut self,
        presented: RefreshClaims,
        client: &str,
        scope: Option<&str>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Issued, Refusal> {
        let id = presented.grant;
        let grant = self
            .rows
            .get_mut(id as usize)
            .filter(|grant| *grant.consent.client == *client)
            .ok_or(Refusal::Unknown)?;
        if !grant.alive {
            return Err(Refusal::Ended);
        }
        if presented.generation != grant.generation {
            let within_grace = presented.generation + 1 == grant.generation
                && now < grant.issued_at + settings.grace();
            if within_grace {
                return Ok(grant.issued(id, true, true));
            }
            if settings.reuse_kills {
                self.end(id);
            }
            return Err(Refusal::Reused);
        }
        if settings
            .refresh_lifetime()
            .is_some_and(|life| now >= grant.issued_at + life)
        {
            return Err(Refusal::Expired);
        }
        if scope.is_some_and(|asked| !within(asked, &grant.consent.scope)) {
            return Err(Refusal::Scope);
        }
        let rotates = settings.rotation == Rotation::SingleUse;
        grant.generation += u32::from(rotates);
        grant.issue += 1;
        grant.issued_at = now;
        grant.access_expires_at = now + settings.access_lifetime();
        if settings.old_access_dies {
            grant.oldest_live_issue = grant.issue;
        }
        Ok(grant.issued(id, rotates, false))
    }

    /// The user for whom this access token works now.
    pub(crate) fn user_of(&self, access: AccessClaims, now: Timestamp) -> Option<Arc<str>> {
        let grant = self.rows.get(access.grant as usize)?;
        let works =
            grant.alive && access.issue >= grant.oldest_live_issue && now < access.expires_at;
        works.then(|| grant.consent.user.clone())
    }

    /// The client that holds this grant.
    pub(crate) fn client_of(&self, id: u32) -> Option<Arc<str>> {
        Some(self.rows.get(id as usize)?.consent.client.clone())
    }

    /// Ends a grant; says whether it was alive.
    pub(crate) fn end(&mut self, id: u32) -> bool {
        let was = self
            .rows
            .get_mut(id as usize)
            .is_some_and(|grant| std::mem::take(&mut grant.alive));
        self.alive -= u64::from(was);
        was
    }

    /// Ends all grants, or all of one user; gives their numbers.
    pub(crate) fn end_all(&mut self, user: Option<&str>) -> Vec<u32> {
        let ids: Vec<u32> = self
            .of(user)
            .filter(|(_, g)| g.alive)
            .map(|(id, _)| id)
            .collect();
        for id in &ids {
            self.end(*id);
        }
        ids
    }

    /// Kills the access tokens of all grants, or of one user's, before their time; gives the number of
    /// grants.
    pub(crate) fn kill_access(&mut self, user: Option<&str>) -> usize {
        let hit = self.rows.iter_mut().filter(|g| g.is_of(user) && g.alive);
        hit.map(|g| g.oldest_live_issue = g.issue + 1).count()
    }

    /// Up to `limit` grants, the latest made first, and how many there are.
    pub(crate) fn list(&self, user: Option<&str>, limit: usize) -> (Vec<GrantView>, usize) {
        let total = self.of(user).count();
        let page = self.of(user).rev().take(limit);
        (page.map(|(id, g)| g.view(id)).collect(), total)
    }

    /// Notes that a refresh token is being processed; says whether it already was.
    pub(crate) fn present(&mut self, token: RefreshClaims) -> bool {
        let count = self.presented.entry(token).or_default();
        *count += 1;
        *count > 1
    }

    /// Notes that one presentation was processed.
    pub(crate) fn processed(&mut self, token: RefreshClaims) {
        if let Some(count) = self.presented.get_mut(&token) {
            *count -= 1;
            if *count == 0 {
                self.presented.remove(&token);
            }
        }
    }

    fn of<'a>(
        &'a self,
        user: Option<&'a str>,
    ) -> impl DoubleEndedIterator<Item = (u32, &'a Grant)> + 'a {
        let numbered = self.rows.iter().enumerate();
        numbered
            .map(|(place, grant)| (number(place), grant))
            .filter(move |(_, grant)| grant.is_of(user))
    }
}

/// The number of the grant at this place of the table, which `MAX_GRANTS` keeps within 32 bits.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Grant {
    fn is_of(&self, user: Option<&str>) -> bool {
        user.is_none_or(|user| *self.consent.user == *user)
    }

    fn issued(&self, id: u32, with_refresh: bool, again: bool) -> Issued {
        Issued {
            access: AccessClaims {
                grant: id,
                issue: self.issue,
                expires_at: self.access_expires_at,
            },
            refresh: with_refresh.then_some(RefreshClaims {
                grant: id,
                generation: self.generation,
            }),
            generation: self.generation,
            user: self.consent.user.clone(),
            scope: self.consent.scope.clone(),
            again,
        }
    }

    fn view(&self, id: u32) -> GrantView {
        GrantView {
            grant: id,
            client_id: self.consent.client.to_string(),
            user: self.consent.user.to_string(),
            scope: self.consent.scope.to_string(),
            alive: self.alive,
            generation: self.generation,
            issued_at: self.issued_at.to_string(),
            access_expires_at: self.access_expires_at.to_string(),
        }
    }
}

/// Whether every scope of `asked` is among `granted`.
fn within(asked: &str, granted: &str) -> bool {
    asked
        .split(' ')
        .all(|scope| granted.split(' ').any(|known| known == scope))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_000_000);

    fn at(ms: u64) -> Timestamp {
        T0 + Duration::from_millis(ms)
    }

    fn made(settings: &Settings) -> (Grants, Issued) {
        let mut grants = Grants::default();
        let consent = Consent {
            client: "c".into(),
            user: "ada".into(),
            scope: "a b".into(),
        };
        let first = grants.make(consent, settings, T0).unwrap();
        (grants, first)
    }

    fn refresh(
        g: &mut Grants,
        of: &Issued,
        s: &Settings,
        now: Timestamp,
    ) -> Result<Issued, Refusal> {
        g.refresh(of.refresh.unwrap(), "c", None, s, now)
    }

    #[test]
    fn rotation_uses_a_token_up_and_reuse_kills() {
        let s = Settings::default();
        let (mut g, first) = made(&s);
        let second = refresh(&mut g, &first, &s, at(1)).unwrap();
        assert_eq!((second.generation, second.access.issue), (2, 2));
        assert!(
            g.user_of(first.access, at(2)).is_some(),
            "the old one lives on"
        );
        assert_eq!(
            refresh(&mut g, &first, &s, at(2)).unwrap_err(),
            Refusal::Reused
        );
        assert_eq!(g.alive(), 0);
        assert_eq!(
            refresh(&mut g, &second, &s, at(3)).unwrap_err(),
            Refusal::Ended
        );
        assert!(g.user_of(second.access, at(3)).is_none());
        assert!(!g.end(0), "it was dead already");
    }

    #[test]
    fn grace_tells_the_same_successor_until_it_is_over() {
        let s = Settings {
            grace_s: 0.5,
            reuse_kills: false,
            ..Settings::default()
        };
        let (mut g, first) = made(&s);
        let second = refresh(&mut g, &first, &s, at(0)).unwrap();
        let again = refresh(&mut g, &first, &s, at(499)).unwrap();
        assert!(again.again);
        assert_eq!(
            (again.refresh, again.access),
            (second.refresh, second.access)
        );
        assert_eq!(
            refresh(&mut g, &first, &s, at(500)).unwrap_err(),
            Refusal::Reused
        );
        assert_eq!(g.alive(), 1, "reuse does not kill here");
        let third = refresh(&mut g, &second, &s, at(501)).unwrap();
        assert_eq!(
            refresh(&mut g, &first, &s, at(502)).unwrap_err(),
            Refusal::Reused
        );
        assert_eq!(third.generation, 3);
    }

    #[test]
    fn a_token_that_stays_works_again_and_ends_with_time() {
        let s = Settings {
            rotation: Rotation::None,
            refresh_lifetime_s: 1.0,
            old_access_dies: true,
            ..Settings::default()
        };
        let (mut g, first) = made(&s);
        let second = refresh(&mut g, &first, &s, at(900)).unwrap();
        assert_eq!((second.refresh, second.generation), (None, 1));
        assert!(g.user_of(first.access, at(901)).is_none());
        assert!(refresh(&mut g, &first, &s, at(1899)).is_ok());
        assert_eq!(
            refresh(&mut g, &first, &s, at(2899)).unwrap_err(),
            Refusal::Expired
        );
    }

    #[test]
    fn access_ends_with_its_life_and_by_order() {
        let s = Settings {
            access_lifetime_s: 1.5,
            ..Settings::default()
        };
        let (mut g, first) = made(&s);
        assert_eq!(g.user_of(first.access, at(1499)).as_deref(), Some("ada"));
        assert!(g.user_of(first.access, at(1500)).is_none());
        assert_eq!(g.kill_access(Some("bob")), 0);
        assert_eq!(g.kill_access(Some("ada")), 1);
        assert!(g.user_of(first.access, at(1)).is_none());
        let second = refresh(&mut g, &first, &s, at(2)).unwrap();
        assert!(g.user_of(second.access, at(3)).is_some());
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let s = Settings::default();
        let (mut g, first) = made(&s);
        let token = first.refresh.unwrap();
        let mut ask = |client: &str, scope| g.refresh(token, client, scope, &s, T0).map(|_| ());
        assert_eq!(ask("d", None), Err(Refusal::Unknown));
        assert_eq!(ask("c", Some("a c")), Err(Refusal::Scope));
        assert_eq!(ask("c", Some("b")), Ok(()));
    }

    #[test]
    fn overlap_is_a_second_presentation_before_the_first_is_done() {
        let (mut g, first) = made(&Settings::default());
        let token = first.refresh.unwrap();
        assert!(!g.present(token));
        assert!(g.present(token));
        g.processed(token);
        g.processed(token);
        assert!(!g.present(token));
        g.processed(token);
        assert!(g.presented.is_empty());
    }

    #[test]
    fn lists_show_the_latest_first_and_ending_all_spares_others() {
        let s = Settings::default();
        let (mut g, _) = made(&s);
        for user in ["bob", "ada"] {
            let consent = Consent {
                client: "c".into(),
                user: user.into(),
                scope: "".into(),
            };
            g.make(consent, &s, T0).unwrap();
        }
        let (page, total) = g.list(Some("ada"), 1);
        assert_eq!((page[0].grant, total), (2, 2));
        assert_eq!(g.end_all(Some("ada")), [0, 2]);
        assert_eq!(g.end_all(None), [1]);
        assert_eq!((g.alive(), g.made()), (0, 3));
    }
}
