//! Connections that hold one refresh token: some providers give an account that connects again the refresh token that
//! its other connections hold (`single_flight_key = "account"`). Two of them presenting it at once would be overlap,
//! and what one is given in its place the others need too. So one of them presents it for all, by the protocol as it
//! is, on its own row; the others take over what it was given, each when it needs it:
//!
//! ```text
//!  does another hold tokens that were issued later? ── yes ──▶ claim the own row, land those, nothing is sent
//!        │ no
//!        ▼
//!  is it this one that presents? ── yes ──▶ an attempt of its own
//!        │ no
//!        ▼
//!  an attempt of that one, and from the top
//! ```
//!
//! The one that presents is the one with an attempt open, or with its generation in doubt; else the oldest. Nothing is
//! written for the others. A process that dies as it takes over leaves an open attempt, which is closed like any other,
//! and the tokens are taken over then.

use std::sync::Arc;

use latchkey_domain::{AttemptId, GrantId, Timestamp, entropy, refresh::ClaimDecision};
use latchkey_oauth::{OauthSpec, identity_in_tokens, spec::SingleFlightKey};
use latchkey_store::{JsonMap, Landed, LoadedGrant};
use latchkey_telemetry::RefreshOutcome;

use super::{
    attempt::{Claimed, End},
    closing::Failure,
    moment::Moment,
    protocol::{Blocked, Protocol, Wish},
    refresher::{FreshToken, JITTER},
};
use crate::client::OauthClient;

/// Turns after which somebody else may try: each is a change of the rows that were read.
const TURNS: usize = 8;

/// A connection of an account with its tokens.
struct Member {
    loaded: LoadedGrant,
    token: FreshToken,
}

/// What a connection that needs new tokens does.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// It presents the refresh token.
    Own,
    /// It takes over what this one has.
    TakeOver(usize),
    /// It lets this one present it.
    Through(usize),
}

/// What is looked at to tell whose turn it is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    id: GrantId,
    issued_at: Timestamp,
    is_open: bool,
    in_doubt: bool,
}

impl From<&LoadedGrant> for Seen {
    fn from(loaded: &LoadedGrant) -> Self {
        let row = &loaded.row;
        Self {
            id: row.id,
            issued_at: row.issued_at,
            is_open: loaded.open.is_some(),
            in_doubt: row.in_doubt,
        }
    }
}

/// What `mine` does among connections that share a refresh token, the oldest first.
fn turn(mine: GrantId, seen: &[Seen]) -> Turn {
    let own = seen.iter().find(|one| one.id == mine);
    let newest = seen.iter().map(|one| one.issued_at).max();
    let (Some(own), Some(newest)) = (own, newest) else {
        return Turn::Own;
    };
    if own.is_open {
        return Turn::Own;
    }
    let position = |is: &dyn Fn(&Seen) -> bool| seen.iter().position(is);
    if own.issued_at < newest {
        let newest = position(&|one| one.issued_at == newest);
        return newest.map_or(Turn::Own, Turn::TakeOver);
    }
    let presenter = position(&|one| one.is_open)
        .or_else(|| position(&|one| one.in_doubt && one.issued_at == newest))
        .unwrap_or_default();
    if seen[presenter].id == mine {
        Turn::Own
    } else {
        Turn::Through(presenter)
    }
}

impl Protocol {
    /// Runs one attempt, or whatever stands for it where the connection shares its refresh token.
    pub(super) async fn take_turn(
        self: &Arc<Self>,
        loaded: LoadedGrant,
        wish: Wish,
        moment: Moment,
    ) -> End {
        let client = self.client(&loaded.row).await;
        let spec = client.as_ref().ok().and_then(|client| client.spec().ok());
        let shares = |spec: &&OauthSpec| spec.refresh.single_flight_key == SingleFlightKey::Account;
        match (&client, spec.filter(shares)) {
            (Ok(client), Some(_)) => Box::pin(self.share(loaded, client, wish, moment)).await,
            _ => self.attempt(loaded, wish, moment).await,
        }
    }

    async fn share(
        self: &Arc<Self>,
        mut loaded: LoadedGrant,
        client: &OauthClient,
        wish: Wish,
        moment: Moment,
    ) -> End {
        for _ in 0..TURNS {
            let mine = loaded.row.id;
            let mut members = match self.members(&loaded, client).await {
                Ok(members) => members,
                Err(end) => return end,
            };
            let seen: Vec<_> = members.iter().map(|one| Seen::from(&one.loaded)).collect();
            let turn = turn(mine, &seen);
            // As it is by now.
            if let Some(own) = members.iter().find(|member| member.loaded.row.id == mine) {
                loaded = own.loaded.clone();
            }
            match turn {
                Turn::Own => return self.attempt(loaded, wish, moment).await,
                Turn::TakeOver(at) => {
                    let from = members.swap_remove(at).token;
                    let lives = from.lives(moment.now(&*self.ctx.clock));
                    let end = self.take_over(&loaded, from, moment).await;
                    if lives || !matches!(end, End::Landed { .. }) {
                        return end;
                    }
                }
                Turn::Through(at) => {
                    let other = members.swap_remove(at).loaded;
                    if let Some(end) = self.through(other, wish, moment).await {
                        return end;
                    }
                }
            }
        }
        End::Moved
    }

    /// The connections that share the refresh token of this one, by what the provider said with their tokens.
    async fn members(&self, mine: &LoadedGrant, client: &OauthClient) -> Result<Vec<Member>, End> {
        let spec = client
            .spec()
            .map_err(|e| End::Blocked(super::protocol::Blocked::Client(e)))?;
        let now = self.ctx.now();
        let none = JsonMap::default();
        let who = |token: &FreshToken| {
            let credentials = client.client(&none, &token.tokens.extra);
            identity_in_tokens(spec, &credentials, &token.tokens, now)?.ok()
        };
        let token = self.tokens(mine).await.map_err(End::Blocked)?;
        let Some(own) = who(&token) else {
            return Ok(Vec::new());
        };
        let found = self.ctx.store.grants_sharing_with(&mine.row).await;
        let mut members = Vec::new();
        for loaded in found.map_err(End::Store)? {
            // Tokens that do not open are no help.
            if let Ok(token) = self.tokens(&loaded).await
                && who(&token).is_some_and(|who| who.key == own.key)
            {
                members.push(Member { loaded, token });
            }
        }
        // There are more than are looked at, and it is none of the oldest: those present, and it takes over.
        if members.iter().all(|one| one.loaded.row.id != mine.row.id) {
            let loaded = mine.clone();
            members.push(Member { loaded, token });
        }
        Ok(members)
    }

    /// Lets another connection present the token. `None` when there is something to take over, or to look at again.
    async fn through(
        self: &Arc<Self>,
        other: LoadedGrant,
        wish: Wish,
        moment: Moment,
    ) -> Option<End> {
        let changed = self.ctx.signals.subscribe(other.row.id.as_u128());
        let longest = self.timings.lease + self.timings.timeout;
        // Bounded: as the rows change, two could come to wait for each other.
        let flight = tokio::time::timeout(longest, self.fly(other, wish, moment));
        let Ok(end) = flight.await else {
            return Some(End::Moved);
        };
        match &*end {
            End::Landed { .. } | End::Moved => None,
            End::NotNow(ClaimDecision::Busy(until)) => {
                let jitter = JITTER.mul_f64(entropy::fraction(&*self.ctx.entropy));
                let now = moment.now(&*self.ctx.clock);
                changed.wait(now.until(*until) + jitter).await;
                None
            }
            _ => Some(End::Elsewhere(end)),
        }
    }

    /// Makes the tokens of another connection this one's. The row is claimed first, so that nobody presents its own
    /// token meanwhile.
    async fn take_over(&self, loaded: &LoadedGrant, from: FreshToken, moment: Moment) -> End {
        let clock = &*self.ctx.clock;
        let row = loaded.row.clone();
        let client = self.client(&row).await.ok();
        let spec = client.as_ref().and_then(|client| client.spec().ok());
        let key = match self.ctx.sealer.at_hand(row.partner_id).await {
            Ok(key) => key,
            Err(error) => return End::Blocked(Blocked::Sealed(error)),
        };
        let claimed = Claimed {
            attempt: AttemptId::new(self.ctx.now(), &*self.ctx.entropy),
            // What is under way is not taken over.
            replaced: None,
            rules: self.rules(&row).await,
            renewal: spec.map(|spec| spec.refresh.renewal()),
            doubt: row.in_doubt,
            first_claim_at: row.first_claim_at.unwrap_or(moment.now(clock)),
            begun: Some(clock.monotonic()),
            row,
            moment,
        };
        match self.ctx.store.claim_grant(self.claim_of(&claimed)).await {
            Ok(true) => {}
            Ok(false) => return End::Moved,
            // It may be in the row all the same; left open, it would block the grant for the length of the patience.
            Err(_) => return self.close(&claimed, Failure::unsent()).await,
        }
        let entry = self.seal(&claimed, &key, &from.tokens);
        let landing = entry.landing(moment.now(clock));
        let (grant, provider) = (claimed.row.key(), &claimed.row.provider);
        match self.ctx.store.land_grant(landing).await {
            Ok(Landed::Stored { version, revoking }) => {
                self.ctx.metrics.refresh(provider, RefreshOutcome::Shared);
                self.changed(grant).await;
                if revoking {
                    self.revoke(&claimed.row).await;
                    return End::Revoking;
                }
                tracing::debug!(%grant.id, provider, version, "tokens of the same account taken over");
                let tokens = from.tokens;
                End::Landed {
                    token: FreshToken { tokens, version },
                }
            }
            Ok(Landed::Stale) => End::Moved,
            Err(_) => self.close(&claimed, Failure::unsent()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: u128, issued_at: i64) -> Seen {
        Seen {
            id: GrantId::from_u128(n),
            issued_at: Timestamp::from_secs(issued_at),
            is_open: false,
            in_doubt: false,
        }
    }

    fn does(mine: u128, seen: &[Seen]) -> Turn {
        turn(GrantId::from_u128(mine), seen)
    }

    #[test]
    fn one_presents_and_the_others_take_over() {
        let alone = [seen(1, 10)];
        assert_eq!(does(1, &alone), Turn::Own);
        assert_eq!(does(9, &alone), Turn::Own, "not among those that share");
        let even = [seen(1, 10), seen(2, 10), seen(3, 10)];
        assert_eq!(does(1, &even), Turn::Own);
        assert_eq!(does(3, &even), Turn::Through(0));
        let later = [seen(1, 10), seen(2, 20), seen(3, 20)];
        assert_eq!(does(1, &later), Turn::TakeOver(1));
        // The oldest has not taken them over yet; it does so first, and then presents.
        assert_eq!(does(2, &later), Turn::Through(0));
    }

    #[test]
    fn whoever_may_have_presented_it_is_the_one() {
        let mut all = [seen(1, 10), seen(2, 10), seen(3, 10)];
        all[2].in_doubt = true;
        assert_eq!(does(1, &all), Turn::Through(2));
        assert_eq!(does(3, &all), Turn::Own);
        all[1].is_open = true;
        assert_eq!(does(3, &all), Turn::Through(1));
        assert_eq!(does(2, &all), Turn::Own);
        // What was in doubt before these tokens were issued does not matter to them.
        let mut all = [seen(1, 20), seen(2, 10)];
        all[1].in_doubt = true;
        assert_eq!(does(1, &all), Turn::Own);
        assert_eq!(does(2, &all), Turn::TakeOver(0));
    }
}
