//! Writes lines to the files of the audit log.

use std::io;
use std::time::SystemTime;

use super::output::Output;
use crate::audit::log::{Log, LogError};

/// Writes lines to a [`Log`], which chains them. [`sync`](Output::sync) writes them to the disk.
pub struct LogOutput {
    log: Option<Log>,
    /// How many lines of the last failed write the log has accepted.
    taken: usize,
}

impl LogOutput {
    /// Writes lines to this log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self {
            log: Some(log),
            taken: 0,
        }
    }

    fn log(&mut self) -> io::Result<&mut Log> {
        self.log
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn refused(error: LogError) -> io::Error {
    io::Error::other(error)
}

impl Output for LogOutput {
    fn write(&mut self, lines: &str) -> io::Result<()> {
        let taken = self.taken;
        let lines: Vec<&[u8]> = lines.lines().skip(taken).map(str::as_bytes).collect();
        match self.log()?.append(&lines, SystemTime::now()) {
            Ok(()) => {
                self.taken = 0;
                Ok(())
            }
            Err(rejected) => {
                self.taken += rejected.taken;
                Err(refused(rejected.error))
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log()?.sync(SystemTime::now()).map_err(refused)
    }

    fn give_up(&mut self) {
        self.taken = 0;
    }

    fn tick(&mut self) -> io::Result<()> {
        self.log()?.tick(SystemTime::now()).map_err(refused)
    }

    fn close(&mut self) -> io::Result<()> {
        match self.log.take() {
            Some(log) => log.close(SystemTime::now()).map_err(refused),
            None => Ok(()),
        }
    }
}
