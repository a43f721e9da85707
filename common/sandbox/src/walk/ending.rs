//! Disconnection, with the receipt that the entry promises; and the grants that others push out.

use latchkey_oauth::{
    RequestError, RevokeOutcome, read_revocation, revoke_requests,
    spec::{BlastRadius, Evicts, RevokeWhich},
};

use super::{Done, Walker, text};

impl Walker {
    /// Revokes a fresh grant, and sees what is dead afterwards.
    pub(super) async fn disconnect(&self) -> Done<String> {
        let connected = self.connect().await?;
        let sibling = self.connect().await?;
        let spec = self.spec();
        let client = self.client(&connected.params, &connected.tokens.extra);
        let requests = match revoke_requests(spec, &client, &connected.tokens) {
            Ok(requests) => requests,
            Err(RequestError::Unsupported(_)) => {
                let page = spec.disconnect_help_url.as_ref();
                let page = page.ok_or(
                    "no revocation, and no page where users do it by hand: \
                     give oauth.revoke or oauth.disconnect_help_url",
                )?;
                return Ok(format!("not supported; by hand at {page}"));
            }
            Err(error) => return Err(text(error)),
        };
        let count = requests.len();
        for request in requests {
            let answer = self.send(request.request).await?;
            let outcome = read_revocation(spec, &answer, self.now());
            if outcome != RevokeOutcome::Confirmed {
                let said = String::from_utf8_lossy(&answer.body);
                return Err(format!("{outcome:?}: {} {said}", answer.status));
            }
        }
        let Some(revoke) = &spec.revoke else {
            return Err("revoked without a way to".to_owned());
        };
        let whole = revoke.blast_radius != BlastRadius::Token;
        if (whole || revoke.which != RevokeWhich::RefreshFirst) && self.works(&connected).await? {
            return Err("the access token works after it was revoked".to_owned());
        }
        if whole && connected.tokens.is_refreshable() && self.refresh(&connected).await?.is_ok() {
            return Err("the refresh token works after it was revoked".to_owned());
        }
        let alive = self.works(&sibling).await?;
        if alive == revoke.blast_radius.reaches_siblings() {
            return Err(format!(
                "another connection of the same account works: {alive}"
            ));
        }
        Ok(format!(
            "confirmed by {count} request(s); reaches {:?}",
            revoke.blast_radius
        ))
    }

    /// One grant more than a user may have of an application: as many live as may, and the new one is among them.
    pub(super) async fn too_many_grants(&self) -> Done<String> {
        let most = self.spec().lifetimes.max_live_grants;
        let most = most.ok_or("no such limit")?;
        let mut grants = Vec::new();
        for _ in 0..=most.count {
            grants.push(self.connect().await?);
        }
        let mut living = Vec::new();
        for grant in &grants {
            living.push(self.works(grant).await?);
        }
        let count = living.iter().filter(|works| **works).count();
        let oldest_died = !living[0];
        let told = format!("{count} of {} grants live", grants.len());
        let evicts = most.evicts != Evicts::Oldest || oldest_died;
        if count == most.count && evicts && living.last() == Some(&true) {
            Ok(told)
        } else {
            Err(told)
        }
    }
}
