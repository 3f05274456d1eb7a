//! Whether Redis is of use, and what is said about it.

use std::time::Instant;

use super::dice::dice;
use super::engine::Engine;
use super::trouble::Trouble;

impl Engine {
    /// Redis failed once more.
    pub(super) fn fail(&self, trouble: Trouble) {
        self.gauges.count_failure();
        let opens = self.breaker.borrow_mut().fail(Instant::now(), dice());
        if opens {
            self.open(trouble);
        }
    }

    /// Redis is of no use for now.
    pub(super) fn trip(&self, trouble: Trouble) {
        self.gauges.count_failure();
        self.breaker.borrow_mut().trip(Instant::now(), dice());
        self.open(trouble);
    }

    fn open(&self, trouble: Trouble) {
        self.gauges.set_open(true);
        self.changed.notify_waiters();
        if self.complaint.borrow().as_ref() != Some(&trouble) {
            let redis = &self.settings.address;
            tracing::warn!(
                ?redis,
                "limits are not shared while Redis is of no use: {trouble}"
            );
            self.complaint.replace(Some(trouble));
        }
    }

    /// Redis answers.
    pub(super) fn close(&self) {
        self.breaker.borrow_mut().close();
        self.gauges.set_open(false);
        self.changed.notify_waiters();
    }

    /// Redis has been answering for a while. Said no sooner, so that what comes and goes is not
    /// said each time.
    pub(super) fn settle(&self) {
        self.breaker.borrow_mut().settle();
        if self.complaint.take().is_some() {
            let redis = &self.settings.address;
            tracing::info!(?redis, "limits are shared again: Redis answers");
        }
    }
}
