//! [`Code`]: the machine-readable codes of `api.md` §1, each with its HTTP status.

use http::StatusCode;
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal $status:ident,)+) => {
        /// The machine-readable codes, each with its HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])+ $name,)+ }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code as clients read it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The code of this text, as a worker's answer names it.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }

            /// The HTTP status it goes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),+ }
            }
        }
    };
}

codes! {
    /// The request itself is wrong; `details` names the fields.
    InvalidRequest = "INVALID_REQUEST" BAD_REQUEST,
    /// No key, a malformed one, or one that is not (any more) valid.
    Unauthorized = "UNAUTHORIZED" UNAUTHORIZED,
    /// The partner's payment is late.
    PaymentPastDue = "PAYMENT_PAST_DUE" UNAUTHORIZED,
    /// The key belongs to nobody who is a partner.
    PartnerRequired = "PARTNER_REQUIRED" FORBIDDEN,
    /// The partner was suspended.
    PartnerSuspended = "PARTNER_SUSPENDED" FORBIDDEN,
    /// The service is switched off for this connection, or was not granted.
    ServiceDisabled = "SERVICE_DISABLED" FORBIDDEN,
    /// The completion code or the user that a connect session is confirmed with is not the session's.
    ConfirmationRefused = "CONFIRMATION_REFUSED" FORBIDDEN,
    /// A test key reaches the sandbox only.
    TestKeyOnlySandbox = "TEST_KEY_ONLY_SANDBOX" FORBIDDEN,
    /// The end user was switched off.
    UserInactive = "USER_INACTIVE" FORBIDDEN,
    /// There is no such thing, or it is another partner's.
    NotFound = "NOT_FOUND" NOT_FOUND,
    /// The account is connected to nothing at this provider.
    ConnectionNotFound = "CONNECTION_NOT_FOUND" NOT_FOUND,
    /// The path exists, with other methods.
    MethodNotAllowed = "METHOD_NOT_ALLOWED" METHOD_NOT_ALLOWED,
    /// There is one already.
    AlreadyExists = "ALREADY_EXISTS" CONFLICT,
    /// It is not possible as things stand; the text says what stands in the way.
    Conflict = "CONFLICT" CONFLICT,
    /// The first request with this idempotency key is still running.
    IdempotencyInFlight = "IDEMPOTENCY_IN_FLIGHT" CONFLICT,
    /// The end user must connect again; `reason` says why.
    NeedsReauth = "NEEDS_REAUTH" CONFLICT,
    /// The connect session ended.
    SessionExpired = "SESSION_EXPIRED" GONE,
    /// The body is too large.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE" PAYLOAD_TOO_LARGE,
    /// The idempotency key was used with another request.
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH" UNPROCESSABLE_ENTITY,
    /// More calls a minute than the plan has.
    RateLimited = "RATE_LIMITED" TOO_MANY_REQUESTS,
    /// More calls a month than the plan has.
    QuotaExceeded = "QUOTA_EXCEEDED" TOO_MANY_REQUESTS,
    /// The provider asks for time.
    ProviderRateLimited = "PROVIDER_RATE_LIMITED" TOO_MANY_REQUESTS,
    /// Something failed in Latchkey; its log knows the request's id.
    Internal = "INTERNAL" INTERNAL_SERVER_ERROR,
    /// The provider answered with something unusable.
    ProviderError = "PROVIDER_ERROR" BAD_GATEWAY,
    /// The provider is not asked for a while, because it fails.
    ProviderUnavailable = "PROVIDER_UNAVAILABLE" SERVICE_UNAVAILABLE,
    /// Latchkey cannot take this now: it is stopping, full, or its store is.
    Unavailable = "UNAVAILABLE" SERVICE_UNAVAILABLE,
    /// The provider did not answer in time.
    ProviderTimeout = "PROVIDER_TIMEOUT" GATEWAY_TIMEOUT,
    /// A request that acts was sent and its answer was lost. It is not repeated.
    OutcomeUnknown = "OUTCOME_UNKNOWN" GATEWAY_TIMEOUT,
}

impl Code {
    /// Whether the request surely did nothing, so that the same request may be tried again under the same
    /// idempotency key.
    pub fn did_nothing(self) -> bool {
        !matches!(
            self,
            Self::Internal | Self::ProviderError | Self::ProviderTimeout | Self::OutcomeUnknown
        )
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What is wrong, for programs."))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for Code {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_with_the_published_statuses() {
        let table: Vec<_> = Code::ALL
            .iter()
            .map(|c| format!("{} {}", c.status().as_u16(), c.as_str()))
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        400 INVALID_REQUEST
        401 UNAUTHORIZED
        401 PAYMENT_PAST_DUE
        403 PARTNER_REQUIRED
        403 PARTNER_SUSPENDED
        403 SERVICE_DISABLED
        403 CONFIRMATION_REFUSED
        403 TEST_KEY_ONLY_SANDBOX
        403 USER_INACTIVE
        404 NOT_FOUND
        404 CONNECTION_NOT_FOUND
        405 METHOD_NOT_ALLOWED
        409 ALREADY_EXISTS
        409 CONFLICT
        409 IDEMPOTENCY_IN_FLIGHT
        409 NEEDS_REAUTH
        410 SESSION_EXPIRED
        413 PAYLOAD_TOO_LARGE
        422 IDEMPOTENCY_MISMATCH
        429 RATE_LIMITED
        429 QUOTA_EXCEEDED
        429 PROVIDER_RATE_LIMITED
        500 INTERNAL
        502 PROVIDER_ERROR
        503 PROVIDER_UNAVAILABLE
        503 UNAVAILABLE
        504 PROVIDER_TIMEOUT
        504 OUTCOME_UNKNOWN
        ");
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }
}
