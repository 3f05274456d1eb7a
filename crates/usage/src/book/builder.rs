//! The settings of a book.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use voxgate::rate_limit::{OnFailure, QuotaStore};

use super::sync::sync_in_background;
use super::{Book, UsageBook};
use crate::calendar::Calendar;
use crate::owner::Clock;
use crate::state_file::{self, StateError, StateFile};

/// The settings of a [`UsageBook`].
#[must_use = "a builder does nothing until it is built"]
pub struct BookBuilder {
    pub(super) calendar: Calendar,
    pub(super) clock: Clock,
    pub(super) store: Option<Arc<dyn QuotaStore>>,
    pub(super) on_failure: OnFailure,
    pub(super) counts_all: bool,
    pub(super) header_fields: bool,
    pub(super) path: Option<PathBuf>,
}

impl BookBuilder {
    /// Keeps the counters of principals with quotas in this file.
    pub fn with_state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Shares the counters with other replicas.
    pub fn with_store(mut self, store: impl QuotaStore, on_failure: OnFailure) -> Self {
        self.store = Some(Arc::new(store));
        self.on_failure = on_failure;
        self
    }

    /// Counts principals without quotas as well, at most 100 000 keys and as many accounts. They are
    /// not in the state file.
    pub fn with_all_principals(mut self) -> Self {
        self.counts_all = true;
        self
    }

    /// Sets whether responses have the header fields that report quotas. The default is true.
    pub fn with_header_fields(mut self, header_fields: bool) -> Self {
        self.header_fields = header_fields;
        self
    }

    /// Reads the time from another clock.
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Builds the book. `restore` is called if there is a state file setting and no file, because
    /// its counts are lost or there never was one: it may count what the audit log says
    /// ([`UsageBook::restore`]).
    ///
    /// # Errors
    ///
    /// If the state file cannot be read, written or locked, or is not one.
    pub fn build_with(self, restore: impl FnOnce(&UsageBook)) -> Result<UsageBook, StateError> {
        let opened = self.path.as_deref().map(state_file::read).transpose()?;
        let known = opened.as_ref().and_then(|(_, read)| read.replica.clone());
        let is_lost = known.is_none();
        // Without randomness, the number of the process and the time have to do.
        let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let replica = known.unwrap_or_else(|| format!("{random:016x}"));
        let book = UsageBook(Arc::new(Book {
            calendar: self.calendar,
            clock: self.clock,
            store: self.store,
            on_failure: self.on_failure,
            counts_all: self.counts_all,
            header_fields: self.header_fields,
            replica: replica.as_str().into(),
            state: Mutex::default(),
            asked: Mutex::default(),
        }));
        if let Some((_, read)) = &opened {
            book.load(read);
        }
        if is_lost {
            restore(&book);
        }
        if let (Some(path), Some((lock, _))) = (&self.path, opened) {
            let mut state = book.state();
            let file = StateFile::create(path, lock, &replica, state.persistent())?;
            state.file = Some(file);
            drop(state);
            sync_in_background(Arc::downgrade(&book.0));
        }
        Ok(book)
    }

    /// A book with the counters of a state file that another process may have open. It does not
    /// change the file.
    ///
    /// # Errors
    ///
    /// If the state file cannot be read, or is not one.
    pub fn read_only(self, path: &Path) -> Result<UsageBook, StateError> {
        let read = state_file::peek(path)?;
        let book = Self { path: None, ..self }.build()?;
        book.load(&read);
        Ok(book)
    }

    /// Builds the book. Counters that are lost begin at zero.
    ///
    /// # Errors
    ///
    /// As [`build_with`](Self::build_with).
    pub fn build(self) -> Result<UsageBook, StateError> {
        self.build_with(|_| {})
    }
}

impl fmt::Debug for BookBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BookBuilder")
            .field("calendar", &self.calendar)
            .field("path", &self.path)
            .field("is_shared", &self.store.is_some())
            .finish_non_exhaustive()
    }
}
