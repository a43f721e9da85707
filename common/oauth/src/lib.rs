//! OAuth 2.0 as pure functions over a catalogue entry: build the authorize URL, the code exchange, the
//! refresh, the revocation, the identity request and the introspection; read their answers; class their
//! errors. Nothing here does I/O except [`http`], the only sender of provider requests in the project, with
//! its time-outs, size caps and egress guard.
//!
//! ```text
//! spec (catalogue) + client (auth config) + vars ──▶ authorize | request ──▶ http ──▶ answer | identity | revoke
//! ```

pub mod answer;
pub mod authorize;
mod classify;
pub mod egress;
pub mod http;
pub mod identity;
pub mod introspect;
pub mod message;
pub mod pattern;
pub mod pkce;
pub mod request;
mod resolve;
pub mod revoke;
pub mod spec;
pub mod template;
pub mod times;
pub mod tokens;

pub use answer::{Asked, TokenError, parse_tokens};
pub use authorize::{AuthorizeRequest, IssuerError, authorize_url, check_issuer};
pub use egress::{Cidr, Egress};
pub use http::{HttpError, HttpLimits, Lost, NotSent, ProviderHttp};
pub use identity::{
    Identity, IdentityError, identity_in_tokens, identity_request, parse_identity, parse_sites,
    sites_request,
};
pub use introspect::{introspect_request, parse_introspection};
pub use message::{AllowedHosts, HttpAnswer, HttpRequest};
pub use pkce::Pkce;
pub use request::{
    Client, CodeExchange, RequestError, exchange_request, fill_url, refresh_request,
};
pub use revoke::{RevokeOutcome, RevokeRequest, TokenKind, read_revocation, revoke_requests};
pub use spec::{AppKind, OauthSpec};
pub use template::{Template, TemplateError, Vars};
pub use times::retry_after;
pub use tokens::{ClassToken, TokenSet};
