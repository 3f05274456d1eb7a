//! Whose turn it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Whose turn it is: the client's, while the server waits for more of the request's body, or the
/// server's. Only the server's turn counts toward its time limits. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Turn(Arc<TurnState>);

#[derive(Debug)]
struct TurnState {
    since: Mutex<Option<Instant>>,
    /// Whether the body ended early, which is not the server's fault.
    broken_off: AtomicBool,
}

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(TurnState {
            since: Mutex::new(Some(Instant::now())),
            broken_off: AtomicBool::new(false),
        }))
    }
}

impl Turn {
    /// The server waits for the client.
    pub fn is_the_clients(&self) {
        self.set(None);
    }

    /// The server has all that the client sent so far.
    pub fn is_the_servers(&self) {
        self.set(Some(Instant::now()));
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Since when it has been the server's turn; `None` while it is the client's.
    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client's body ended early.
    pub fn break_off(&self) {
        self.0.broken_off.store(true, Ordering::Release);
    }

    /// Whether the client's body ended early. HTTP/2 does not say so in its errors.
    #[must_use]
    pub fn is_broken_off(&self) -> bool {
        self.0.broken_off.load(Ordering::Acquire)
    }

    /// Resolves when it has been the server's turn for `limit` without progress.
    pub async fn exceeds(&self, limit: Duration) {
        loop {
            let left = match self.since() {
                None => limit,
                Some(since) => limit.saturating_sub(since.elapsed()),
            };
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn only_the_servers_turn_counts() {
        let limit = Duration::from_secs(10);
        let turn = Turn::default();
        let begun = Instant::now();
        turn.exceeds(limit).await;
        assert_eq!(begun.elapsed(), limit);

        let turn = Turn::default();
        turn.is_the_clients();
        let waited = timeout(limit * 100, turn.exceeds(limit)).await;
        assert!(waited.is_err(), "a slow caller is not the server's fault");

        let late = turn.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(25)).await;
            late.is_the_servers();
        });
        let begun = Instant::now();
        turn.exceeds(limit).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(35));
    }
}
