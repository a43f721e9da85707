//! How a Rust value is kept in a column, and [`record!`]: a row struct with its column list, reading and
//! binding from one declaration. A text that names no state becomes [`StoreError::Inconsistent`] here.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use latchkey_domain::{
    AccountId, AttemptId, AuditId, AuthConfigId, CallId, ConnectionId, DataKeyId, GrantId,
    HolderId, JobId, KeyId, PartnerId, QuotaBlockId, RequestId, SessionId, Timestamp,
    WebhookSecretId,
    states::{
        AuthConfigStatus, CallOutcome, ConnectionStatus, GrantState, JobState, PartnerStatus,
        SessionStatus,
    },
};
use sqlx::{
    Any, Arguments, Row,
    any::{AnyArguments, AnyRow},
};

use crate::{Result, StoreError};

/// A JSON object in a TEXT column.
pub type JsonMap = serde_json::Map<String, serde_json::Value>;

/// A database value, beyond what sqlx knows of it.
pub(crate) trait Raw {
    /// Its type in PostgreSQL.
    const TYPE: &'static str;
    /// As `Debug` shows it: bytes (sealed values, hashes) by their number alone.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// As an element of a PostgreSQL array in text form
    /// (<https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO>).
    fn element(&self, array: &mut String);
}
impl Raw for i64 {
    const TYPE: &'static str = "BIGINT";
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
    fn element(&self, array: &mut String) {
        // Writing into a String cannot fail.
        let _ = write!(array, "{self}");
    }
}
impl Raw for String {
    const TYPE: &'static str = "TEXT";
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
    fn element(&self, array: &mut String) {
        array.reserve(self.len() + 2);
        array.push('"');
        for part in self.split_inclusive(['"', '\\']) {
            let plain = part.trim_end_matches(['"', '\\']);
            array.push_str(plain);
            for special in part[plain.len()..].chars() {
                array.extend(['\\', special]);
            }
        }
        array.push('"');
    }
}
impl Raw for Vec<u8> {
    const TYPE: &'static str = "BYTEA";
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.len())
    }
    fn element(&self, array: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        array.reserve(2 * self.len() + 5);
        array.push_str("\"\\\\x");
        for byte in self {
            let [high, low] = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
            array.extend([char::from(high), char::from(low)]);
        }
        array.push('"');
    }
}
impl<T: Raw> Raw for Option<T> {
    const TYPE: &'static str = T::TYPE;
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(value) => value.show(f),
            None => f.write_str("-"),
        }
    }
    fn element(&self, array: &mut String) {
        match self {
            Some(value) => value.element(array),
            None => array.push_str("NULL"),
        }
    }
}

/// Shows a field without its bytes.
pub(crate) struct Shown<'a, T>(pub(crate) &'a T);

impl<T: Field> fmt::Debug for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_sql().show(f)
    }
}

/// A value of a column. `Sql` is one of the few types that both engines share: `i64`, `String`,
/// `Vec<u8>`, and their options.
pub(crate) trait Field: Sized {
    /// The form in the database.
    type Sql: for<'q> sqlx::Encode<'q, Any> + sqlx::Type<Any> + for<'r> sqlx::Decode<'r, Any> + Raw;
    /// Into the database.
    fn to_sql(&self) -> Self::Sql;
    /// Out of it; `None` when the value means nothing.
    fn from_sql(raw: Self::Sql) -> Option<Self>;
}

macro_rules! plain {
    ($($type:ty),+) => { $(
        impl Field for $type {
            type Sql = Self;
            fn to_sql(&self) -> Self { self.clone() }
            fn from_sql(raw: Self) -> Option<Self> { Some(raw) }
        }
    )+ };
}
plain!(i64, String, Vec<u8>);

macro_rules! whole {
    ($($type:ty),+) => { $(
        impl Field for $type {
            type Sql = i64;
            // Only u64 can be too large, and no counter here gets near.
            fn to_sql(&self) -> i64 { i64::try_from(*self).unwrap_or(i64::MAX) }
            fn from_sql(raw: i64) -> Option<Self> { Self::try_from(raw).ok() }
        }
    )+ };
}
whole!(u16, u32, u64);

macro_rules! text {
    ($($type:ty),+) => { $(
        impl Field for $type {
            type Sql = String;
            fn to_sql(&self) -> String { self.to_string() }
            fn from_sql(raw: String) -> Option<Self> { raw.parse().ok() }
        }
    )+ };
}
text!(
    AccountId,
    AttemptId,
    AuditId,
    AuthConfigId,
    CallId,
    ConnectionId,
    DataKeyId,
    GrantId,
    HolderId,
    JobId,
    KeyId,
    PartnerId,
    QuotaBlockId,
    RequestId,
    SessionId,
    WebhookSecretId
);

macro_rules! state {
    ($($type:ty),+) => { $(
        impl $crate::field::Field for $type {
            type Sql = String;
            fn to_sql(&self) -> String { self.as_str().to_owned() }
            fn from_sql(raw: String) -> Option<Self> { Self::parse(&raw) }
        }
    )+ };
}
pub(crate) use state;
state!(
    AuthConfigStatus,
    CallOutcome,
    ConnectionStatus,
    GrantState,
    JobState,
    PartnerStatus,
    SessionStatus
);

macro_rules! json {
    ($($type:ty),+) => { $(
        impl Field for $type {
            type Sql = String;
            fn to_sql(&self) -> String {
                // Maps with text keys and lists of text always have a JSON form.
                serde_json::to_string(self).unwrap_or_default()
            }
            fn from_sql(raw: String) -> Option<Self> { serde_json::from_str(&raw).ok() }
        }
    )+ };
}
json!(JsonMap, Vec<String>, BTreeMap<String, bool>);

impl Field for bool {
    type Sql = i64;
    fn to_sql(&self) -> i64 {
        i64::from(*self)
    }
    fn from_sql(raw: i64) -> Option<Self> {
        match raw {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Field for Timestamp {
    type Sql = i64;
    fn to_sql(&self) -> i64 {
        self.as_micros()
    }
    fn from_sql(raw: i64) -> Option<Self> {
        Some(Self::from_micros(raw))
    }
}

/// Durations are whole microseconds.
impl Field for Duration {
    type Sql = i64;
    fn to_sql(&self) -> i64 {
        i64::try_from(self.as_micros()).unwrap_or(i64::MAX)
    }
    fn from_sql(raw: i64) -> Option<Self> {
        u64::try_from(raw).ok().map(Self::from_micros)
    }
}

impl Field for [u8; 32] {
    type Sql = Vec<u8>;
    fn to_sql(&self) -> Vec<u8> {
        self.to_vec()
    }
    fn from_sql(raw: Vec<u8>) -> Option<Self> {
        raw.try_into().ok()
    }
}

impl<T: Field> Field for Option<T>
where
    Option<T::Sql>:
        for<'q> sqlx::Encode<'q, Any> + sqlx::Type<Any> + for<'r> sqlx::Decode<'r, Any> + Raw,
{
    type Sql = Option<T::Sql>;
    fn to_sql(&self) -> Self::Sql {
        self.as_ref().map(T::to_sql)
    }
    fn from_sql(raw: Self::Sql) -> Option<Self> {
        match raw {
            None => Some(None),
            Some(raw) => T::from_sql(raw).map(Some),
        }
    }
}

/// Reads one column of a row; `key` is where the column is that names the row.
pub(crate) fn read<T: Field>(
    row: &AnyRow,
    at: usize,
    table: &'static str,
    column: &'static str,
    key: usize,
) -> Result<T> {
    let raw: T::Sql = row.try_get(at)?;
    T::from_sql(raw).ok_or_else(|| StoreError::Inconsistent {
        table,
        column,
        row: row.try_get::<String, _>(key).unwrap_or_default(),
    })
}

/// What takes values one after the other.
pub(crate) trait Bind {
    /// Takes the next.
    fn add<T: Field>(&mut self, value: &T);
}

impl Bind for AnyArguments {
    fn add<T: Field>(&mut self, value: &T) {
        // The buffer of `Any` takes every value of these types; encoding cannot fail.
        let _ = Arguments::add(self, value.to_sql());
    }
}

/// A row struct that maps one to one onto the columns of a table.
pub(crate) trait Record: Sized {
    /// The table.
    const TABLE: &'static str;
    /// The columns, in the order of the fields.
    const COLUMNS: &'static [&'static str];
    /// Reads a row in which these columns stand in order from `offset` on.
    fn read(row: &AnyRow, offset: usize) -> Result<Self>;
    /// Binds every field in order.
    fn bind<B: Bind>(&self, to: &mut B);
}

/// Declares a row struct for a table: `record! { /// doc  pub struct XRow in "xs" by "id" { … } }`.
/// `by` is the column that names a row in errors.
macro_rules! record {
    ($(#[$doc:meta])* pub struct $name:ident in $table:literal by $key:literal {
        $($(#[$fdoc:meta])* pub $field:ident: $type:ty,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)+ }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &$crate::field::Shown(&self.$field)))+
                    .finish()
            }
        }

        impl $crate::field::Record for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn read(row: &sqlx::any::AnyRow, offset: usize) -> $crate::Result<Self> {
                let key = offset
                    + Self::COLUMNS
                        .iter()
                        .position(|name| *name == $key)
                        .unwrap_or_default();
                let mut at = offset..;
                let mut next = || at.next().unwrap_or_default();
                Ok(Self { $($field: $crate::field::read(
                    row, next(), $table, stringify!($field), key,
                )?,)+ })
            }

            fn bind<B: $crate::field::Bind>(&self, to: &mut B) {
                $(to.add(&self.$field);)+
            }
        }
    };
}
pub(crate) use record;
