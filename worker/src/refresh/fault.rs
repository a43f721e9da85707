//! Crash points of the refresh protocol, armed like all of [`crate::fault`]:
//! `FAILPOINTS="refresh::before_commit=5%return"` makes one in twenty that reach the point kill this process.
//!
//! | name | where the process stops |
//! | --- | --- |
//! | `refresh::before_send` | the claim is committed, nothing was sent |
//! | `refresh::after_send` | the request has been under way for 100 ms, no answer came (the provider must take longer) |
//! | `refresh::after_answer` | the answer is in memory, not in the journal |
//! | `refresh::before_commit` | the answer is in the journal, not in the store |
//! | `refresh::after_commit` | the answer is in the store, nobody was told |

pub(super) use crate::fault::point;

/// Lets `send` go on, with a crash point while the request is under way.
pub(super) async fn while_sending<F: Future>(send: F) -> F::Output {
    #[cfg(feature = "fault")]
    {
        // Long enough for a provider on this machine to have the request.
        const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(100);
        let mut send = std::pin::pin!(send);
        if let Ok(answer) = tokio::time::timeout(UNDER_WAY, &mut send).await {
            return answer;
        }
        point("refresh::after_send");
        send.await
    }
    #[cfg(not(feature = "fault"))]
    send.await
}
