//! Ways to be wrong: each changes one field of an entry, if the entry has it and the change can matter.

use latchkey_oauth::{
    OauthSpec,
    pattern::Pattern,
    spec::{
        ClientAuth, ErrorClass, Evicts, IdentityMethod, IdentitySource, PkceMode, RedirectUri,
        RefreshTrigger, ReuseEffect, RevokeAuth, RevokeBody, RevokeMethod, RotationMode,
        ScopeSeparator, TimeUnit, TokenBody,
    },
};
use latchkey_providers::{PageStyle, Provider};

/// One way to be wrong.
pub(crate) struct Mutation {
    /// What is changed.
    pub(crate) name: &'static str,
    /// Changes it; `false` where the entry has no such thing.
    pub(crate) apply: fn(&mut Provider) -> bool,
}

const fn m(name: &'static str, apply: fn(&mut Provider) -> bool) -> Mutation {
    Mutation { name, apply }
}

/// Replaces what is there, if the change is one.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let changes = *place != value;
    *place = value;
    changes
}

/// Empties a map or list; `false` if it is.
macro_rules! clear {
    ($place:expr) => {{
        let had = !$place.is_empty();
        $place.clear();
        had
    }};
}

fn other(separator: ScopeSeparator) -> ScopeSeparator {
    match separator {
        ScopeSeparator::Space => ScopeSeparator::Comma,
        ScopeSeparator::Comma => ScopeSeparator::Space,
    }
}

fn drops_scope(spec: &OauthSpec) -> bool {
    spec.authorize
        .drop_params
        .iter()
        .any(|name| name == "scope")
}

/// The scopes that the walk asks for in the plain parameter.
fn plain_scopes(p: &Provider) -> Vec<String> {
    let all: Vec<_> = p
        .permissions()
        .map(|permission| permission.id.clone())
        .collect();
    let classes: Vec<_> = p.oauth.authorize.scope_classes.values().collect();
    let mut scopes = p.scopes_for(&all, &[]).unwrap_or_default();
    scopes.retain(|scope| {
        !classes
            .iter()
            .any(|class| scope.starts_with(class.as_str()))
    });
    scopes
}

fn refreshes(p: &Provider) -> bool {
    let spec = &p.oauth;
    spec.lifetimes.access_s.is_some()
        || spec.rotation.mode != RotationMode::None
        || spec.refresh.trigger == RefreshTrigger::On401
}

fn other_unit(unit: TimeUnit) -> TimeUnit {
    match unit {
        TimeUnit::EpochS | TimeUnit::DeltaMs => TimeUnit::DeltaS,
        TimeUnit::DeltaS | TimeUnit::EpochMs | TimeUnit::Iso8601 => TimeUnit::EpochS,
    }
}

/// Changes something of the first list that has it.
fn first_list(p: &mut Provider, change: fn(&mut latchkey_providers::Pagination) -> bool) -> bool {
    for service in &mut p.services {
        let mut lists = service
            .endpoints
            .iter_mut()
            .filter(|endpoint| endpoint.items.is_some());
        let Some(list) = lists.next() else {
            continue;
        };
        if let Some(pages) = &mut list.pagination {
            return change(pages);
        }
        if let Some(pages) = service.pagination.clone() {
            let mut pages = pages;
            let changed = change(&mut pages);
            list.pagination = Some(pages);
            return changed;
        }
    }
    false
}

/// All of them.
pub(crate) const ALL: &[Mutation] = &[
    m("authorize: scope separator", |p| {
        let many = plain_scopes(p).len() > 1 && !drops_scope(&p.oauth) && p.app_kinds.is_empty();
        p.oauth.authorize.scope_separator = other(p.oauth.authorize.scope_separator);
        many
    }),
    m("authorize: a challenge that is not taken", |p| {
        let kinds = p.app_kinds.is_empty();
        kinds
            && p.oauth.authorize.pkce == PkceMode::Off
            && set(&mut p.oauth.authorize.pkce, PkceMode::S256)
    }),
    m("authorize: no challenge where one is required", |p| {
        p.oauth.authorize.pkce == PkceMode::Required
            && set(&mut p.oauth.authorize.pkce, PkceMode::Off)
    }),
    m("authorize: a parameter left out", |p| {
        clear!(p.oauth.authorize.params)
    }),
    m("authorize: scopes that stand on the application", |p| {
        let asks = !plain_scopes(p).is_empty() && p.app_kinds.is_empty();
        asks && clear!(p.oauth.authorize.drop_params)
    }),
    m("authorize: a class of scopes among the others", |p| {
        clear!(p.oauth.authorize.scope_classes)
    }),
    m("callback: nothing captured", |p| {
        let used = p
            .services
            .iter()
            .any(|service| service.base_url.to_string().contains("{connection."));
        let kept = p.connection_params.is_empty();
        used && kept && clear!(p.oauth.callback.capture)
    }),
    m("callback: the code in another parameter", |p| {
        set(
            &mut p.oauth.callback.code_param,
            "authorization_code".to_owned(),
        )
    }),
    m("token: client authentication", |p| {
        let wrong = match p.oauth.token.auth {
            ClientAuth::Post => ClientAuth::Basic,
            ClientAuth::Basic | ClientAuth::None => ClientAuth::Post,
        };
        p.oauth.refresh.auth.is_none() && set(&mut p.oauth.token.auth, wrong)
    }),
    m("token: form of the body", |p| {
        let wrong = match p.oauth.token.body {
            TokenBody::Form => TokenBody::Json,
            TokenBody::Json => TokenBody::Form,
        };
        set(&mut p.oauth.token.body, wrong)
    }),
    m("token: the client id in the body too", |p| {
        let basic = p.oauth.token.auth == ClientAuth::Basic;
        p.oauth.token.client_id_in_body = !p.oauth.token.client_id_in_body;
        basic
    }),
    m("token: redirect_uri", |p| {
        let wrong = match p.oauth.token.redirect_uri {
            RedirectUri::Always => RedirectUri::Never,
            RedirectUri::Never => RedirectUri::Always,
        };
        set(&mut p.oauth.token.redirect_uri, wrong)
    }),
    m("token: a header left out", |p| {
        clear!(p.oauth.token.headers)
    }),
    m("token: a field left out", |p| clear!(p.oauth.token.params)),
    m("refresh: the address", |p| {
        p.oauth.refresh.url.take().is_some()
    }),
    m("refresh: the scope sent along", |p| {
        p.oauth.refresh.send_scope = !p.oauth.refresh.send_scope;
        refreshes(p) && !plain_scopes(p).is_empty() && !drops_scope(&p.oauth)
    }),
    m("refresh: a field left out", |p| {
        clear!(p.oauth.refresh.params)
    }),
    m("response: separator of granted scopes", |p| {
        let asked = plain_scopes(p).len() > 1 && !drops_scope(&p.oauth);
        let separator = p.oauth.response.scope_separator;
        p.oauth.response.scope_separator = separator.map(other);
        asked && separator.is_some()
    }),
    m("response: what is kept", |p| {
        let in_address = p
            .services
            .iter()
            .any(|service| service.base_url.to_string().contains("{token."));
        let picked = p
            .oauth
            .identity
            .as_ref()
            .is_some_and(|identity| identity.pick.is_some());
        in_address && !picked && clear!(p.oauth.response.keep)
    }),
    m("response: the unit of the refresh token's end", |p| {
        let reads = p.oauth.lifetimes.refresh_idle_s.is_some();
        let field = p
            .oauth
            .response
            .refresh_expires
            .as_mut()
            .filter(|field| field.override_s.is_none());
        field.is_some_and(|field| {
            field.unit = TimeUnit::DeltaMs;
            reads
        })
    }),
    m("response: the trap of the wrong unit", |p| {
        let field = p.oauth.response.refresh_expires.as_mut();
        field.is_some_and(|field| field.override_s.take().is_some())
    }),
    m("response: classes of tokens", |p| {
        let classes = &mut p.oauth.response.tokens;
        classes.len() > 1 && classes.pop().is_some()
    }),
    m("rotation: that there is one", |p| {
        p.oauth.rotation.mode.spends() && set(&mut p.oauth.rotation.mode, RotationMode::None)
    }),
    m("rotation: that there is none", |p| {
        let none = matches!(
            p.oauth.rotation.mode,
            RotationMode::None | RotationMode::Replace
        );
        none && refreshes(p) && set(&mut p.oauth.rotation.mode, RotationMode::SingleUse)
    }),
    m("rotation: grace where there is none", |p| {
        let none = p.oauth.rotation.mode.spends() && p.oauth.rotation.grace_s == 0;
        none && set(&mut p.oauth.rotation.grace_s, 600)
    }),
    m("rotation: no grace where there is one", |p| {
        set(&mut p.oauth.rotation.grace_s, 0)
    }),
    m("rotation: the effect of the alarm", |p| {
        p.oauth.rotation.mode.spends()
            && set(&mut p.oauth.rotation.reuse_effect, ReuseEffect::Error)
    }),
    m("rotation: how far the alarm reaches", |p| {
        let beyond = ReuseEffect::RevokesBeyondGrant;
        // Where connections share the token, an alarm reaches them all in any case.
        let shared = p.oauth.lifetimes.shared_refresh_across_connections;
        !shared && p.oauth.rotation.mode.spends() && set(&mut p.oauth.rotation.reuse_effect, beyond)
    }),
    m("rotation: whether the old access token dies", |p| {
        p.oauth.rotation.old_access_dies = !p.oauth.rotation.old_access_dies;
        refreshes(p) && p.app_kinds.is_empty()
    }),
    m("lifetimes: of the access token", |p| {
        let life = &mut p.oauth.lifetimes.access_s;
        *life = life.map(|life| life * 2);
        // Where no answer names a life, the entry is all there is.
        life.is_some() && p.oauth.response.issued_at.is_none()
    }),
    m("lifetimes: of the refresh token", |p| {
        let refreshes = refreshes(p);
        let lifetimes = &mut p.oauth.lifetimes;
        let first = [&mut lifetimes.refresh_idle_s, &mut lifetimes.refresh_s]
            .into_iter()
            .flatten()
            .next();
        first.is_some_and(|life| {
            *life *= 2;
            refreshes
        })
    }),
    m("lifetimes: of the whole grant", |p| {
        let refreshes = refreshes(p);
        let life = &mut p.oauth.lifetimes.refresh_hard_s;
        life.as_mut().is_some_and(|life| {
            *life *= 2;
            refreshes
        })
    }),
    m("lifetimes: of a code", |p| {
        let life = &mut p.oauth.token.code_ttl_s;
        life.as_mut().is_some_and(|life| {
            *life *= 2;
            true
        })
    }),
    m("lifetimes: how many grants live", |p| {
        let most = &mut p.oauth.lifetimes.max_live_grants;
        most.as_mut().is_some_and(|most| {
            most.count += 1;
            true
        })
    }),
    m("lifetimes: which grant makes room", |p| {
        let most = &mut p.oauth.lifetimes.max_live_grants;
        most.as_mut()
            .is_some_and(|most| most.evicts == Evicts::Any && set(&mut most.evicts, Evicts::Oldest))
    }),
    m("errors: a rule of the provider's own", |p| {
        let rule = p
            .oauth
            .errors
            .iter_mut()
            .find(|rule| rule.class == ErrorClass::Permanent);
        let own = |rule: &&mut latchkey_oauth::spec::ErrorRule| {
            rule.contains.is_none() && !rule.equals.iter().any(|word| word == "invalid_grant")
        };
        rule.filter(own)
            .is_some_and(|rule| set(&mut rule.class, ErrorClass::Transient))
    }),
    m("errors: where the code stands", |p| {
        let mut rules = p.oauth.errors.iter_mut();
        let rule = rules.find(|rule| rule.class == ErrorClass::Operator && rule.contains.is_none());
        let own = rule.filter(|rule| !rule.equals.iter().any(|word| word == "unauthorized_client"));
        own.is_some_and(|rule| set(&mut rule.path, "/elsewhere".to_owned()))
    }),
    m("revoke: method", |p| {
        let revoke = p.oauth.revoke.as_mut();
        revoke.is_some_and(|revoke| {
            let wrong = match revoke.method {
                RevokeMethod::Post => RevokeMethod::Delete,
                RevokeMethod::Delete => RevokeMethod::Post,
            };
            set(&mut revoke.method, wrong)
        })
    }),
    m("revoke: who asks", |p| {
        let revoke = p.oauth.revoke.as_mut();
        revoke.is_some_and(|revoke| {
            let wrong = match revoke.auth {
                RevokeAuth::Post | RevokeAuth::None => RevokeAuth::Basic,
                RevokeAuth::Basic => RevokeAuth::Post,
                RevokeAuth::Bearer => RevokeAuth::None,
            };
            set(&mut revoke.auth, wrong)
        })
    }),
    m("revoke: form of the body", |p| {
        let revoke = p.oauth.revoke.as_mut();
        revoke.is_some_and(|revoke| {
            let wrong = match revoke.body {
                RevokeBody::Form => RevokeBody::Json,
                RevokeBody::Json | RevokeBody::None => RevokeBody::Form,
            };
            set(&mut revoke.body, wrong)
        })
    }),
    m("revoke: the name of the token", |p| {
        let revoke = p
            .oauth
            .revoke
            .as_mut()
            .filter(|revoke| revoke.body != RevokeBody::None);
        revoke.is_some_and(|revoke| set(&mut revoke.param, "the_token".to_owned()))
    }),
    m("revoke: a member left out", |p| {
        p.oauth
            .revoke
            .as_mut()
            .is_some_and(|revoke| clear!(revoke.params))
    }),
    m("revoke: the status that confirms", |p| {
        p.oauth
            .revoke
            .as_mut()
            .is_some_and(|revoke| set(&mut revoke.success_codes, vec![202]))
    }),
    m("revoke: the blast radius", |p| {
        p.oauth.revoke.as_mut().is_some_and(|revoke| {
            let wrong = if revoke.blast_radius.reaches_siblings() {
                latchkey_oauth::spec::BlastRadius::Grant
            } else {
                latchkey_oauth::spec::BlastRadius::Account
            };
            set(&mut revoke.blast_radius, wrong)
        })
    }),
    m("refresh: what makes it due", |p| {
        let asked = p.oauth.refresh.trigger == RefreshTrigger::Introspect;
        asked && {
            p.oauth.introspect = None;
            set(&mut p.oauth.refresh.trigger, RefreshTrigger::Clock)
        }
    }),
    m("lifetimes: whose the refresh token is", |p| {
        let shared = &mut p.oauth.lifetimes.shared_refresh_across_connections;
        *shared && set(shared, false)
    }),
    m("introspect: who asks", |p| {
        let introspect = p.oauth.introspect.as_mut();
        introspect.is_some_and(|introspect| set(&mut introspect.auth, Some(ClientAuth::None)))
    }),
    m("introspect: the address", |p| {
        let elsewhere = p.oauth.authorize.url.clone();
        let introspect = p.oauth.introspect.as_mut();
        introspect.is_some_and(|introspect| set(&mut introspect.url, elsewhere))
    }),
    m("identity: the source", |p| {
        let identity = p.oauth.identity.as_mut();
        identity.is_some_and(|identity| {
            let claimed = identity.source == IdentitySource::IdToken;
            claimed && set(&mut identity.source, IdentitySource::Http)
        })
    }),
    m("rate: which limit was met", |p| {
        let named = p.rate.reason_header.is_some();
        named && set(&mut p.rate.reason_header, Some("x-elsewhere".to_owned()))
    }),
    m("errors: the pattern", |p| {
        let pattern = p
            .oauth
            .errors
            .iter_mut()
            .find_map(|rule| rule.regex.as_mut());
        pattern.is_some_and(|pattern| set(pattern, Pattern::new("nowhere").unwrap()))
    }),
    m("identity: method", |p| {
        let identity = p
            .oauth
            .identity
            .as_mut()
            .filter(|identity| identity.url.is_some());
        identity.is_some_and(|identity| {
            let wrong = match identity.method {
                IdentityMethod::Get => IdentityMethod::Post,
                IdentityMethod::Post => IdentityMethod::Get,
            };
            set(&mut identity.method, wrong)
        })
    }),
    m("identity: the key", |p| {
        let identity = p.oauth.identity.as_mut();
        identity.is_some_and(|identity| set(&mut identity.stable_key, vec!["/nowhere".to_owned()]))
    }),
    m("identity: the label", |p| {
        let identity = p
            .oauth
            .identity
            .as_mut()
            .filter(|identity| !identity.label.is_empty());
        identity.is_some_and(|identity| set(&mut identity.label, vec!["/nowhere".to_owned()]))
    }),
    m("identity: the workspace", |p| {
        let identity = p
            .oauth
            .identity
            .as_mut()
            .filter(|identity| !identity.workspace.is_empty());
        identity.is_some_and(|identity| set(&mut identity.workspace, vec!["/nowhere".to_owned()]))
    }),
    m("identity: the site", |p| {
        p.oauth
            .identity
            .as_mut()
            .is_some_and(|identity| identity.pick.take().is_some())
    }),
    m("rate: the header of what is left", |p| {
        p.rate
            .remaining_header
            .as_mut()
            .is_some_and(|name| set(name, "x-other".to_owned()))
    }),
    m("rate: the unit of the end", |p| {
        p.rate.reset_unit.as_mut().is_some_and(|unit| {
            *unit = other_unit(*unit);
            true
        })
    }),
    m("rate: the form of too often", |p| {
        clear!(p.rate.limited_when)
    }),
    m("rate: use and limit in one header", |p| {
        p.rate.usage_header.take().is_some()
    }),
    m("api: the form of a dead token", |p| {
        clear!(p.unauthorized_when)
    }),
    m("service: a header left out", |p| {
        p.services
            .first_mut()
            .is_some_and(|service| clear!(service.headers))
    }),
    m("service: where the token goes", |p| {
        let service = p.services.first_mut();
        service.is_some_and(|service| set(&mut service.token_header.name, "x-token".to_owned()))
    }),
    m("endpoint: the provider's path", |p| {
        let mut endpoints = p
            .services
            .iter_mut()
            .flat_map(|service| &mut service.endpoints);
        endpoints.next().is_some_and(|endpoint| {
            endpoint.request.path.insert_str(0, "/other");
            true
        })
    }),
    m("endpoint: the provider's method", |p| {
        let mut endpoints = p
            .services
            .iter_mut()
            .flat_map(|service| &mut service.endpoints);
        endpoints.next().is_some_and(|endpoint| {
            endpoint.request.method = Some("PUT".to_owned());
            true
        })
    }),
    m("endpoint: the provider's name of a parameter", |p| {
        let endpoints = p
            .services
            .iter_mut()
            .flat_map(|service| &mut service.endpoints);
        for endpoint in endpoints.filter(|endpoint| endpoint.request.body.is_none()) {
            let path = &endpoint.request.path;
            let mut params = endpoint.params.iter_mut();
            let param = params.find(|(name, _)| {
                !path.contains(&format!("{{{name}}}"))
                    && !["limit", "cursor"].contains(&name.as_str())
            });
            if let Some((_, param)) = param {
                let raw = endpoint.body == latchkey_providers::entry::BodyRule::GmailMessage;
                param.to = Some("other_name".to_owned());
                return !raw;
            }
        }
        false
    }),
    m("endpoint: a query that is always sent", |p| {
        let mut endpoints = p
            .services
            .iter_mut()
            .flat_map(|service| &mut service.endpoints);
        endpoints.any(|endpoint| clear!(endpoint.request.query))
    }),
    m("endpoint: a header that is always sent", |p| {
        let mut endpoints = p
            .services
            .iter_mut()
            .flat_map(|service| &mut service.endpoints);
        endpoints.any(|endpoint| clear!(endpoint.request.headers))
    }),
    m("list: where the items are", |p| {
        let mut endpoints = p
            .services
            .iter_mut()
            .flat_map(|service| &mut service.endpoints);
        let list = endpoints.find(|endpoint| endpoint.items.is_some());
        list.is_some_and(|list| set(&mut list.items, Some("/nowhere".to_owned())))
    }),
    m("list: what names the next page", |p| {
        first_list(p, |pages| {
            pages
                .out
                .as_mut()
                .is_some_and(|out| set(out, "/nowhere".to_owned()))
        })
    }),
    m("list: the parameter of the next page", |p| {
        first_list(p, |pages| {
            pages.style == PageStyle::LinkHeader && set(&mut pages.send, Some("other".to_owned()))
        })
    }),
    m("list: whether there is more", |p| {
        first_list(p, |pages| {
            pages
                .more
                .as_mut()
                .is_some_and(|more| set(more, "/nowhere".to_owned()))
        })
    }),
    m("list: the number of all items", |p| {
        first_list(p, |pages| {
            pages
                .total
                .as_mut()
                .is_some_and(|total| set(total, "/nowhere".to_owned()))
        })
    }),
    m("list: the style", |p| {
        first_list(p, |pages| {
            let wrong = match pages.style {
                PageStyle::Token => PageStyle::Offset,
                _ => PageStyle::Token,
            };
            let can = pages.style != PageStyle::NextUrl;
            pages.style = wrong;
            can
        })
    }),
];
