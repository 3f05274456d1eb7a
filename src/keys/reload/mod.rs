//! Reads keys again when their files have changed.

#[cfg(feature = "notify")]
mod directories;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use voxgate_core::error::{ConfigError, Problem};
use voxgate_core::files::{Fingerprint, read_together, read_what_is_text};
use voxgate_core::toml_file::unreadable;

use crate::dialect::Dialect;

use super::file::{KeysFile, Takeaways};
use super::ring::KeyRing;
use super::shared::{SharedKeyRing, WeakKeyRing};
use super::signing::read_secrets;

/// How often the contents are looked at, whatever the system tells.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Looking takes at most one part in so many of one core, …
const POLL_SHARE: u32 = 50;
/// … but is never put off for longer.
const POLL_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// Without file events, a file must look the same twice, this long apart, to count as complete.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What happens in one go is looked at once.
const SETTLE: Duration = Duration::from_millis(50);
const SETTLE_WITHIN: Duration = Duration::from_millis(300);
/// A writer that has not closed its file for so long has forgotten it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// Messages that may wait.
const NEWS: usize = 64;

/// An event of a file.
#[cfg_attr(
    not(feature = "notify"),
    expect(dead_code, reason = "without `notify` there are no events")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It is being written in place.
    BeingWritten,
    /// It was put in its place, or its writer has closed it.
    Whole,
    /// A reload was requested.
    Asked,
}

/// A ring, and the warnings about it.
pub(crate) type Loaded = Result<(KeyRing, Vec<Problem>), ConfigError>;
type Parse = Box<dyn Fn(&[io::Result<String>]) -> Loaded + Send + Sync>;

/// Where keys come from.
pub(crate) struct Source {
    paths: Vec<PathBuf>,
    /// Which of the files is a keys file, and in which dialect its plain secrets are read.
    keys_file: Option<(usize, Dialect)>,
    parse: Parse,
}

impl Source {
    /// Keys from these files. One of them may be a keys file. `parse` receives the text of each file,
    /// or the error of reading it.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        keys_file: Option<(usize, Dialect)>,
        parse: impl Fn(&[io::Result<String>]) -> Loaded + Send + Sync + 'static,
    ) -> Self {
        Self {
            paths,
            keys_file,
            parse: Box::new(parse),
        }
    }

    /// No keys, and nothing to read again.
    pub(crate) fn none() -> Self {
        Self::new(Vec::new(), None, |_| Ok((KeyRing::new([])?, Vec::new())))
    }

    pub(super) fn keys_file(path: &Path, dialect: Dialect) -> Self {
        let file = path.to_owned();
        let keys_file = Some((0, dialect));
        Self::new(vec![path.to_owned()], keys_file, move |texts| {
            let name = file.display().to_string();
            let mut problems = Vec::new();
            let (mut keys, mut notices) = (Vec::new(), Vec::new());
            for text in texts {
                match text {
                    Ok(text) => {
                        let read = KeysFile::read(text, &name, dialect, &mut problems);
                        (keys, notices) = read.into_parts();
                        read_secrets(&mut keys, &name, &mut problems, &mut notices);
                    }
                    Err(error) => problems.push(unreadable(&file, "keys file", error)),
                }
            }
            Ok((KeyRing::build(keys, &name, problems)?, notices))
        })
    }

    /// Reads the keys, and the fingerprint of their files.
    pub(crate) fn load(&self) -> (Loaded, Fingerprint) {
        let texts = read_together(&self.paths);
        ((self.parse)(&texts), Fingerprint::of(&texts))
    }

    /// What the keys file takes away explicitly, although the files cannot be loaded.
    fn takeaways(&self, texts: &[io::Result<String>]) -> Takeaways {
        let keys_file = self.keys_file.and_then(|(at, dialect)| {
            let text = match texts.get(at)? {
                Ok(text) => Cow::Borrowed(text.as_str()),
                Err(_) => Cow::Owned(read_what_is_text(self.paths.get(at)?)?),
            };
            Some(Takeaways::read(&text, dialect, SystemTime::now()))
        });
        keys_file.unwrap_or_default()
    }

    /// Keeps `ring` as these files are, from the state that has this fingerprint on. Does nothing
    /// if there are none.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn watch(self, ring: &SharedKeyRing, seen: Fingerprint) -> Result<(), ConfigError> {
        if self.paths.is_empty() {
            return Ok(());
        }
        let (tell, told) = sync_channel(NEWS);
        // Not on the other thread: who writes once this has returned is heard.
        let directories = directories::watch(&self.paths, tell.clone());
        let asked = tell.clone();
        ring.on_reload(move || _ = asked.try_send(News::Asked));
        let place = self.paths[0].display().to_string();
        let watcher = Watcher {
            ring: ring.downgrade(),
            source: self,
            in_force: seen,
            last_look: seen,
            complaint: None,
            being_written: None,
            told,
            _tell: tell,
            directories,
        };
        let thread = thread::Builder::new().name("voxgate-keys".to_owned());
        match thread.spawn(move || watcher.run()) {
            Ok(_) => Ok(()),
            Err(error) => {
                let message =
                    format!("cannot be watched: the thread could not be started ({error})");
                Err(Problem::new(place, message).into())
            }
        }
    }
}

struct Watcher {
    ring: WeakKeyRing,
    source: Source,
    /// What the ring in force is from.
    in_force: Fingerprint,
    last_look: Fingerprint,
    /// What is wrong with what was seen last, and with what; `None` when it is in force.
    complaint: Option<(Fingerprint, String)>,
    /// Since when one of the files is being written.
    being_written: Option<Instant>,
    told: Receiver<News>,
    /// Keeps waiting for news from ending before its time.
    _tell: SyncSender<News>,
    directories: Option<directories::Directories>,
}

impl Watcher {
    /// Runs until the last clone of the ring is dropped.
    fn run(mut self) {
        let mut pause = POLL_EVERY;
        loop {
            let news = self.wait(pause);
            let Some(ring) = self.ring.upgrade() else {
                return;
            };
            let since = Instant::now();
            let now = Fingerprint::now(&self.source.paths);
            // An event says that the file is complete. A change found by polling may be half-written.
            let is_whole = match news {
                Some(News::Whole | News::Asked) => true,
                _ if self.directories.is_some() && self.is_being_written() => false,
                _ => now == self.last_look,
            };
            self.last_look = now;
            if now == self.in_force && self.complaint.is_none() {
                ring.confirm();
            } else if is_whole {
                self.reload(&ring);
            } else {
                pause = LOOK_AGAIN_AFTER;
                continue;
            }
            pause = (since.elapsed() * POLL_SHARE).clamp(POLL_EVERY, POLL_AT_LEAST_EVERY);
        }
    }

    /// Waits for the next news, and for what comes with it: the last of it, or nothing after
    /// `pause`.
    fn wait(&mut self, pause: Duration) -> Option<News> {
        let mut last = self.told.recv_timeout(pause).ok()?;
        self.note(last);
        let since = Instant::now();
        while since.elapsed() < SETTLE_WITHIN
            && let Ok(next) = self.told.recv_timeout(SETTLE)
        {
            self.note(next);
            last = next;
        }
        Some(last)
    }

    fn note(&mut self, news: News) {
        self.being_written = match news {
            News::BeingWritten => Some(Instant::now()),
            News::Whole => None,
            News::Asked => self.being_written,
        };
    }

    fn is_being_written(&self) -> bool {
        let since = self.being_written;
        since.is_some_and(|since| since.elapsed() < WRITTEN_WITHIN)
    }

    /// Reads the files. What was bad is read again at every look: a key may have expired that was
    /// one too many, or that the keys in force still accept.
    fn reload(&mut self, ring: &SharedKeyRing) {
        let texts = read_together(&self.source.paths);
        let seen = Fingerprint::of(&texts);
        let loaded = (self.source.parse)(&texts);
        let loaded = loaded.and_then(|(new, notices)| {
            if new.is_empty() && !ring.ring().is_empty() {
                let place = self.source.paths[0].display().to_string();
                let message = "contains no keys; to refuse all callers, disable each key";
                return Err(Problem::new(place, message).into());
            }
            Ok((new, notices))
        });
        self.last_look = seen;
        match loaded {
            Ok((new, notices)) => {
                self.in_force = seen;
                self.complaint = None;
                put_in_force(ring, new, &notices);
            }
            Err(error) => {
                let complaint = (seen, error.to_string());
                if self.complaint.as_ref() != Some(&complaint) {
                    ring.fail();
                    for problem in error.problems() {
                        tracing::error!("{problem}");
                    }
                    tracing::error!(
                        "the keys were not reloaded; the last good ones stay in force, except those \
                         that the keys file refuses explicitly"
                    );
                    self.complaint = Some(complaint);
                }
                let takeaways = self.source.takeaways(&texts);
                if !takeaways.is_empty() {
                    for key in ring.revoke_named(&takeaways) {
                        tracing::error!(
                            key = key.id(),
                            "the key is refused from now on: the keys file refuses it, although its \
                             other problems keep it from being loaded"
                        );
                    }
                }
            }
        }
    }
}

fn put_in_force(ring: &SharedKeyRing, new: KeyRing, notices: &[Problem]) {
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

#[cfg(not(feature = "notify"))]
mod directories {
    use std::path::PathBuf;
    use std::sync::mpsc::SyncSender;

    use super::News;

    pub(super) enum Directories {}

    /// There are no events.
    pub(super) fn watch(_: &[PathBuf], _: SyncSender<News>) -> Option<Directories> {
        None
    }
}

#[cfg(test)]
mod tests;
