//! The signals that the process handles.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM (from an orchestrator) and SIGINT (Ctrl-C) end the process. SIGHUP reloads the keys, as is
/// usual for servers. Without a keys file it means that the terminal was closed, and ends the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Replaces the default actions, which end the process at once.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the process, and returns its name. `reload` is called for each
    /// SIGHUP until then, and returns whether there are keys to reload.
    pub(crate) async fn end(&mut self, reload: impl Fn() -> bool) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => if !reload() {
                    return "SIGHUP";
                },
            }
        }
    }
}
