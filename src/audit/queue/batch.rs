//! A batch of records.

use std::sync::Arc;

use super::waiter::Waiter;
use crate::audit::entry::Entry;

/// The capacity of a batch, in records and in bytes of their texts.
pub(super) const MAX_RECORDS: usize = 16 * 1024;
const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;
/// Maximum length of the texts of one record.
const MAX_RECORD_TEXT_BYTES: usize = 2048;

/// Records that are written together.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// The texts of the entries.
    pub(super) text: Vec<u8>,
    /// The requests that wait for an entry, by its `seq`.
    pub(super) waiters: Vec<(u64, Arc<Waiter>)>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(MAX_RECORDS),
            text: Vec::with_capacity(MAX_TEXT_BYTES),
            waiters: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_RECORDS
            || self.text.len() + MAX_RECORD_TEXT_BYTES > MAX_TEXT_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.waiters.clear();
    }
}
