//! Leases of scheduled tasks: each task is a row, each tick of it is claimed by lease, so that there is no
//! leader to elect.

use latchkey_domain::Timestamp;

use crate::{Result, Store, field::record};

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
    /// the one before it finished or its lease ended.
    pub async fn claim_task(
        &self,
        name: &str,
        slot: Timestamp,
        owner: &str,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Ends the lease of the owner and notes how it went; `false` if another has it by now.
    pub async fn finish_task(
        &self,
        name: &str,
        owner: &str,
        status: &str,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Every task that ever ran.
    pub async fn list_tasks(&self) -> Result<Vec<TaskLease>> {
        unimplemented!()
    }
}
