//! Polling, as the platform's clients do it: ask again until the answer is there, and fail in clear words
//! when it does not come. For what has no signal to wait on.

use std::time::Duration;

use crate::LONG;

/// How often a question is asked again.
const EVERY: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none in [`LONG`]; `what` says what was awaited.
pub async fn until<T, F, A>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> A,
    A: Future<Output = Option<T>>,
{
    let mut again = tokio::time::interval(EVERY);
    let asked = async {
        loop {
            again.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(LONG, asked)
        .await
        .unwrap_or_else(|_| panic!("never came: {what}"))
}
