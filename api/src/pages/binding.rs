//! The browser-binding cookie of a connect session (`reliability.md` A1, A3): set when the connect page is
//! shown, asked for by the callback, so that the browser that comes back is the one that was sent.
//!
//! Its value is `<random>.<link secret>`; the session keeps the digest of the whole. The link secret in it
//! lets the callback, which knows the session by its state alone, lead on to the session's own pages. One
//! cookie per session, so that two of them can go on in one browser.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use latchkey_domain::{Entropy, Timestamp};
use latchkey_store::SessionRow;
use latchkey_vault::{digest, random_token, same};
use secrecy::{ExposeSecret, SecretString};

/// Kept beyond the session's end, so that the pages can still show how it went.
const AFTER: Duration = Duration::from_secs(600);
/// Longest value looked at; ours have 87 characters.
const MAX_VALUE: usize = 256;

/// The cookie of one session in one browser.
#[derive(Clone, Debug)]
pub(crate) struct Binding(SecretString);

impl Binding {
    /// A fresh one for the session whose link has this secret.
    pub(crate) fn new(link: &str, entropy: &dyn Entropy) -> Self {
        let random = random_token(entropy);
        Self(format!("{}.{link}", random.expose_secret()).into())
    }

    /// The one that a browser sent for this session, if it is well formed and of this session's link.
    pub(crate) fn sent(headers: &HeaderMap, session: &SessionRow, https: bool) -> Option<Self> {
        let name = name(session, https);
        let value = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)?
            .1;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if value.len() > MAX_VALUE || !value.bytes().all(plain) {
            return None;
        }
        let (_, link) = value.split_once('.')?;
        same(&digest(link), &session.link_hash).then(|| Self(value.to_owned().into()))
    }

    /// What the session keeps of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        digest(self.0.expose_secret())
    }

    /// Whether it is the one that the session was bound to.
    pub(crate) fn binds(&self, session: &SessionRow) -> bool {
        session
            .binding_hash
            .is_some_and(|hash| same(&hash, &self.hash()))
    }

    /// The path of the session's status page.
    pub(crate) fn status_path(&self) -> String {
        let value = self.0.expose_secret();
        let link = value.split_once('.').map_or("", |(_, link)| link);
        format!("/connect/{link}/status")
    }

    /// `Set-Cookie` for the session's life and a little more.
    pub(crate) fn set(
        &self,
        session: &SessionRow,
        now: Timestamp,
        https: bool,
    ) -> Option<HeaderValue> {
        let life = now.until(session.expires_at) + AFTER;
        cookie(session, self.0.expose_secret(), life.as_secs(), https)
    }

    /// `Set-Cookie` that takes it away.
    pub(crate) fn forget(session: &SessionRow, https: bool) -> Option<HeaderValue> {
        cookie(session, "", 0, https)
    }
}

/// `__Host-` keeps other hosts of the domain from setting it; browsers want HTTPS for that.
fn name(session: &SessionRow, https: bool) -> String {
    let prefix = if https { "__Host-" } else { "" };
    format!("{prefix}latchkey-{:032x}", session.id.as_u128())
}

/// `Lax`, because the provider's redirect is a cross-site navigation, which `Strict` would strip.
fn cookie(session: &SessionRow, value: &str, life_s: u64, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let name = name(session, https);
    let text = format!("{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
