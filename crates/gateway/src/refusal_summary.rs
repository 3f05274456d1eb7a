//! How many requests were refused, and why: one line of the log a minute. Each refusal is a line at the
//! level `debug`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use voxgate::audit::Decision;

const MINUTE: Duration = Duration::from_secs(60);

/// The refusals since the last line, by reason.
#[derive(Debug, Default)]
pub(crate) struct RefusalSummary(Mutex<BTreeMap<&'static str, u64>>);

impl RefusalSummary {
    /// Counts a decision, if it is a refusal.
    pub(crate) fn note(&self, decision: &Decision<'_>) {
        if decision.denial.is_none() {
            return;
        }
        let reason = decision.reason();
        tracing::debug!(
            request_id = %decision.request_id,
            key_id = decision.principal.map(voxgate::Principal::id),
            reason,
            "refused a request"
        );
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_default() += 1;
    }

    /// Writes a line each minute in which requests were refused.
    pub(crate) async fn follow(&self) {
        loop {
            sleep(MINUTE).await;
            self.say();
        }
    }

    /// Writes what was not written yet.
    pub(crate) fn say(&self) {
        if let Some((refused, reasons)) = self.take() {
            tracing::info!(
                refused,
                reasons,
                "requests were refused since the last such line; to see why, run `voxgate audit query \
                 --outcome refused` or `voxgate explain --request-id ID`"
            );
        }
    }

    /// The number of refusals since the last time, and their reasons.
    fn take(&self) -> Option<(u64, String)> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = std::mem::take(&mut *counts);
        let reasons: Vec<String> = counts
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        (!counts.is_empty()).then(|| (counts.values().sum(), reasons.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_was_refused_since_the_last_one() {
        let summary = RefusalSummary::default();
        assert_eq!(summary.take(), None);
        for reason in ["b", "a", "b"] {
            *summary
                .0
                .lock()
                .expect("not poisoned")
                .entry(reason)
                .or_default() += 1;
        }
        assert_eq!(summary.take(), Some((3, "a 1, b 2".to_owned())));
        assert_eq!(summary.take(), None);
    }
}
