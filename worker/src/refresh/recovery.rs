//! What is left after a crash, a store that was away, or a stop: journals of dead processes are landed and
//! their attempts closed, in this order; what this process could not land is tried again.

use futures::future::try_join_all;
use latchkey_domain::{
    HolderId,
    refresh::{Class, Ended},
};
use latchkey_store::{Landed, OpenGrant, StoreError};
use latchkey_telemetry::{Chain, RefreshOutcome};

use super::{
    attempt::{Claimed, End},
    closing::Failure,
    journal::{self, Orphan},
    moment::Moment,
    protocol::{Protocol, unusable},
    record::Entry,
};
use crate::WorkerError;

/// Entries landed at once: as many as one group commit takes with ease.
const AT_ONCE: usize = 256;

impl Protocol {
    /// Replays and adopts until the process finishes.
    pub(super) async fn keep_replaying(&self) {
        let stop = self.ctx.stopper.finishing();
        let every = self.ctx.config.worker.journal_replay;
        while stop
            .run_until_cancelled(tokio::time::sleep(every))
            .await
            .is_some()
        {
            if let Err(error) = self.adopt_dead().await {
                tracing::warn!(error = %Chain(&error), "journals of dead processes not landed");
            }
            if let Err(error) = self.replay_left().await {
                tracing::warn!(error = %Chain(&error), "journal not replayed");
            }
            self.count_entries();
        }
        // What is still in it must outlast the machine too.
        self.sync_journal().await;
    }

    /// Lands what dead processes left in their journals, then closes their attempts, then takes the files
    /// away. Until then their attempts stay open and nobody presents.
    pub(super) async fn adopt_dead(&self) -> Result<(), WorkerError> {
        let journals = self.journals.clone();
        let adopted = tokio::task::spawn_blocking(move || journal::adopt(&journals)).await;
        let adopted = match adopted {
            Ok(adopted) => adopted.map_err(|e| unusable(&self.journals, e))?,
            // A panic while reading: its locks are free again, and the next round reads anew.
            Err(_) => return Ok(()),
        };
        for orphan in adopted {
            self.recover(orphan).await?;
        }
        Ok(())
    }

    async fn recover(&self, orphan: Orphan) -> Result<(), WorkerError> {
        let mut landed = 0;
        for part in orphan.entries.chunks(AT_ONCE) {
            for answer in try_join_all(part.iter().map(|entry| self.replay(entry))).await? {
                landed += u32::from(answer);
            }
        }
        let Some(closed) = self.close_attempts_of(orphan.holder).await? else {
            // This process stops; the file stays for the next.
            return Ok(());
        };
        let holder = orphan.holder;
        orphan.remove().map_err(|e| unusable(&self.journals, e))?;
        if landed + closed > 0 {
            tracing::warn!(%holder, landed, closed, "recovered the attempts of a dead process");
        }
        Ok(())
    }

    async fn replay_left(&self) -> Result<(), StoreError> {
        for (id, entry) in self.journal.left() {
            self.replay(&entry).await?;
            self.journal.forget(id);
        }
        Ok(())
    }

    /// Lands an entry of a journal, by version alone; says whether it was news.
    async fn replay(&self, entry: &Entry) -> Result<bool, StoreError> {
        let (grant, store) = (entry.head.grant, &self.ctx.store);
        let now = store.db_now().await?;
        let Landed::Stored { revoking, .. } = store.land_grant(entry.landing(now)).await? else {
            return Ok(false);
        };
        self.changed(grant).await;
        if let Some(loaded) = store.load_grant(grant).await? {
            let provider = &loaded.row.provider;
            self.ctx
                .metrics
                .refresh(provider, RefreshOutcome::Refreshed);
            tracing::info!(%grant.id, provider, "answer landed from a journal");
            if revoking {
                self.revoke(&loaded.row).await;
            }
        }
        Ok(true)
    }

    /// Closes what a dead holder left open: nobody knows whether it was sent or answered. How many; `None`
    /// if the process stopped before all were.
    async fn close_attempts_of(&self, holder: HolderId) -> Result<Option<u32>, StoreError> {
        let open = self.ctx.store.open_attempts_of(holder).await?;
        let moment = Moment::read(&self.ctx).await?;
        let closings = open.into_iter().map(|open| self.close_dead(open, moment));
        let ends = futures::future::join_all(closings).await;
        let all = !ends.iter().any(|end| matches!(end, End::Crashed));
        Ok(all.then(|| u32::try_from(ends.len()).unwrap_or(u32::MAX)))
    }

    async fn close_dead(&self, OpenGrant { row, open }: OpenGrant, moment: Moment) -> End {
        let claimed = Claimed {
            attempt: open.attempt,
            replaced: open.replaced,
            rules: self.rules(&row).await,
            renewal: None,
            doubt: row.in_doubt,
            first_claim_at: open.first_claim_at,
            begun: None,
            moment,
            row,
        };
        let failure = Failure {
            ended: Ended::Unknown,
            class: Class::Transient,
            outcome: RefreshOutcome::InDoubt,
            shown: Some("the worker died before the answer was stored".to_owned()),
            paused: None,
        };
        self.close(&claimed, failure).await
    }
}
