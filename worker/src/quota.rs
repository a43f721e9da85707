//! [`Quotas`]: the month's calls of plans that end at their quota. This worker takes them from the store in
//! blocks, one call near the end, so that the quota is kept to the call over all workers; what is not sent goes
//! back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use latchkey_domain::{Clock, Entropy, PartnerId, QuotaBlockId, Timestamp, plan::Plan};
use latchkey_runtime::Context;
use latchkey_store::{QUOTA_BLOCK, Store, StoreError};
use latchkey_telemetry::Chain;

/// For how long calls are taken out of a block: a call that was let go must be recorded before its block ends.
const IN_USE: Duration = Duration::from_secs(60);
const _: () = assert!(IN_USE.as_secs() + 85 <= QUOTA_BLOCK.as_secs());
/// Partners with a block in use, some 100 bytes each. Blocks that are dropped end by themselves.
const PARTNERS_MAX: usize = 10_000;

/// The blocks in use.
#[derive(Debug)]
pub(crate) struct Quotas {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    blocks: Mutex<HashMap<PartnerId, Block>>,
}

#[derive(Debug)]
struct Block {
    id: QuotaBlockId,
    month: Timestamp,
    left: u64,
    until: Duration,
}

/// Leave to make one call that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaPermit {
    partner: PartnerId,
    /// The block that it is taken out of with the receipt.
    pub(crate) block: QuotaBlockId,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quota {
    /// The plan has no quota at which it ends.
    Free,
    /// It may, and this goes into its receipt.
    Held(QuotaPermit),
    /// The month's calls are used up, until then.
    Exhausted(Timestamp),
}

impl Quotas {
    /// None in use.
    pub(crate) fn new(ctx: &Context) -> Self {
        Self {
            store: ctx.store.clone(),
            clock: Arc::clone(&ctx.clock),
            entropy: Arc::clone(&ctx.entropy),
            blocks: Mutex::default(),
        }
    }

    /// Takes one call of the partner's month.
    pub(crate) async fn take(&self, partner: PartnerId, plan: &Plan) -> Result<Quota, StoreError> {
        let (Some(included), None) = (plan.included_calls_per_month, &plan.overage) else {
            return Ok(Quota::Free);
        };
        let now = self.clock.now();
        let month = now.month_start(0);
        if let Some(block) = self.one_of_block(partner, month) {
            return Ok(Quota::Held(QuotaPermit { partner, block }));
        }
        let id = QuotaBlockId::new(now, &*self.entropy);
        let Some(taken) = self.store.take_quota(partner, id, included, now).await? else {
            return Ok(Quota::Exhausted(now.month_start(1)));
        };
        let block = Block {
            id,
            month,
            left: taken.calls - 1,
            until: self.clock.monotonic() + IN_USE,
        };
        if let Some(before) = self.keep(partner, block) {
            self.give_back(partner, before.id, before.left).await;
        }
        Ok(Quota::Held(QuotaPermit { partner, block: id }))
    }

    /// Gives a call back that did not count.
    pub(crate) async fn release(&self, permit: QuotaPermit) {
        if !self.back_to_block(permit) {
            self.give_back(permit.partner, permit.block, 1).await;
        }
    }

    fn one_of_block(&self, partner: PartnerId, month: Timestamp) -> Option<QuotaBlockId> {
        let now = self.clock.monotonic();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let block = blocks.get_mut(&partner)?;
        if block.left == 0 || block.until <= now || block.month != month {
            return None;
        }
        block.left -= 1;
        Some(block.id)
    }

    fn back_to_block(&self, permit: QuotaPermit) -> bool {
        let now = self.clock.monotonic();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        match blocks.get_mut(&permit.partner) {
            Some(block) if block.id == permit.block && block.until > now => {
                block.left += 1;
                true
            }
            _ => false,
        }
    }

    /// Keeps a block for the next calls; what was kept before and has calls left.
    fn keep(&self, partner: PartnerId, block: Block) -> Option<Block> {
        let now = self.clock.monotonic();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() >= PARTNERS_MAX {
            blocks.retain(|_, block| block.until > now);
        }
        let before = blocks.insert(partner, block);
        before.filter(|before| before.left > 0)
    }

    async fn give_back(&self, partner: PartnerId, block: QuotaBlockId, calls: u64) {
        if let Err(error) = self.store.give_back_quota(partner, block, calls).await {
            // The block ends by itself.
            tracing::warn!(error = %Chain(&error), "calls of a quota were not given back");
        }
    }
}
