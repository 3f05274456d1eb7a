//! Whether checkpoints are confirmed by a time-stamp authority, and soon enough.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::VerifyOutcome;
use super::walk::Walk;
use crate::chain::Position;
use crate::timestamp;

/// At most so many checkpoints are remembered that have no time stamp yet. With more, the oldest
/// are kept: they decide.
const MAX_WAITING: usize = 1 << 20;

/// The checkpoints of a log that no time stamp covers yet.
#[derive(Debug, Default)]
pub(super) struct Stamping {
    /// By the number of lines that each one covers.
    waiting: BTreeMap<u64, Waiting>,
    /// The lines that a time stamp covers.
    stamped: u64,
    /// Whether there was a checkpoint that needed one.
    begun: bool,
}

#[derive(Debug)]
struct Waiting {
    hash: [u8; 32],
    time: SystemTime,
    /// The segment and line of the checkpoint.
    place: (u64, u64),
}

impl Walk<'_> {
    /// A checkpoint of the lines before this place, at this time.
    pub(super) fn needs_time_stamp(&mut self, note: &str, time: &str, before: &Position) {
        let Some(required) = &self.options.time_stamps else {
            return;
        };
        let Some(time) = timestamp::parse(time) else {
            return;
        };
        if required.since.is_some_and(|since| time < since) {
            return;
        }
        self.stamping.begun = true;
        if self.stamping.waiting.len() < MAX_WAITING {
            let waiting = Waiting {
                hash: Sha256::digest(note).into(),
                time,
                place: (self.at.segment, self.at.line),
            };
            self.stamping.waiting.insert(before.lines, waiting);
        }
    }

    /// A time stamp of the checkpoint that covers so many lines.
    pub(super) fn time_stamp(&mut self, lines: u64, token: &str) -> Result<(), VerifyOutcome> {
        let Some(required) = &self.options.time_stamps else {
            return Ok(());
        };
        let Some(waiting) = self.stamping.waiting.get(&lines) else {
            // Its checkpoint was deleted or lost, or needs none, or a later one has been stamped.
            let is_known = self.stamping.begun && lines > self.stamping.stamped;
            let is_missing = self
                .holes
                .iter()
                .any(|hole| (hole.lines.0..=hole.lines.1 + 1).contains(&lines));
            let oldest = self.stamping.waiting.keys().next();
            if is_known && !is_missing && oldest.is_some_and(|oldest| *oldest < lines) {
                return Err(self.tampered("the time stamp is of no checkpoint in this log"));
            }
            return Ok(());
        };
        let token = STANDARD.decode(token).unwrap_or_default();
        let confirmed = match (required.check)(&token, &waiting.hash) {
            Ok(confirmed) => confirmed,
            Err(invalid) => return Err(self.tampered(&invalid.to_string())),
        };
        let within = required.within;
        let later = self.stamping.waiting.split_off(&(lines + 1));
        let covered = std::mem::replace(&mut self.stamping.waiting, later);
        let late = covered.values().find(|it| {
            let delay = confirmed.duration_since(it.time);
            delay.is_ok_and(|delay| delay > within)
        });
        if let Some(late) = late {
            let (segment, line) = late.place;
            let what = format!(
                "the first time stamp that covers this checkpoint of {} is of {}: the log was \
                 written again, or its time-stamp authority did not answer for so long",
                timestamp::format_micros(late.time),
                timestamp::format_micros(confirmed),
            );
            return Err(self.tampered_at(segment, line, &what));
        }
        self.stamping.stamped = lines;
        self.report.time_stamps += 1;
        self.report.time_stamped = Some((lines, confirmed));
        Ok(())
    }

    /// The end of the log may have no time stamp yet.
    pub(super) fn time_stamps_end(&mut self) -> Result<(), VerifyOutcome> {
        let Some(required) = &self.options.time_stamps else {
            return Ok(());
        };
        let what = "no time stamp covers this checkpoint, but one is required";
        let waiting = &self.stamping.waiting;
        let Some((first, last)) = waiting.values().next().zip(waiting.values().last()) else {
            return match self.report.time_stamps {
                0 => Err(self.tampered("the log has no time stamp, but one is required")),
                _ => Ok(()),
            };
        };
        let span = last.time.duration_since(first.time);
        let is_late = span.unwrap_or(Duration::ZERO) > required.within;
        if is_late || self.report.time_stamps == 0 {
            let (segment, line) = first.place;
            return Err(self.tampered_at(segment, line, what));
        }
        Ok(())
    }
}
