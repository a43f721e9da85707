//! Every bound of the sandbox with its unit and reason. It keeps all state in memory, so each map and each
//! body needs one.

use std::time::Duration;

/// Open connections. A bench that keeps 1,000 calls in flight opens as many; more is a client that leaks.
pub const MAX_CONNECTIONS: usize = 8_192;

/// How long a connection may take to send its next request head. Longer than the idle time of HTTP client
/// pools (90 s is usual): a pool must never pick a connection that is just being closed here.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a stop waits for requests in flight before it cuts them.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// Bytes of a token, revocation or consent form. RFC 6749 forms are under 4 KiB.
pub const MAX_FORM: usize = 64 * 1024;

/// Bytes of an admin request body. The largest is a list of clients' redirect URIs.
pub const MAX_ADMIN_BODY: usize = 1024 * 1024;

/// Bytes of a request body at the protected API: above the 10 MiB that Latchkey passes on, so that its own
/// limit is what a test meets.
pub const MAX_API_BODY: usize = 32 * 1024 * 1024;

/// Bytes that the echo returns inline in base64; larger bodies are shown by size and digest alone.
pub const MAX_ECHO_INLINE: usize = 1024 * 1024;

/// Bytes of a made-up answer (`raw=1&bytes=N`, fault `big`): enough to pass every limit under test.
pub const MAX_MADE_BODY: usize = 64 * 1024 * 1024;

/// Grants ever made in one run, ended ones included (they must be recognised when presented again). At
/// some 100 bytes each this is 200 MB.
pub const MAX_GRANTS: usize = 2_000_000;

/// Grants made by one seed request: its answer holds about 300 bytes for each.
pub const MAX_SEED: usize = 100_000;

/// Grants listed by one admin request.
pub const MAX_GRANT_LIST: usize = 1_000;

/// Registered clients. Tests make one per auth config.
pub const MAX_CLIENTS: usize = 10_000;

/// Characters of a client id, a secret or a user id.
pub const MAX_NAME: usize = 255;

/// Redirect URIs of one client.
pub const MAX_REDIRECT_URIS: usize = 100;

/// Bytes of `state` that are carried back: more than any provider accepts.
pub const MAX_STATE: usize = 4 * 1024;

/// Bytes of a scope parameter.
pub const MAX_SCOPE: usize = 2 * 1024;

/// Authorization codes and open consent pages kept at once; the oldest go first.
pub const MAX_PENDING: usize = 100_000;

/// Life of an authorization code: the most that RFC 6749 §4.1.2 recommends, since a partner's confirmation
/// may come between the callback and the exchange.
pub const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// How long a consent page may stay open: as long as a connect session of Latchkey lives.
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Events kept; older ones are forgotten and a reader that was away sees the gap.
pub const MAX_EVENTS: usize = 10_000;

/// Events returned by one request.
pub const MAX_EVENT_PAGE: usize = 1_000;

/// Bytes of the free text of one event.
pub const MAX_EVENT_DETAIL: usize = 200;

/// Messages kept over all users; the oldest go first.
pub const MAX_MESSAGES: usize = 50_000;

/// Bytes of a message's text.
pub const MAX_MESSAGE: usize = 4 * 1024;

/// Messages on one page, and how many a page has when nothing is asked.
pub const MAX_PAGE: usize = 100;

/// Messages on a page when no `limit` is given.
pub const DEFAULT_PAGE: usize = 20;

/// How long an `Idempotency-Key` is remembered, and with [`MAX_PENDING`] how many.
pub const IDEMPOTENCY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Faults waiting to strike.
pub const MAX_FAULTS: usize = 1_000;

/// The longest latency that can be set: over every time-out of Latchkey.
pub const MAX_LATENCY: Duration = Duration::from_secs(10 * 60);

/// The longest that `/sandbox/wait` holds a request.
pub const MAX_WAIT: Duration = Duration::from_secs(120);

/// Pause after `accept` failed (out of descriptors), so that the loop does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
