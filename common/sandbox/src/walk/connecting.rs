//! Connecting: consent, callback, exchange, identity; and codes that come too late.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use latchkey_domain::{SystemEntropy, refresh::Class};
use latchkey_oauth::{
    AllowedHosts, Asked, AuthorizeRequest, Client as OauthClient, CodeExchange, HttpRequest, Pkce,
    TokenError, TokenSet,
    answer::TOKEN_ANSWER_BYTES,
    answer::parse_tokens,
    authorize_url, check_issuer, exchange_request, identity_in_tokens, identity_request,
    introspect_request, parse_identity, parse_introspection, parse_sites, sites_request,
    spec::{CallbackCheck, IdentitySource},
};
use latchkey_providers::{captured, quirks};
use secrecy::ExposeSecret;
use url::Url;

use super::{Connected, Done, Params, WITHIN, Walker, text};

const CALLBACK: &str = "http://127.0.0.1:9/api/v1/connect/callback/walk";
/// As long as ours are.
const STATE: &str = "state-of-forty-three-characters-as-ours-are";

/// A consent whose code was not exchanged yet.
pub(super) struct Consent {
    code: String,
    pkce: Pkce,
    params: Params,
}

impl Walker {
    /// Consents as a person would, and exchanges the code.
    pub(super) async fn connect(&self) -> Done<Connected> {
        let consent = self.consent().await?;
        let tokens = self.exchange(&consent).await?.map_err(text)?;
        let mut connected = Connected {
            tokens,
            params: consent.params,
            identity: None,
        };
        self.check_tokens(&connected.tokens)?;
        self.introspect(&mut connected).await?;
        self.identify(&mut connected).await?;
        Ok(connected)
    }

    /// Consents as a person would.
    pub(super) async fn consent(&self) -> Done<Consent> {
        let (pkce, none, scopes) = (Pkce::new(&SystemEntropy), Params::new(), self.scopes()?);
        let client = self.client(&self.given, &none);
        let ask = AuthorizeRequest {
            redirect_uri: CALLBACK,
            scopes: &scopes,
            state: STATE,
            challenge: &pkce.challenge,
        };
        let url = authorize_url(self.spec(), &client, &ask).map_err(text)?;
        let back = self.browse(&url).await?;
        let params = self.examine(&back, &client)?;
        let code = value(&back, &self.spec().callback.code_param).ok_or_else(|| {
            format!(
                "no code came back: {}",
                value(&back, "error_description").unwrap_or_default()
            )
        })?;
        Ok(Consent { code, pkce, params })
    }

    /// Exchanges a code.
    pub(super) async fn exchange(&self, consent: &Consent) -> Done<Result<TokenSet, TokenError>> {
        let none = Params::new();
        let exchange = CodeExchange {
            code: &consent.code.clone().into(),
            verifier: &consent.pkce.verifier,
            redirect_uri: CALLBACK,
        };
        let client = self.client(&consent.params, &none);
        let request = exchange_request(self.spec(), &client, &exchange).map_err(text)?;
        let answer = self
            .http
            .send(request, WITHIN, TOKEN_ANSWER_BYTES)
            .await
            .map_err(text)?;
        let asked = Asked::Code { scopes: &[] };
        Ok(parse_tokens(self.spec(), &answer, asked, self.now()))
    }

    /// The query that the browser brings back.
    async fn browse(&self, url: &Url) -> Done<Vec<(String, String)>> {
        let request = Request::builder().method(Method::GET).uri(url.as_str());
        let answer = self.send(HttpRequest {
            request: request.body(Bytes::new()).map_err(text)?,
            hosts: AllowedHosts::of([url]),
        });
        let answer = answer.await?;
        let location = answer
            .headers
            .get("location")
            .and_then(|value| value.to_str().ok());
        let location = location.ok_or("the authorization page sends nobody back")?;
        let location = Url::parse(location).map_err(text)?;
        Ok(location.query_pairs().into_owned().collect())
    }

    /// What the callback does: state, issuer, signature, captured values.
    fn examine(&self, back: &[(String, String)], client: &OauthClient<'_>) -> Done<Params> {
        let spec = self.spec();
        if value(back, "state").as_deref() != Some(STATE) {
            return Err("the state did not come back".to_owned());
        }
        let iss = value(back, "iss");
        check_issuer(spec, &client.vars, iss.as_deref()).map_err(text)?;
        if spec.callback.check == Some(CallbackCheck::ShopifyHmac)
            && !quirks::shopify::is_signed(back, self.secret.expose_secret().as_bytes())
        {
            return Err("the callback is not signed".to_owned());
        }
        let mut params = self.given.clone();
        params.extend(captured(&spec.callback, back).map_err(text)?);
        Ok(params)
    }

    /// Whether the answer says what the entry says.
    fn check_tokens(&self, tokens: &TokenSet) -> Done<()> {
        let spec = self.spec();
        let life = tokens.expires_at.map(|at| self.now().until(at).as_secs());
        // Where the entry tells no life, the answer alone does.
        if spec.lifetimes.access_s.is_some() && life != spec.lifetimes.access_s {
            return Err(format!("the access token lives {life:?} s"));
        }
        let refresh_life = tokens
            .refresh_expires_at
            .map(|at| self.now().until(at).as_secs());
        let lifetimes = &spec.lifetimes;
        let declared = lifetimes
            .refresh_idle_s
            .or(lifetimes.refresh_s)
            .or(lifetimes.refresh_hard_s);
        if tokens.is_refreshable() && declared.is_some() && refresh_life != declared {
            return Err(format!("the refresh token lives {refresh_life:?} s"));
        }
        let granted = self.entry.granted(spec, &tokens.scopes);
        if let Some((permission, _)) = granted.iter().find(|(_, granted)| !**granted) {
            return Err(format!("{permission} was not granted: {:?}", tokens.scopes));
        }
        let classes = 1 + tokens.also.len();
        let wanted = self.played.spec(&self.app).response.tokens.len().max(1);
        if classes == wanted {
            Ok(())
        } else {
            Err(format!("{classes} tokens of {wanted}"))
        }
    }

    /// When the access token ends, where the provider must be asked.
    async fn introspect(&self, connected: &mut Connected) -> Done<()> {
        let client = self.client(&connected.params, &connected.tokens.extra);
        let request = introspect_request(self.spec(), &client, &connected.tokens).map_err(text)?;
        let Some(request) = request else {
            return Ok(());
        };
        let answer = self.send(request).await?;
        let end = parse_introspection(&answer, self.now());
        let told = || String::from_utf8_lossy(&answer.body).into_owned();
        connected.tokens.expires_at = Some(end.ok_or_else(|| format!("no end: {}", told()))?);
        Ok(())
    }

    /// Who connected, and for which site.
    async fn identify(&self, connected: &mut Connected) -> Done<()> {
        let spec = self.spec();
        let client = self.client(&connected.params, &connected.tokens.extra);
        let said = identity_in_tokens(spec, &client, &connected.tokens, self.now());
        let said = said.transpose().map_err(text)?;
        let source = spec.identity.as_ref().map(|identity| identity.source);
        if source.is_some_and(|source| source != IdentitySource::Http) && said.is_none() {
            return Err("the token endpoint's answer does not say who connected".to_owned());
        }
        // Where there is an address it is asked too, as for credentials that came without an id token.
        let request = identity_request(spec, &client, &connected.tokens).map_err(text)?;
        let mut identity = None;
        if let Some(request) = request {
            let answer = self.send(request).await?;
            let told = || String::from_utf8_lossy(&answer.body).into_owned();
            let found = parse_identity(spec, &answer);
            identity = Some(found.map_err(|error| format!("{error}: {}", told()))?);
        }
        let identity = said.or(identity);
        let labelled = spec
            .identity
            .as_ref()
            .is_none_or(|spec| spec.label.is_empty());
        if identity.as_ref().is_some_and(|who| who.label.is_none()) && !labelled {
            return Err("the identity has no label".to_owned());
        }
        connected.identity = identity;
        let client = self.client(&connected.params, &connected.tokens.extra);
        let request = sites_request(spec, &client, &connected.tokens).map_err(text)?;
        if let Some(request) = request {
            let answer = self.send(request).await?;
            let (name, id, _) = parse_sites(spec, &answer).map_err(text)?;
            connected.tokens.extra.insert(name, id.into());
        }
        Ok(())
    }

    /// A code in its last second, and one at its end.
    pub(super) async fn late_code(&self) -> Done<String> {
        let life = self.spec().token.code_ttl_s.ok_or("no life of a code")?;
        for (waited, works) in [(life.saturating_sub(1), true), (life, false)] {
            let consent = self.consent().await?;
            self.advance(Duration::from_secs(waited));
            match self.exchange(&consent).await? {
                Ok(_) if works => {}
                Err(refused) if !works && refused.class == Class::Permanent => {}
                Ok(_) => return Err(format!("a code works after {waited} s")),
                Err(refused) => return Err(format!("a code after {waited} s: {refused}")),
            }
        }
        Ok(format!("a code lives {life} s"))
    }
}

fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.clone())
}
