//! The signals that the process takes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM (an orchestrator) and SIGINT (Ctrl-C) end the process. SIGHUP has it read its keys, as
/// those who send it to a server expect; without files to read, it is a terminal that was closed,
/// and ends it as well.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes these signals over from their default, which is to end the process at once.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one that ends the process, and names it. `reload` is called for each
    /// SIGHUP until then, and says whether there is anything to read.
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
