//! Leases of scheduled tasks: each task is a row, each tick of it is claimed by lease, so that there is no
//! leader to elect. A tick is *finished* when its row says so; one whose lease ran out before that belonged to a
//! process that died, and anybody may take it over.

use latchkey_domain::Timestamp;

use crate::{Result, Store, field::record, sql::Sql};

record! {
    /// A scheduled task's row.
    pub struct TaskLease in "task_leases" by "name" {
        /// The task.
        pub name: String,
        /// The tick that was claimed last.
        pub slot: Timestamp,
        /// Who claimed it.
        pub owner: String,
        /// Until when, if it did not finish.
        pub lease_until: Timestamp,
        /// When that tick finished; nothing while it is under way.
        pub finished_at: Option<Timestamp>,
        /// What the one that finished last said.
        pub status: Option<String>,
    }
}

impl TaskLease {
    /// Whether the tick that was claimed last came to its end.
    pub const fn is_finished(&self) -> bool {
        self.finished_at.is_some()
    }
}

/// What a process that wants a tick is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskClaim {
    /// It has the tick, alone.
    Won,
    /// Another works on it, or on an earlier one, until then at the latest.
    Held {
        /// By database time.
        until: Timestamp,
    },
    /// It was made.
    Made,
}

impl Store {
    /// Claims a task's tick: [`TaskClaim::Won`] for exactly one caller at a time. A later slot can be claimed only
    /// once the one before it finished or its lease ended; the same slot again only if its lease ended unfinished.
    /// A slot that is still to come was claimed before the clock was set back: it holds nobody up.
    pub async fn claim_task(
        &self,
        name: &str,
        slot: Timestamp,
        owner: &str,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<TaskClaim> {
        let won = Sql::new(
            "INSERT INTO task_leases (name, slot, owner, lease_until) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE \
             SET slot = excluded.slot, owner = excluded.owner, lease_until = excluded.lease_until, \
             finished_at = NULL \
             WHERE task_leases.slot > $5 OR (task_leases.lease_until <= $5 \
             AND (task_leases.slot < excluded.slot \
             OR (task_leases.slot = excluded.slot AND task_leases.finished_at IS NULL)))",
        )
        .text(name)
        .bind(&slot)
        .text(owner)
        .bind(&lease_until)
        .bind(&now)
        .run(&self.engine.write)
        .await?;
        if won > 0 {
            return Ok(TaskClaim::Won);
        }
        let row = Sql::select::<TaskLease>("WHERE name = $1")
            .text(name)
            .one::<TaskLease, _>(&self.engine.read)
            .await?;
        Ok(match row {
            Some(row) if row.is_finished() && row.slot >= slot => TaskClaim::Made,
            Some(row) => TaskClaim::Held {
                until: row.lease_until,
            },
            // Deleted by hand just now.
            None => TaskClaim::Held { until: now },
        })
    }

    /// Prolongs the lease of the owner; `false` if it ended or another has it.
    pub async fn extend_task(
        &self,
        name: &str,
        owner: &str,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let extended = Sql::new(
            "UPDATE task_leases SET lease_until = $1 \
             WHERE name = $2 AND owner = $3 AND lease_until > $4 AND finished_at IS NULL",
        )
        .bind(&lease_until)
        .text(name)
        .text(owner)
        .bind(&now)
        .run(&self.engine.write)
        .await?;
        Ok(extended > 0)
    }

    /// Ends the lease of the owner and notes how it went; `false` if another has it by now.
    pub async fn finish_task(
        &self,
        name: &str,
        owner: &str,
        status: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let ended = Sql::new(
            "UPDATE task_leases SET lease_until = $1, finished_at = $1, status = $2 \
             WHERE name = $3 AND owner = $4 AND lease_until > $1",
        )
        .bind(&now)
        .text(status)
        .text(name)
        .text(owner)
        .run(&self.engine.write)
        .await?;
        Ok(ended > 0)
    }

    /// Every task that ever ran.
    pub async fn list_tasks(&self) -> Result<Vec<TaskLease>> {
        Sql::select::<TaskLease>("ORDER BY name")
            .all(&self.engine.read)
            .await
    }
}
