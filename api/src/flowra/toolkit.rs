//! Toolkits: the services of the catalogue as Flowra's clients see them.

use latchkey_providers::{Provider, Service};
use latchkey_store::Scheme;
use serde::Serialize;
use utoipa::ToSchema;

use super::{scheme, tool};
use crate::{error::ApiError, reply::Result, state::Api};

/// A service of a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toolkit<'a> {
    /// The provider.
    pub(crate) provider: &'a Provider,
    /// The service.
    pub(crate) service: &'a Service,
}

impl Toolkit<'_> {
    /// Its name in paths.
    pub(crate) fn slug(self) -> String {
        self.provider.toolkit(self.service)
    }

    /// Its name for people: the provider's where that has no other service.
    pub(crate) fn name(self) -> String {
        if self.provider.services.len() == 1 {
            return self.provider.display_name.clone();
        }
        let mut words = self.service.slug.split(['_', '-']).map(capital);
        let first = words.next().unwrap_or_default();
        let name = words.fold(first, |name, word| format!("{name} {word}"));
        if self.service.top_level {
            name
        } else {
            format!("{} {name}", self.provider.display_name)
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Every toolkit, by name.
pub(crate) fn all(api: &Api) -> Vec<Toolkit<'_>> {
    let toolkits = api.ctx.catalog.toolkits();
    let mut all: Vec<_> = toolkits
        .map(|(provider, service)| Toolkit { provider, service })
        .collect();
    all.sort_by_key(|toolkit| toolkit.slug());
    all
}

/// The toolkit of this slug; a provider's own slug stands for its first service.
///
/// # Errors
/// 400 naming `field`.
pub(crate) fn find<'a>(api: &'a Api, field: &str, slug: &str) -> Result<Toolkit<'a>> {
    let slug = slug.to_ascii_lowercase();
    let catalog = &api.ctx.catalog;
    let found = catalog.toolkit(&slug).or_else(|| {
        let provider = catalog.get(&slug)?;
        Some((provider, provider.services.first()?))
    });
    let (provider, service) = found.ok_or_else(|| {
        ApiError::field(
            field,
            "is no toolkit of this server; GET /api/v1/toolkits lists them",
        )
    })?;
    Ok(Toolkit { provider, service })
}

/// A toolkit in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolkitRef {
    /// Its slug.
    #[schema(example = "gmail")]
    pub(crate) slug: String,
    /// Its name for people.
    #[schema(example = "Gmail")]
    name: Option<String>,
    /// None here.
    #[schema(value_type = Option<String>)]
    logo: (),
}

impl ToolkitRef {
    /// The toolkit of this slug, whether or not the catalogue still has it.
    pub(crate) fn of(api: &Api, slug: &str) -> Self {
        let found = api.ctx.catalog.toolkit(slug);
        Self {
            slug: slug.to_owned(),
            name: found.map(|(provider, service)| Toolkit { provider, service }.name()),
            logo: (),
        }
    }
}

/// A toolkit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FlowraToolkit)]
pub(crate) struct ToolkitView {
    /// Its id: the slug.
    #[schema(example = "gmail")]
    id: String,
    /// Its slug.
    #[schema(example = "gmail")]
    pub(crate) slug: String,
    /// Its name for people.
    #[schema(example = "Gmail")]
    pub(crate) name: String,
    /// What it is part of.
    #[schema(example = "Gmail of Google")]
    pub(crate) description: String,
    /// None here.
    #[schema(value_type = Option<String>)]
    logo: (),
    /// The provider whose service it is.
    #[schema(example = "google")]
    provider: String,
    /// What its connections may hold.
    #[schema(example = json!(["OAUTH2"]))]
    auth_schemes: Vec<&'static str>,
    /// What they may hold without credentials of your own, because the operator shares a client.
    provider_managed_auth_schemes: Vec<&'static str>,
    /// Always `false`: every toolkit here needs a connection.
    no_auth: bool,
    /// How many tools it has.
    tools_count: usize,
    /// What has to be given, by scheme.
    auth_config_details: Vec<SchemeDetails>,
    /// Always `true`.
    is_active: bool,
}

/// What has to be given for a scheme.
#[derive(Debug, Serialize, ToSchema)]
struct SchemeDetails {
    /// The scheme.
    #[schema(example = "OAUTH2")]
    mode: &'static str,
    /// The same.
    #[schema(example = "OAUTH2")]
    name: &'static str,
    /// What is asked for, and when.
    fields: SchemeFields,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SchemeFields {
    /// When the auth config is made, in `credentials`.
    auth_config_creation: Inputs,
    /// When an account is connected, in `connectionData`, or on the page behind the link.
    connected_account_initiation: Inputs,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct Inputs {
    /// What must be given.
    required: Vec<Input>,
    /// What may be.
    optional: Vec<Input>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Input {
    /// Its name in requests.
    #[schema(example = "client_id")]
    name: String,
    /// Its name for people.
    display_name: String,
    /// Always `string`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What is taken without it.
    default: Option<String>,
    /// Whether it must be given.
    required: bool,
}

impl Inputs {
    fn add(&mut self, name: &str, label: &str, default: Option<&str>, required: bool) {
        let input = Input {
            name: name.to_owned(),
            display_name: label.to_owned(),
            kind: "string",
            default: default.map(str::to_owned),
            required,
        };
        if required {
            self.required.push(input);
        } else {
            self.optional.push(input);
        }
    }

    fn params(&mut self, params: &[latchkey_providers::Param]) {
        for param in params {
            self.add(
                &param.name,
                &param.label,
                param.default.as_deref(),
                param.default.is_none(),
            );
        }
    }
}

fn details(provider: &Provider, of: Scheme) -> SchemeDetails {
    let (mut creation, mut initiation) = (Inputs::default(), Inputs::default());
    if of == Scheme::Oauth2 {
        creation.add("client_id", "Client id", None, true);
        creation.add("client_secret", "Client secret", None, false);
        creation.add("scopes", "Scopes", None, false);
    }
    creation.params(&provider.app_params);
    initiation.params(&provider.connection_params);
    for field in scheme::fields(of) {
        initiation.add(field.name, field.label, None, true);
    }
    SchemeDetails {
        mode: scheme::word(of),
        name: scheme::word(of),
        fields: SchemeFields {
            auth_config_creation: creation,
            connected_account_initiation: initiation,
        },
    }
}

impl ToolkitView {
    /// As clients see it. `shared` says whether the operator shares a client of its provider.
    pub(crate) fn of(toolkit: Toolkit<'_>, shared: bool) -> Self {
        let provider = toolkit.provider;
        let schemes = Scheme::ALL
            .into_iter()
            .filter(|s| scheme::is_offered(provider, *s));
        let (slug, name) = (toolkit.slug(), toolkit.name());
        Self {
            id: slug.clone(),
            slug,
            description: format!("{name} of {}", provider.display_name),
            name,
            logo: (),
            provider: provider.slug.clone(),
            auth_schemes: schemes.clone().map(scheme::word).collect(),
            provider_managed_auth_schemes: if shared { vec!["OAUTH2"] } else { Vec::new() },
            no_auth: false,
            tools_count: tool::of_toolkit(toolkit).len(),
            auth_config_details: schemes.map(|s| details(provider, s)).collect(),
            is_active: true,
        }
    }
}
