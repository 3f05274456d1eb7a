//! Lines that were taken and are not known to be on the disk.

use std::ops::Range;

/// The bodies of lines, in order. Those that were written come first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// Where in `bytes` each body ends.
    ends: Vec<usize>,
    /// How many of them are written to the segment that is open.
    written: usize,
}

impl Pending {
    pub(super) fn push(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
        self.ends.push(self.bytes.len());
    }

    /// How many lines wait to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.ends.len() - self.written
    }

    /// The next lines that fit: `limit` of them at most, and so many bytes with what each line
    /// has on top of its body.
    pub(super) fn fitting(&self, limit: u64, room: u64, overhead: usize) -> Range<usize> {
        let mut used = 0_u64;
        let fits = |at: &usize| {
            used += (self.body(*at).len() + overhead) as u64;
            used <= room
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let candidates = (self.written..self.ends.len()).take(limit);
        self.written..self.written + candidates.take_while(fits).count()
    }

    pub(super) fn body(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }

    /// All up to here is written.
    pub(super) fn wrote_up_to(&mut self, end: usize) {
        self.written = end;
    }

    /// What is written is on the disk.
    pub(super) fn synced(&mut self) {
        let bytes = self
            .written
            .checked_sub(1)
            .map_or(0, |last| self.ends[last]);
        self.bytes.drain(..bytes);
        self.ends.drain(..self.written);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
        self.written = 0;
    }

    /// What is written has to be written again.
    pub(super) fn failed(&mut self) {
        self.written = 0;
    }

    /// Gives back the newest lines, `count` of them at most, as far as they are not written.
    pub(super) fn take_back(&mut self, count: usize) -> usize {
        let count = count.min(self.unwritten());
        self.ends.truncate(self.ends.len() - count);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        count
    }
}
