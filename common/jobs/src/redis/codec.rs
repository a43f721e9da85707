//! A job as bytes in Redis: a frame of the job as JSON and its sealed bytes as they are.

use serde::{Deserialize, Serialize};

use crate::{
    frame::{self, FrameError},
    job::Job,
};

#[derive(Serialize)]
struct HeadRef<'a> {
    job: &'a Job,
    sealed: bool,
}

#[derive(Deserialize)]
struct Head {
    job: Job,
    sealed: bool,
}

pub(super) fn pack(mut job: Job) -> Result<Vec<u8>, FrameError> {
    let sealed = job.sealed.take();
    frame::pack(
        &HeadRef {
            job: &job,
            sealed: sealed.is_some(),
        },
        sealed.as_deref().unwrap_or(&[]),
    )
}

pub(super) fn unpack(bytes: &[u8]) -> Result<Job, FrameError> {
    let (Head { mut job, sealed }, rest) = frame::unpack(bytes)?;
    job.sealed = sealed.then(|| rest.to_vec());
    Ok(job)
}

#[cfg(test)]
mod tests {
    use latchkey_domain::{JobId, PartnerId, ReplyId, SessionId, Timestamp};

    use super::*;
    use crate::kinds::ExchangeCode;

    #[test]
    fn jobs_read_back_and_sealed_bytes_cost_no_more_than_themselves() {
        let kind = ExchangeCode {
            session: SessionId::from_u128(7),
        };
        let partner = PartnerId::from_u128(1);
        let mut job =
            Job::new(JobId::from_u128(2), partner, &kind, Timestamp::from_secs(3)).unwrap();
        job.reply_to = Some(ReplyId::from_u128(9));
        for sealed in [None, Some(vec![]), Some(vec![0xff; 10_000])] {
            job.sealed.clone_from(&sealed);
            let bytes = pack(job.clone()).unwrap();
            assert!(bytes.len() < 500 + sealed.as_ref().map_or(0, Vec::len));
            let read = unpack(&bytes).unwrap();
            assert_eq!((read.id, read.reply_to), (job.id, job.reply_to));
            assert_eq!(read.sealed, sealed);
            let exchange: ExchangeCode = read.payload().unwrap();
            assert_eq!(exchange.session, kind.session);
        }
        assert!(unpack(b"{}").is_err());
    }
}
