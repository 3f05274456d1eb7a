//! The signals that the process handles.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::worker;

/// SIGTERM (from an orchestrator), SIGINT (Ctrl-C) and SIGQUIT end the process. SIGHUP reloads the keys,
/// as is usual for servers. Without a keys file it means that the terminal was closed, and ends the
/// process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    /// Replaces the default actions, which end the process at once.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
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
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.hangup.recv() => if !reload() {
                    return "SIGHUP";
                },
            }
        }
    }
}

/// Makes SIGUSR1 and SIGUSR2 harmless for the rest of the process. Log rotation sends them to make
/// servers open their log again, and their default action ends the process.
pub(crate) fn ignore_user_signals() -> io::Result<()> {
    // The handler stays when the runtime and the streams are gone.
    worker::runtime()?.block_on(async {
        for kind in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            drop(signal(kind)?);
        }
        Ok(())
    })
}
