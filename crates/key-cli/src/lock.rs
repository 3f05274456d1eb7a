//! One writer at a time: the lock on a keys file's directory.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::failure::KeyCommandError;

/// The longest wait for other processes that write.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(10);

pub(super) fn wait_for(directory: &File, name: &str) -> Result<(), KeyCommandError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(ASK_AGAIN),
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "another process has held the lock of its directory for {} seconds; try again \
                later; `voxgate key revoke ID --without-lock` does not wait",
                    PATIENCE.as_secs()
                );
                return Err(KeyCommandError::failed(name, message));
            }
            Err(TryLockError::Error(error)) => {
                let message = format!(
                    "its directory cannot be locked ({error}), so a concurrent change might be \
                lost; keep the file on a local disk"
                );
                return Err(KeyCommandError::failed(name, message));
            }
        }
    }
}
