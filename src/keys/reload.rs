//! Reads keys again when their files have changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::dialect::Dialect;
use crate::error::{ConfigError, Problem};
use crate::files::{Fingerprint, read_together};
use crate::toml_file::unreadable;

use super::file::KeysFile;
use super::ring::KeyRing;
use super::shared::{SharedKeyRing, WeakKeyRing};

/// How often the contents are looked at, whatever the system tells.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Looking takes at most one part in so many of one core.
const POLL_SHARE: u32 = 50;
/// A file that is being written is left alone until nothing has happened for this long,
const SETTLE: Duration = Duration::from_millis(50);
/// unless that takes too long.
const SETTLE_WITHIN: Duration = Duration::from_millis(300);

/// A ring, and what is worth a warning about it.
pub(crate) type Loaded = Result<(KeyRing, Vec<Problem>), ConfigError>;
type Parse = Box<dyn Fn(&[io::Result<String>]) -> Loaded + Send + Sync>;

/// Where keys come from.
pub(crate) struct Source {
    paths: Vec<PathBuf>,
    parse: Parse,
}

impl Source {
    /// Keys from these files. `parse` is given what could be read of each.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        parse: impl Fn(&[io::Result<String>]) -> Loaded + Send + Sync + 'static,
    ) -> Self {
        Self {
            paths,
            parse: Box::new(parse),
        }
    }

    pub(super) fn keys_file(path: &Path, dialect: Dialect) -> Self {
        let file = path.to_owned();
        Self::new(vec![path.to_owned()], move |texts| {
            let name = file.display().to_string();
            let mut problems = Vec::new();
            let (mut keys, mut notices) = (Vec::new(), Vec::new());
            for text in texts {
                match text {
                    Ok(text) => {
                        let read = KeysFile::read(text, &name, dialect, &mut problems);
                        (keys, notices) = read.into_parts();
                    }
                    Err(error) => problems.push(unreadable(&file, "keys file", error)),
                }
            }
            Ok((KeyRing::build(keys, &name, problems)?, notices))
        })
    }

    /// Reads the keys, and what tells whether there is something else to read.
    pub(crate) fn load(&self) -> (Loaded, Fingerprint) {
        let texts = read_together(&self.paths);
        ((self.parse)(&texts), Fingerprint::of(&texts))
    }

    /// Keeps `ring` as these files are, from the state that has this fingerprint on. Does nothing
    /// if there are none.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn watch(self, ring: &SharedKeyRing, seen: Fingerprint) -> Result<(), ConfigError> {
        if self.paths.is_empty() {
            return Ok(());
        }
        let (wake, woken) = sync_channel(1);
        let place = self.paths[0].display().to_string();
        let watcher = Watcher {
            ring: ring.downgrade(),
            source: self,
            seen,
            is_good: true,
        };
        let thread = thread::Builder::new().name("voxgate-keys".to_owned());
        match thread.spawn(move || watcher.run(wake, &woken)) {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = format!("cannot be watched: no thread to be had ({error})");
                Err(Problem::new(place, message).into())
            }
        }
    }
}

struct Watcher {
    ring: WeakKeyRing,
    source: Source,
    seen: Fingerprint,
    /// Whether what was seen last is in force.
    is_good: bool,
}

impl Watcher {
    /// Goes on until nobody has the ring any more.
    fn run(mut self, wake: SyncSender<()>, woken: &Receiver<()>) {
        let _directories = directories::watch(&self.source.paths, wake.clone());
        let mut pause = POLL_EVERY;
        loop {
            if woken.recv_timeout(pause) == Ok(()) {
                settle(woken);
            }
            let Some(ring) = self.ring.upgrade() else {
                return;
            };
            let since = Instant::now();
            let now = Fingerprint::now(&self.source.paths);
            pause = POLL_EVERY.max(since.elapsed() * POLL_SHARE);
            if now != self.seen {
                self.reload(&ring);
            } else if self.is_good {
                ring.confirm();
            }
        }
    }

    fn reload(&mut self, ring: &SharedKeyRing) {
        let (loaded, seen) = self.source.load();
        let loaded = loaded.and_then(|(new, notices)| {
            if new.is_empty() && !ring.ring().is_empty() {
                let place = self.source.paths[0].display().to_string();
                let message = "holds no keys; to refuse everybody, disable each key";
                return Err(Problem::new(place, message).into());
            }
            Ok((new, notices))
        });
        self.seen = seen;
        self.is_good = loaded.is_ok();
        match loaded {
            Ok((new, notices)) => {
                for notice in notices {
                    tracing::warn!("{notice}");
                }
                if !new.has_active() {
                    tracing::warn!("no key is active: every request is refused");
                }
                let (keys, digest) = (new.len(), new.digest());
                ring.replace(new);
                let generation = ring.generation();
                tracing::info!(generation, keys, digest, "keys reloaded");
            }
            Err(error) => {
                ring.fail();
                for problem in error.problems() {
                    tracing::error!("{problem}");
                }
                tracing::error!("the keys were not reloaded; the last good ones stay in force");
            }
        }
    }
}

fn settle(woken: &Receiver<()>) {
    let since = Instant::now();
    while since.elapsed() < SETTLE_WITHIN {
        if woken.recv_timeout(SETTLE) == Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(feature = "notify")]
mod directories {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::SyncSender;

    use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

    /// Wakes whoever waits when something happens to one of these files. Their directories are
    /// watched, because a mounted volume exchanges its files by renaming a link.
    pub(super) fn watch(paths: &[PathBuf], wake: SyncSender<()>) -> Option<RecommendedWatcher> {
        let watched = try_watch(paths, wake);
        if let Err(error) = &watched {
            tracing::warn!("changes of keys are noticed later than they might be: {error}");
        }
        watched.ok()
    }

    fn try_watch(paths: &[PathBuf], wake: SyncSender<()>) -> notify::Result<RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading the files is an event, too. Of what cannot be told, assume the worst.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = wake.try_send(());
            }
        })?;
        let here = Path::new(".");
        let directories: BTreeSet<&Path> = paths
            .iter()
            .filter_map(|path| path.parent())
            .map(|directory| {
                if directory == Path::new("") {
                    here
                } else {
                    directory
                }
            })
            .collect();
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}

#[cfg(not(feature = "notify"))]
mod directories {
    use std::path::PathBuf;
    use std::sync::mpsc::SyncSender;

    /// Nobody tells; whoever waits keeps the sender, and looks from time to time.
    pub(super) fn watch(_: &[PathBuf], wake: SyncSender<()>) -> SyncSender<()> {
        wake
    }
}
