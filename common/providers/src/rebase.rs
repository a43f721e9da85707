//! Leading every address of an entry to a sandbox: `https://host/path` becomes `{origin}/{slug}/host/path`.

use latchkey_oauth::{OauthSpec, Template};

use crate::entry::Provider;

impl Provider {
    /// Changes every address. What is plain `http` stands already at a sandbox of its own and is left.
    pub(crate) fn lead_to(&mut self, origin: &str) {
        let prefix = format!("{origin}/{}/", self.slug);
        lead_spec(&mut self.oauth, &prefix);
        for spec in self.kinds.values_mut() {
            lead_spec(spec, &prefix);
        }
        for service in &mut self.services {
            lead(&mut service.base_url, &prefix);
        }
    }
}

fn lead_spec(spec: &mut OauthSpec, prefix: &str) {
    let OauthSpec {
        authorize,
        token,
        refresh,
        introspect,
        revoke,
        identity,
        ..
    } = spec;
    lead(&mut authorize.url, prefix);
    lead(&mut token.url, prefix);
    let others = refresh
        .url
        .iter_mut()
        .chain(introspect.as_mut().map(|introspect| &mut introspect.url))
        .chain(revoke.as_mut().map(|revoke| &mut revoke.url));
    for url in others {
        lead(url, prefix);
    }
    if let Some(identity) = identity {
        let pick = identity.pick.as_mut().map(|pick| &mut pick.url);
        for url in identity.url.iter_mut().chain(pick) {
            lead(url, prefix);
        }
    }
}

fn lead(url: &mut Template, prefix: &str) {
    if let Some(led) = url.with_scheme_as("https://", prefix) {
        *url = led;
    }
}
