//! One entry of the journal and its bytes: `length | CRC-32 | frame`, the frame being the entry's head as
//! JSON and the sealed token set as its body. Ciphertext only: a journal is worth nothing without the keys.

use std::time::Duration;

use latchkey_domain::{AttemptId, Timestamp};
use latchkey_jobs::frame;
use latchkey_store::{GrantKey, Landing};
use serde::{Deserialize, Serialize};

/// Length and checksum before each frame, in bytes.
const HEADER: usize = 8;
/// The largest frame that is read back, in bytes: a sealed token set is some 2 KiB and at most 33 KiB. A
/// length beyond it is a torn record, not a reason to allocate.
const MAX_FRAME: usize = 1 << 20;
/// What stands after the last record, so that what an older life of the file left there is not read.
pub(super) const END: [u8; 4] = [0; 4];

/// An answer of a token endpoint, sealed for the version it shall become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What the head holds.
    pub(super) head: Head,
    /// The token set, sealed for `generation + 1`.
    pub(super) sealed: Vec<u8>,
}

/// Everything of a landing but the sealed tokens and the time of its writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Which grant.
    pub(super) grant: GrantKey,
    /// The generation that was presented.
    pub(super) generation: i64,
    /// The attempt that presented it.
    pub(super) attempt: AttemptId,
    /// When the answer came, by database time.
    pub(super) issued_at: Timestamp,
    /// When the access token ends.
    pub(super) expires_at: Option<Timestamp>,
    /// When the grant is due next.
    pub(super) due_at: Option<Timestamp>,
    /// Whether there is a refresh token to go on with.
    pub(super) refreshable: bool,
    /// When the refresh token ends, if that is known.
    #[serde(default)]
    pub(super) dies_at: Option<Timestamp>,
    /// From the claim to the answer.
    #[serde(default)]
    pub(super) took: Option<Duration>,
}

impl Entry {
    /// The write that stores it.
    pub(super) fn landing(&self, now: Timestamp) -> Landing {
        let Head {
            grant,
            generation,
            attempt,
            issued_at,
            expires_at,
            due_at,
            refreshable,
            dies_at,
            took,
        } = self.head;
        Landing {
            grant,
            generation,
            attempt,
            sealed: self.sealed.clone(),
            issued_at,
            expires_at,
            due_at,
            refreshable,
            dies_at,
            took,
            now,
        }
    }

    /// Its bytes in a journal.
    pub(super) fn record(&self) -> Result<Vec<u8>, frame::FrameError> {
        let frame = frame::pack(&self.head, &self.sealed)?;
        let length = u32::try_from(frame.len())
            .ok()
            .filter(|_| frame.len() <= MAX_FRAME)
            .ok_or(frame::FrameError::Short)?;
        let mut record = Vec::with_capacity(HEADER + frame.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        record.extend_from_slice(&frame);
        Ok(record)
    }

    /// Reads one record from the front of `bytes`, and how long it was. `None` ends the journal: the mark
    /// after the last record, or one that was torn as its process died.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length == 0 || length > MAX_FRAME {
            return None;
        }
        let frame = rest.get(..length)?;
        if crc32fast::hash(frame) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (head, sealed) = frame::unpack(frame).ok()?;
        let sealed = sealed.to_vec();
        Some((Self { head, sealed }, HEADER + length))
    }

    /// Every entry up to the end or the first torn one.
    pub(super) fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut entries = Vec::new();
        while let Some((entry, length)) = Self::read(bytes) {
            entries.push(entry);
            bytes = &bytes[length..];
        }
        entries
    }
}

#[cfg(test)]
pub(super) fn sample(n: u128) -> Entry {
    use latchkey_domain::{GrantId, PartnerId};
    Entry {
        head: Head {
            grant: GrantKey {
                partner_id: PartnerId::from_u128(9),
                id: GrantId::from_u128(n),
            },
            generation: 3,
            attempt: AttemptId::from_u128(n),
            issued_at: Timestamp::from_secs(100),
            expires_at: Some(Timestamp::from_secs(3700)),
            due_at: None,
            refreshable: true,
            dies_at: None,
            took: None,
        },
        sealed: vec![u8::try_from(n % 251).unwrap(); 1500],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_read_back_until_the_end_mark() {
        let entries: Vec<_> = (1..=5).map(sample).collect();
        let mut bytes: Vec<u8> = entries.iter().flat_map(|e| e.record().unwrap()).collect();
        bytes.extend_from_slice(&END);
        bytes.extend_from_slice(&sample(6).record().unwrap());
        assert_eq!(Entry::read_all(&bytes), entries);
    }

    proptest! {
        #[test]
        fn a_torn_or_damaged_tail_costs_only_what_it_holds(cut in 0_usize..6000, flip in 0_usize..6000) {
            let records: Vec<_> = (1..=3).map(|n| sample(n).record().unwrap()).collect();
            let mut bytes = records.concat();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= 0x20;
            }
            let mut end = 0;
            let whole = records.iter().take_while(|record| {
                end += record.len();
                end <= flip.min(cut)
            });
            let whole = whole.count() as u128;
            prop_assert_eq!(Entry::read_all(&bytes), (1..=whole).map(sample).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Entry::read_all(&bytes);
        }
    }
}
