//! Building and running statements: `$n` placeholders written by hand, because `Any` has no builder that
//! both engines take.

use std::fmt::Write as _;

use sqlx::{
    Any, AssertSqlSafe, Executor, Row,
    any::{AnyArguments, AnyRow},
};

use crate::{
    Result, StoreError,
    engine::Marks,
    field::{Bind, Field, Raw, Record},
};

/// Values a list is padded to, so that there are few statement texts to prepare. The last is the most a group
/// holds.
pub(crate) const SIZES: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 500];

/// A statement with its arguments.
pub(crate) struct Sql {
    text: String,
    arguments: AnyArguments,
    count: usize,
}

impl Sql {
    /// A statement whose placeholders are bound in order.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            arguments: AnyArguments::default(),
            count: 0,
        }
    }

    /// `SELECT <the record's columns> FROM <its table> …`.
    pub(crate) fn select<R: Record>(rest: &str) -> Self {
        Self::new(format!(
            "SELECT {} FROM {} {rest}",
            columns::<R>(""),
            R::TABLE
        ))
    }

    /// `INSERT INTO … VALUES (…)` of one row, every column bound.
    pub(crate) fn insert<R: Record>(row: &R) -> Self {
        let marks: Vec<_> = (1..=R::COLUMNS.len()).map(|n| format!("${n}")).collect();
        let mut sql = Self::new(format!(
            "INSERT INTO {} ({}) VALUES ({})",
            R::TABLE,
            columns::<R>(""),
            marks.join(", ")
        ));
        sql.record(row);
        sql
    }

    /// Binds the next placeholder.
    pub(crate) fn bind<T: Field>(mut self, value: &T) -> Self {
        self.add(value);
        self
    }

    /// Binds a text.
    pub(crate) fn text(self, value: &str) -> Self {
        self.bind(&value.to_owned())
    }

    /// Binds without giving the statement back, for loops.
    pub(crate) fn add<T: Field>(&mut self, value: &T) {
        Bind::add(&mut self.arguments, value);
        self.count += 1;
    }

    /// The number of the placeholder that was bound last.
    pub(crate) const fn bound(&self) -> usize {
        self.count
    }

    /// Binds every column of a row.
    pub(crate) fn record<R: Record>(&mut self, row: &R) {
        row.bind(&mut self.arguments);
        self.count += R::COLUMNS.len();
    }

    /// Appends text.
    pub(crate) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Appends ` AND <condition> $n` with its value.
    pub(crate) fn and<T: Field>(mut self, condition: &str, value: &T) -> Self {
        self.add(value);
        // Writing into a String cannot fail.
        let _ = write!(self.text, " AND {condition} ${}", self.count);
        self
    }

    /// Appends ` AND <condition> $n` if there is a value.
    pub(crate) fn and_maybe<T: Field>(self, condition: &str, value: Option<&T>) -> Self {
        match value {
            Some(value) => self.and(condition, value),
            None => self,
        }
    }

    /// Appends ` AND <column> IN (…)`; nothing matches an empty list.
    pub(crate) fn any_of<T: Field>(mut self, column: &str, values: &[&T]) -> Self {
        if values.is_empty() {
            return self.push(" AND 1 = 0");
        }
        let mut separator = format!(" AND {column} IN (");
        for value in values {
            self.add(*value);
            let _ = write!(self.text, "{separator}${}", self.count);
            ", ".clone_into(&mut separator);
        }
        self.push(")")
    }

    /// Appends `<text> $n` with a number, for LIMIT and OFFSET.
    pub(crate) fn number(mut self, text: &str, value: u32) -> Self {
        self.add(&value);
        let _ = write!(self.text, "{text} ${}", self.count);
        self
    }

    /// The statement that says how this one is carried out.
    pub(crate) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN ");
        self
    }

    /// Runs it; how many rows it changed.
    pub(crate) async fn run<'c, E: Executor<'c, Database = Any>>(self, on: E) -> Result<u64> {
        let done = sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
            .execute(on)
            .await?;
        Ok(done.rows_affected())
    }

    /// Runs it; its rows. (A statement that writes and returns is always read to its end.)
    pub(crate) async fn rows<'c, E: Executor<'c, Database = Any>>(
        self,
        on: E,
    ) -> Result<Vec<AnyRow>> {
        Ok(sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
            .fetch_all(on)
            .await?)
    }

    /// Runs it; its rows as records.
    pub(crate) async fn all<'c, R: Record, E: Executor<'c, Database = Any>>(
        self,
        on: E,
    ) -> Result<Vec<R>> {
        self.rows(on)
            .await?
            .iter()
            .map(|row| R::read(row, 0))
            .collect()
    }

    /// Runs it; its first row as a record.
    pub(crate) async fn one<'c, R: Record, E: Executor<'c, Database = Any>>(
        self,
        on: E,
    ) -> Result<Option<R>> {
        self.rows(on)
            .await?
            .first()
            .map(|row| R::read(row, 0))
            .transpose()
    }

    /// Runs it; its rows as pairs of records, as a join selects them.
    pub(crate) async fn pairs<'c, A: Record, B: Record, E: Executor<'c, Database = Any>>(
        self,
        on: E,
    ) -> Result<Vec<(A, B)>> {
        let rows = self.rows(on).await?;
        let pair = |row| Ok((A::read(row, 0)?, B::read(row, A::COLUMNS.len())?));
        rows.iter().map(pair).collect()
    }

    /// Runs it; the first column of its one row.
    pub(crate) async fn scalar<'c, T: Field, E: Executor<'c, Database = Any>>(
        self,
        on: E,
    ) -> Result<T> {
        let rows = self.rows(on).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        column(row, 0)
    }
}

/// A column that belongs to no record.
pub(crate) fn column<T: Field>(row: &AnyRow, at: usize) -> Result<T> {
    let raw: T::Sql = row.try_get(at)?;
    T::from_sql(raw).ok_or(StoreError::Inconsistent {
        table: "(computed)",
        column: "(computed)",
        row: at.to_string(),
    })
}

/// A record's columns, each after `prefix` (`"c."`).
pub(crate) fn columns<R: Record>(prefix: &str) -> String {
    let names: Vec<_> = R::COLUMNS.iter().map(|c| format!("{prefix}{c}")).collect();
    names.join(", ")
}

/// The items, the last one repeated up to one of [`SIZES`]. A repeated row of an update changes nothing
/// more, and one of an insert meets `ON CONFLICT DO NOTHING`.
pub(crate) fn padded<'a, T>(items: &[&'a T]) -> Vec<&'a T> {
    let wanted = SIZES.into_iter().find(|size| *size >= items.len());
    let mut out = items.to_vec();
    if let Some(last) = items.last() {
        out.resize(wanted.unwrap_or(items.len()), last);
    }
    out
}

/// The rows of a group statement: its text and its values, as the engine takes them best ([`Marks`]).
pub(crate) struct Rows {
    marks: Marks,
    width: usize,
    count: usize,
    arguments: AnyArguments,
    arrays: Vec<Array>,
}

/// A column of rows, as PostgreSQL reads an array.
struct Array {
    of: &'static str,
    text: String,
}

impl Bind for Rows {
    fn add<T: Field>(&mut self, value: &T) {
        self.add(value);
    }
}

impl Rows {
    /// Takes the next value, row by row.
    pub(crate) fn add<T: Field>(&mut self, value: &T) {
        let at = self.count % self.width;
        self.count += 1;
        match self.marks {
            Marks::Each => Bind::add(&mut self.arguments, value),
            Marks::Arrays => {
                if at == self.arrays.len() {
                    self.arrays.push(Array {
                        of: T::Sql::TYPE,
                        text: String::from("{"),
                    });
                }
                let array = &mut self.arrays[at].text;
                if array.len() > 1 {
                    array.push(',');
                }
                value.to_sql().element(array);
            }
        }
    }

    /// Collects items of so many columns.
    fn collect<T>(
        marks: Marks,
        width: usize,
        items: &[&T],
        mut bind: impl FnMut(&mut Self, &T),
    ) -> Self {
        let mut rows = Self {
            marks,
            width,
            count: 0,
            arguments: AnyArguments::default(),
            arrays: Vec::new(),
        };
        match marks {
            Marks::Each => padded(items).iter().for_each(|item| bind(&mut rows, item)),
            Marks::Arrays => items.iter().for_each(|item| bind(&mut rows, item)),
        }
        rows
    }

    /// A statement that begins with this, and the rows.
    fn after(mut self, text: &str) -> Sql {
        let mut text = text.to_owned();
        let mut count = self.count;
        match self.marks {
            Marks::Each => {
                let row = vec!["?"; self.width].join(", ");
                let rows = vec![format!("({row})"); self.count / self.width];
                text.push_str("VALUES ");
                text.push_str(&rows.join(", "));
            }
            Marks::Arrays => {
                count = self.arrays.len();
                text.push_str("SELECT * FROM unnest");
                for (at, array) in self.arrays.iter_mut().enumerate() {
                    array.text.push('}');
                    let before = if at == 0 { "(" } else { ", " };
                    // Writing into a String cannot fail.
                    let _ = write!(text, "{before}CAST(${} AS {}[])", at + 1, array.of);
                    Bind::add(&mut self.arguments, &std::mem::take(&mut array.text));
                }
                text.push(')');
            }
        }
        Sql {
            text,
            arguments: self.arguments,
            count,
        }
    }
}

/// The rows of a group statement as a table `v` of these columns: `WITH v (…) AS (…) `. What follows binds
/// nothing more, and finds its rows by their keys alone: other conditions are written so that no index serves them
/// (`state || ''`, `wake_at + 0`). PostgreSQL would else read a small partial index from end to end, with all the
/// dead entries that thousands of claims a second leave there (ten times the time of the statement, measured).
pub(crate) fn with_values<T>(
    marks: Marks,
    columns: &[&str],
    items: &[&T],
    bind: impl FnMut(&mut Rows, &T),
) -> Sql {
    let begin = format!("WITH v ({}) AS (", columns.join(", "));
    Rows::collect(marks, columns.len(), items, bind)
        .after(&begin)
        .push(") ")
}

/// `INSERT INTO <table> (<columns>) …` of rows that it binds.
pub(crate) fn insert_rows<T>(
    marks: Marks,
    table: &str,
    columns: &[&str],
    items: &[&T],
    bind: impl FnMut(&mut Rows, &T),
) -> Sql {
    let begin = format!("INSERT INTO {table} ({}) ", columns.join(", "));
    Rows::collect(marks, columns.len(), items, bind).after(&begin)
}

/// `INSERT … ON CONFLICT (key) DO NOTHING` of records.
pub(crate) fn insert_all<R: Record>(marks: Marks, rows: &[&R], key: &str) -> Sql {
    insert_rows(marks, R::TABLE, R::COLUMNS, rows, |to, row| row.bind(to))
        .push(&format!(" ON CONFLICT ({key}) DO NOTHING"))
}
