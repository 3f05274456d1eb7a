//! A watch of Secrets with keys, as the gateway sees it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use tokio::runtime;
use tokio::sync::Notify;
use voxgate::{Dialect, SharedKeyRing};

use super::watch::Watcher;

/// Which Secrets are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchedSecrets {
    /// One Secret, by its name.
    Named(String),
    /// Those with these labels, in the syntax of a label selector.
    Labelled(String),
}

/// The settings of a [`KeyWatch`].
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// Which Secrets are watched.
    pub secrets: WatchedSecrets,
    /// Their namespace; `None` for that of the pod, or of the kubeconfig's context.
    pub namespace: Option<String>,
    /// In which keys in plain text are presented.
    pub dialect: Dialect,
    /// A keys file that is used until the API server has answered.
    pub fallback: Option<PathBuf>,
}

/// A thread that keeps a [`SharedKeyRing`] as the watched Secrets are. Cloning shares it.
///
/// While the API server is away, or a Secret is wrong, the last good keys stay in force. The thread
/// ends when the last clone of the ring is dropped.
#[derive(Clone)]
pub struct KeyWatch(Arc<WatchState>);

#[derive(Default)]
pub(crate) struct WatchState {
    /// Whether there are keys in force, of a list or of the file.
    pub(crate) is_ready: AtomicBool,
    pub(crate) is_connected: AtomicBool,
    pub(crate) refused: AtomicUsize,
    pub(crate) first: Mutex<bool>,
    pub(crate) changed: Condvar,
}

impl KeyWatch {
    /// Starts the thread. Until the first list, the ring is left as it is; if there is a fall-back file
    /// and the first attempt fails, the keys of the file are put in force.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(settings: WatchSettings, ring: &SharedKeyRing) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let state = Arc::new(WatchState::default());
        let relist = Arc::new(Notify::new());
        let asked = Arc::clone(&relist);
        ring.on_reload(move || asked.notify_one());
        let watcher = Watcher::new(settings, ring.downgrade(), Arc::clone(&state), relist);
        let thread = thread::Builder::new().name("voxgate-keys".to_owned());
        thread.spawn(move || runtime.block_on(watcher.run()))?;
        Ok(Self(state))
    }

    /// Waits until there are keys in force, or for this long. Returns whether there are.
    #[must_use]
    pub fn wait_until_ready(&self, within: Duration) -> bool {
        let since = Instant::now();
        let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        while !*first {
            let left = within.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(first, left);
            first = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *first
    }

    /// Whether the Secrets were listed, or the fall-back file is in force.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    /// Whether a watch is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_connected.load(Ordering::Relaxed)
    }

    /// How many Secrets are wrong, so that their last good keys stay in force.
    #[must_use]
    pub fn refused_secrets(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for KeyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWatch")
            .field("ready", &self.is_ready())
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
