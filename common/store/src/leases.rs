//! Leases of scheduled tasks: each task is a row, each tick of it is claimed by lease, so that there is no
//! leader to elect.

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
        /// When it last finished.
        pub finished_at: Option<Timestamp>,
        /// What it said then.
        pub status: Option<String>,
    }
}

impl Store {
    /// Claims a task's tick: `true` for exactly one caller per slot. A later slot can be claimed only once
    /// the one before it finished or its lease ended. A slot that is still to come was claimed before the
    /// clock was set back: it holds nobody up.
    pub async fn claim_task(
        &self,
        name: &str,
        slot: Timestamp,
        owner: &str,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let won = Sql::new(
            "INSERT INTO task_leases (name, slot, owner, lease_until) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE \
             SET slot = excluded.slot, owner = excluded.owner, lease_until = excluded.lease_until \
             WHERE (task_leases.slot < excluded.slot AND task_leases.lease_until <= $5) \
                 OR task_leases.slot > $5",
        )
        .text(name)
        .bind(&slot)
        .text(owner)
        .bind(&lease_until)
        .bind(&now)
        .run(&self.engine.write)
        .await?;
        Ok(won > 0)
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
