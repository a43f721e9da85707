//! [`Settings`]: how the simulated provider behaves. They can be changed while it runs
//! (`PUT /sandbox/settings`), which is what tests do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_LATENCY;

/// The longest lifetime that can be set, in seconds: ten years.
const MAX_LIFETIME_S: f64 = 10.0 * 365.0 * 86_400.0;

/// What becomes of a refresh token when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// It stays; the answer to a refresh holds no refresh token (as Google does).
    None,
    /// It is used up; the answer holds its successor.
    SingleUse,
}

/// The `iss` parameter of the authorization response (RFC 9207). The metadata always promises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssMode {
    /// This server's issuer.
    Right,
    /// Left out against the promise.
    Omit,
    /// The issuer of somebody else.
    Wrong,
}

/// How the provider behaves. Durations in `_s` are seconds and may have a fraction.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of the simulated provider"
)]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Life of an access token, at least 1 s; `expires_in` shows whole seconds, rounded down.
    pub access_lifetime_s: f64,
    /// Life of a refresh token after it was issued; 0 means without end.
    pub refresh_lifetime_s: f64,
    /// What becomes of a refresh token when it is used.
    pub rotation: Rotation,
    /// How long after its use a rotated token still gets the same successor again.
    pub grace_s: f64,
    /// Whether a rotated token presented after its grace ends the whole grant (RFC 9700 §4.14.2).
    pub reuse_kills: bool,
    /// Whether a refresh ends the access tokens given before.
    pub old_access_dies: bool,
    /// Leaves `expires_in` out of token answers.
    pub omit_expires_in: bool,
    /// Gives no refresh token at the exchange.
    pub omit_refresh_token: bool,
    /// Refuses authorization requests without an S256 challenge.
    pub require_pkce: bool,
    /// Consents at once, without a page, as `login_hint` or the default user; so does `prompt=none` in a
    /// single request.
    pub auto_consent: bool,
    /// The `iss` parameter of the authorization response.
    pub iss: IssMode,
    /// Wait before a token request is acted on. The act then happens even when its client has gone away.
    pub token_hold_ms: u64,
    /// Wait after a token request was acted on and before it is answered.
    pub token_latency_ms: u64,
    /// Requests that each access token of a catalogue dialect has in a window; 0 for what its entry publishes.
    pub dialect_budget: u64,
    /// The length of that window, at least 1 s.
    pub dialect_window_s: f64,
    /// Which of its forms a dialect uses for "too often": the number of the rule in `rate.limited_when`, from 1, or
    /// one more than there are for 429; 0 for its usual one.
    pub dialect_limit_form: u64,
    /// Wait after an API request was acted on and before it is answered.
    pub api_latency_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_lifetime_s: 3600.0,
            refresh_lifetime_s: 0.0,
            rotation: Rotation::SingleUse,
            grace_s: 0.0,
            reuse_kills: true,
            old_access_dies: false,
            omit_expires_in: false,
            omit_refresh_token: false,
            require_pkce: true,
            auto_consent: false,
            iss: IssMode::Right,
            token_hold_ms: 0,
            token_latency_ms: 0,
            dialect_budget: 0,
            dialect_window_s: 60.0,
            dialect_limit_form: 0,
            api_latency_ms: 0,
        }
    }
}

/// Settings that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A number out of its range.
    #[error("{name} must be between {least} and {most}")]
    Range {
        /// The setting.
        name: &'static str,
        /// Its smallest value.
        least: f64,
        /// Its largest value.
        most: f64,
    },
    /// A field that is no setting, or not of its type.
    #[error("these are not settings of the sandbox")]
    Form(#[source] serde_json::Error),
}

impl Settings {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// [`SettingsError::Range`] for the first that is out of it.
    pub fn check(self) -> Result<Self, SettingsError> {
        let most_ms = MAX_LATENCY.as_millis();
        #[expect(
            clippy::cast_precision_loss,
            reason = "only compared with small limits"
        )]
        let (ms, most_ms) = (|v: u64| v as f64, most_ms as f64);
        let ranges = [
            (
                "access_lifetime_s",
                self.access_lifetime_s,
                1.0,
                MAX_LIFETIME_S,
            ),
            (
                "refresh_lifetime_s",
                self.refresh_lifetime_s,
                0.0,
                MAX_LIFETIME_S,
            ),
            ("grace_s", self.grace_s, 0.0, MAX_LIFETIME_S),
            (
                "dialect_window_s",
                self.dialect_window_s,
                1.0,
                MAX_LIFETIME_S,
            ),
            ("token_hold_ms", ms(self.token_hold_ms), 0.0, most_ms),
            ("token_latency_ms", ms(self.token_latency_ms), 0.0, most_ms),
            ("api_latency_ms", ms(self.api_latency_ms), 0.0, most_ms),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(SettingsError::Range { name, least, most });
            }
        }
        Ok(self)
    }

    /// These settings with the given fields changed.
    ///
    /// # Errors
    /// [`SettingsError`] for an unknown field, a wrong type, or a number out of range.
    pub fn with(
        self,
        changes: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, SettingsError> {
        let mut all = serde_json::to_value(self).map_err(SettingsError::Form)?;
        for (name, value) in changes {
            all[name] = value.clone();
        }
        serde_json::from_value::<Self>(all)
            .map_err(SettingsError::Form)?
            .check()
    }

    pub(crate) fn access_lifetime(&self) -> Duration {
        Duration::from_secs_f64(self.access_lifetime_s)
    }

    pub(crate) fn refresh_lifetime(&self) -> Option<Duration> {
        let span = Duration::from_secs_f64(self.refresh_lifetime_s);
        (!span.is_zero()).then_some(span)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs_f64(self.grace_s)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_leave_the_rest_and_are_checked() {
        let change = |v: serde_json::Value| Settings::default().with(v.as_object().unwrap());
        let changed = change(json!({"access_lifetime_s": 2.5, "rotation": "none"})).unwrap();
        assert_eq!(changed.access_lifetime(), Duration::from_millis(2500));
        assert_eq!(changed.rotation, Rotation::None);
        assert!(changed.reuse_kills);
        for wrong in [
            json!({"access_lifetime_s": 0.5}),
            json!({"grace_s": -1}),
            json!({"api_latency_ms": 600_001}),
            json!({"lifetime": 5}),
            json!({"iss": "maybe"}),
        ] {
            assert!(change(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
