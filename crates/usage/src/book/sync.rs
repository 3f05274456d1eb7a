//! Writes the state file to the disk, in the background.

use std::sync::{PoisonError, Weak};
use std::time::Duration;
use std::{io, thread};

use super::Book;

/// How often the state file is synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Syncs the state file every second, until the book is gone.
pub(super) fn sync_in_background(book: Weak<Book>) {
    let thread = thread::Builder::new().name("voxgate-quota".to_owned());
    let started = thread.spawn(move || {
        loop {
            thread::sleep(SYNC_EVERY);
            let Some(book) = book.upgrade() else {
                return;
            };
            sync(&book);
        }
    });
    if let Err(error) = started {
        tracing::error!(
            "the quota state is not synced to the disk: cannot start a thread: {error}"
        );
    }
}

pub(super) fn sync(book: &Book) {
    let mut state = book.state.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut file) = state.file.take() else {
        return;
    };
    let live = state.persistent().count();
    if file.wants_rewrite(live) {
        file.rewrite(state.persistent());
    }
    let to_sync = file.take_unsynced();
    state.file = Some(file);
    drop(state);
    // The counters are not locked while the disk works.
    let synced = to_sync.map_or(Ok::<(), io::Error>(()), |file| file.sync_data());
    if let Err(error) = synced {
        let mut state = book.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut state.file {
            file.failed(&error);
        }
    }
}
