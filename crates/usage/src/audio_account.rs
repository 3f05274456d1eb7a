//! Audio of one answer or tunnel, counted while it passes.

use std::time::Duration;

use voxgate::Principal;
use voxgate::speech::SpeechMeter;

use crate::book::UsageBook;

/// How much audio is counted in the book at once. A tunnel can stay open for days.
const STEP_MS: u64 = 5_000;

/// Tells the meter and the book how much audio passed.
pub(crate) struct AudioAccount {
    meter: Option<SpeechMeter>,
    book: UsageBook,
    principal: Principal,
    /// Milliseconds that passed, and those of them that the book has.
    heard: u64,
    counted: u64,
}

impl AudioAccount {
    pub(crate) fn new(meter: Option<SpeechMeter>, book: UsageBook, principal: Principal) -> Self {
        Self {
            meter,
            book,
            principal,
            heard: 0,
            counted: 0,
        }
    }

    /// So much audio has passed in all.
    pub(crate) fn heard(&mut self, duration: Duration) {
        self.heard = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if let Some(meter) = &self.meter {
            meter.set_audio(duration);
        }
        if self.heard.saturating_sub(self.counted) >= STEP_MS {
            self.count();
        }
    }

    fn count(&mut self) {
        let more = self.heard.saturating_sub(self.counted);
        self.book.add_audio(&self.principal, more);
        self.counted += more;
    }
}

impl Drop for AudioAccount {
    fn drop(&mut self) {
        self.count();
    }
}
