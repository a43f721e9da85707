//! Rotation as declared, and every class of errors.

use std::time::Duration;

use latchkey_domain::refresh::Class;
use latchkey_oauth::{
    TokenSet,
    spec::{ErrorClass, ErrorRule, ReuseEffect, RotationMode},
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{Connected, Done, Walker};
use crate::{Fault, FaultKind, Target, dialect::words_at};

const SECOND: Duration = Duration::from_secs(1);

impl Walker {
    /// Refreshes, presents the old token again, and sees what the entry says that happens.
    pub(super) async fn rotation(&self) -> Done<String> {
        let first = self.connect().await?;
        let second = self.refreshed(&first).await?;
        let (old, new) = (presented(&first.tokens), presented(&second.tokens));
        let rotation = self.spec().rotation;
        let renewed = old != new;
        if renewed == (rotation.mode == RotationMode::None) {
            return Err(format!(
                "a refresh token that was{} renewed",
                if renewed { "" } else { " not" }
            ));
        }
        let old_works = self.works(&first).await?;
        if old_works == rotation.old_access_dies {
            return Err(format!("the old access token works: {old_works}"));
        }
        if !self.works(&second).await? {
            return Err("the new access token does not work".to_owned());
        }
        match rotation.mode {
            RotationMode::None | RotationMode::Replace => {
                self.refreshed(&first).await?;
                Ok("the refresh token goes on working".to_owned())
            }
            RotationMode::SingleUse | RotationMode::SingleUseIfReturned => {
                self.reuse(&first, &second).await
            }
        }
    }

    /// The spent token once more: within the grace, after it, and what the alarm ends.
    async fn reuse(&self, first: &Connected, second: &Connected) -> Done<String> {
        let rotation = self.spec().rotation;
        let sibling = self.connect().await?;
        if rotation.grace_s > 0 {
            let again = self.refreshed(first).await?;
            if presented(&again.tokens) != presented(&second.tokens) {
                return Err("within its grace the spent token gives another successor".to_owned());
            }
            self.advance(Duration::from_secs(rotation.grace_s));
        }
        match self.refresh(first).await? {
            Err(refused) if refused.class == Class::Permanent => {}
            Err(other) => {
                return Err(format!(
                    "a spent token is refused as {:?}: {other}",
                    other.class
                ));
            }
            Ok(_) => return Err("a spent token works".to_owned()),
        }
        let survives = self.refresh(second).await?.is_ok();
        if survives != (rotation.reuse_effect == ReuseEffect::Error) {
            return Err(format!("after the alarm the successor works: {survives}"));
        }
        // Not by a call: its access token may have ended by itself meanwhile.
        let beyond = self.refresh(&sibling).await?.is_err();
        let shared = self.spec().lifetimes.shared_refresh_across_connections;
        let reached = match rotation.reuse_effect {
            ReuseEffect::Error => false,
            ReuseEffect::RevokesGrant => shared,
            ReuseEffect::RevokesBeyondGrant => true,
        };
        if beyond != reached {
            return Err(format!("the alarm reaches another connection: {beyond}"));
        }
        Ok(format!(
            "rotates; grace {} s; a spent token is refused",
            rotation.grace_s
        ))
    }

    /// Connects the same account twice: whether both hold one refresh token.
    pub(super) async fn sharing(&self) -> Done<String> {
        let (first, second) = (self.connect().await?, self.connect().await?);
        let same = presented(&first.tokens) == presented(&second.tokens);
        if same != self.spec().lifetimes.shared_refresh_across_connections {
            return Err(format!(
                "two connections of one account hold one refresh token: {same}"
            ));
        }
        let told = if same {
            "one refresh token for all connections of an account"
        } else {
            "each connection has a refresh token of its own"
        };
        Ok(told.to_owned())
    }

    /// A refresh token in its last second and at its end; and a grant that is kept alive until nothing helps.
    pub(super) async fn refresh_ends(&self) -> Done<String> {
        let lifetimes = &self.spec().lifetimes;
        let life = [lifetimes.refresh_s, lifetimes.refresh_idle_s];
        let life = life.into_iter().flatten().min().map(Duration::from_secs);
        let hard = lifetimes.refresh_hard_s.map(Duration::from_secs);
        if let Some(life) = life {
            let kept = self.connect().await?;
            self.advance(life.saturating_sub(SECOND));
            self.refreshed(&kept).await?;
            let left = self.connect().await?;
            self.advance(life);
            self.is_over(&left).await?;
        }
        if let Some(hard) = hard {
            let mut kept = self.connect().await?;
            let end = self.now() + hard;
            let step = life.map_or(hard, |life| life.saturating_sub(SECOND));
            while self.now().until(end) > SECOND {
                self.advance(step.min(self.now().until(end).saturating_sub(SECOND)));
                kept = self.refreshed(&kept).await?;
            }
            self.advance(SECOND);
            self.is_over(&kept).await?;
        }
        let told = |life: Option<Duration>| life.map_or("no end".to_owned(), |l| format!("{l:?}"));
        Ok(format!("{}; at most {}", told(life), told(hard)))
    }

    async fn is_over(&self, from: &Connected) -> Done<()> {
        match self.refresh(from).await? {
            Err(refused) if refused.class == Class::Permanent => Ok(()),
            Err(other) => Err(format!("at its end it is refused as {:?}", other.class)),
            Ok(_) => Err("a refresh token at its end works".to_owned()),
        }
    }

    async fn refreshed(&self, from: &Connected) -> Done<Connected> {
        let tokens = self.refresh(from).await?;
        let tokens = tokens
            .map_err(|error| format!("the refresh was refused: {error} {:?}", error.description))?;
        Ok(Connected {
            tokens,
            params: from.params.clone(),
            identity: from.identity.clone(),
        })
    }

    /// A wrong secret, a token that nobody gave, and each rule of the entry as the provider would say it.
    pub(super) async fn classes_of_errors(&self, connected: &Connected) -> Done<String> {
        let mut seen = 0;
        // Without refresh tokens a made-up one asks the same.
        let mut stranger = Connected {
            tokens: connected.tokens.clone(),
            params: connected.params.clone(),
            identity: None,
        };
        stranger.tokens.also.clear();
        stranger.tokens.refresh = Some("nobody-gave-this".into());
        self.expect(&stranger, ErrorClass::Permanent, "an unknown refresh token")
            .await?;
        let impostor = self.with_wrong_secret(&stranger).await?;
        if impostor != Class::Operator {
            return Err(format!("a wrong secret is classed {impostor:?}"));
        }
        let played = self.played.spec(&self.app).errors.clone();
        for rule in &played {
            for fault in faults(rule, self.played.oauth.response.ok_path.is_some()) {
                self.sandbox
                    .fault(Fault::new(Target::Refresh, fault))
                    .map_err(super::text)?;
                self.expect(&stranger, rule.class, &format!("{rule:?}"))
                    .await?;
                seen += 1;
            }
        }
        Ok(format!("{} classes, {seen} of the provider's own words", 2))
    }

    async fn expect(&self, from: &Connected, class: ErrorClass, what: &str) -> Done<()> {
        let Err(error) = self.refresh(from).await? else {
            return Err(format!("{what} was granted"));
        };
        let same = matches!(
            (class, error.class),
            (ErrorClass::Permanent, Class::Permanent)
                | (ErrorClass::Operator, Class::Operator)
                | (ErrorClass::RateLimited, Class::RateLimited(_))
                | (ErrorClass::Transient, Class::Transient)
        );
        if same && !error.suspicious {
            return Ok(());
        }
        Err(format!(
            "{what} is classed {:?}: {error} {:?}",
            error.class, error.description
        ))
    }

    async fn with_wrong_secret(&self, from: &Connected) -> Done<Class> {
        let wrong = "wrong-secret".into();
        let mut client = self.client(&from.params, &from.tokens.extra);
        client.secret = Some(&wrong);
        let request = latchkey_oauth::refresh_request(self.spec(), &client, &from.tokens);
        let answer = self.send(request.map_err(super::text)?).await?;
        let asked = latchkey_oauth::Asked::Refresh(&from.tokens);
        match latchkey_oauth::parse_tokens(self.spec(), &answer, asked, self.now()) {
            Err(error) => Ok(error.class),
            Ok(_) => Err("a wrong secret was taken".to_owned()),
        }
    }
}

fn presented(tokens: &TokenSet) -> Vec<String> {
    let others = tokens.also.iter().map(|token| token.refresh.as_ref());
    let all = std::iter::once(tokens.refresh.as_ref())
        .chain(others)
        .flatten();
    all.map(|token| token.expose_secret().to_owned()).collect()
}

/// The answers that a rule is for, one for each of its words.
fn faults(rule: &ErrorRule, in_success: bool) -> Vec<FaultKind> {
    let words = match rule.contains.as_ref().or(rule.example.as_ref()) {
        Some(part) => vec![part.clone()],
        None => rule.equals.clone(),
    };
    let words = if words.is_empty() {
        vec!["x".to_owned()]
    } else {
        words
    };
    let made = words.into_iter().map(|word| {
        if in_success && rule.path == "/error" && rule.http.is_none() {
            return FaultKind::ErrorIn200 { code: word };
        }
        let mut body = words_at(&rule.path, &word);
        if rule.path != "/error"
            && rule.path.starts_with("/error")
            && let Some(members) = body.as_object_mut()
        {
            members.entry("error").or_insert(json!("invalid_request"));
        }
        FaultKind::Fail {
            status: rule.http.filter(|status| *status >= 400).unwrap_or(400),
            body: Some(body.to_string()),
        }
    });
    made.collect()
}
