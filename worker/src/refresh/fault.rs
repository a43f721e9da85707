//! Crash points of the refresh protocol, armed like all of [`crate::fault`]:
//! `FAILPOINTS="refresh::before_commit=5%return"` makes one in twenty that reach the point kill this process.
//! `FAILPOINTS="refresh::before_commit=return(ID,ID)"` kills nothing: the refreshes of these connections are held at
//! the point for good and say so in the log. So whoever kills the process knows where each of many refreshes was.
//!
//! | name | where the process stops |
//! | --- | --- |
//! | `refresh::before_send` | the claim is committed, nothing was sent |
//! | `refresh::after_send` | the request has been under way for 100 ms, no answer came (the provider must take longer) |
//! | `refresh::after_answer` | the answer is in memory, not in the journal |
//! | `refresh::before_commit` | the answer is in the journal, not in the store |
//! | `refresh::after_commit` | the answer is in the store, nobody was told |

use latchkey_store::GrantRow;

/// Stops here if the point is armed: this refresh if the point names its connection, the process if it names none.
#[cfg(feature = "fault")]
pub(super) async fn point(name: &'static str, row: &GrantRow) {
    let Some(named) = armed(name) else {
        return;
    };
    if named.is_empty() {
        crate::fault::die();
    }
    let connection = row.connection_id.to_string();
    if named.split(',').any(|id| id == connection) {
        tracing::info!(connection, point = name, "held");
        std::future::pending::<()>().await;
    }
}

/// Stops here if the point is armed.
#[cfg(not(feature = "fault"))]
pub(super) fn point(_name: &'static str, _row: &GrantRow) -> std::future::Ready<()> {
    std::future::ready(())
}

/// The connections that a point names, if it is armed.
#[cfg(feature = "fault")]
fn armed(name: &'static str) -> Option<String> {
    fail::fail_point!(name, |named| Some(named.unwrap_or_default()));
    None
}

/// Lets `send` go on, with a crash point while the request is under way.
pub(super) async fn while_sending<F: Future>(send: F, row: &GrantRow) -> F::Output {
    #[cfg(feature = "fault")]
    {
        // Long enough for a provider on this machine to have the request.
        const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(100);
        let mut send = std::pin::pin!(send);
        if let Ok(answer) = tokio::time::timeout(UNDER_WAY, &mut send).await {
            return answer;
        }
        point("refresh::after_send", row).await;
        send.await
    }
    #[cfg(not(feature = "fault"))]
    {
        let _ = row;
        send.await
    }
}
