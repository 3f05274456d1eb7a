//! Keeps a key ring as the Secrets of a namespace are.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use voxgate::keys::{KeysFile, WeakKeyRing};
use voxgate::{KeyRing, Problem, SharedKeyRing};

use super::api::{Api, ApiError, Events, Selection};
use super::backoff::Backoff;
use super::collection::SecretCollection;
use super::connection::{connect, missing_right};
use super::key_watch::{WatchSettings, WatchState, WatchedSecrets};
use super::wire::WatchEvent;

/// How often the thread looks whether it is still needed, and whether a wrong Secret refuses more keys
/// by now.
const TICK: Duration = Duration::from_secs(2);
/// Changes that arrive within this time come into force together.
const SETTLE: Duration = Duration::from_millis(50);
const SETTLE_WITHIN: Duration = Duration::from_millis(300);
/// After so many failed watches in a row, the Secrets are listed.
const FAILED_WATCHES: u32 = 3;
/// A watch that ends sooner has failed.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// The task that keeps the ring.
pub(crate) struct Watcher {
    settings: WatchSettings,
    ring: WeakKeyRing,
    state: Arc<WatchState>,
    /// A reload was requested.
    relist: Arc<Notify>,
    /// The last failure that was logged, until an attempt succeeds.
    complaint: Option<String>,
    has_listed: bool,
}

/// The last clone of the ring was dropped.
struct Ended;

/// Why a watch has to begin with a new list.
enum Relist {
    Now,
    /// The credentials should be read again.
    WithNewClient,
    Ended,
}

impl From<Ended> for Relist {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

/// What is known about the Secrets.
struct Known {
    secrets: SecretCollection,
    version: String,
}

impl Watcher {
    pub(crate) fn new(
        settings: WatchSettings,
        ring: WeakKeyRing,
        state: Arc<WatchState>,
        relist: Arc<Notify>,
    ) -> Self {
        Self {
            settings,
            ring,
            state,
            relist,
            complaint: None,
            has_listed: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut known: Option<Known> = None;
        // A client remembers its credentials, so it is made again when they are refused.
        let mut connection: Option<(Api, Selection)> = None;
        loop {
            let (api, selection) = match connection.take() {
                Some(connection) => connection,
                None => match connect(&self.settings).await {
                    Ok(connection) => connection,
                    Err(error) => {
                        self.complain("list", "", &error);
                        if self.pause(&mut backoff).await.is_err() {
                            return;
                        }
                        continue;
                    }
                },
            };
            let mut keep = true;
            match api.list(&selection).await {
                Ok((list, version)) => {
                    let Some(ring) = self.ring.upgrade() else {
                        return;
                    };
                    let (mut secrets, is_first) = match known.take() {
                        Some(known) => (known.secrets, false),
                        None => {
                            let dialect = self.settings.dialect;
                            (SecretCollection::new(&selection.namespace, dialect), true)
                        }
                    };
                    let removed = secrets.replace(list);
                    self.put_in_force(&ring, &mut secrets, removed || is_first);
                    if is_first {
                        self.say_what_is_watched(&selection, &secrets);
                    }
                    self.succeed("list", &ring, &secrets);
                    self.has_listed = true;
                    self.set_ready();
                    drop(ring);
                    let mut now = Known { secrets, version };
                    let why = self.follow(&api, &selection, &mut now, &mut backoff).await;
                    self.state.is_connected.store(false, Ordering::Relaxed);
                    known = Some(now);
                    match why {
                        Relist::Now => {}
                        Relist::WithNewClient => keep = false,
                        Relist::Ended => return,
                    }
                }
                Err(error) => {
                    keep = !error.is_unauthorized();
                    self.complain("list", &selection.namespace, &error);
                    if self.pause(&mut backoff).await.is_err() {
                        return;
                    }
                }
            }
            connection = keep.then_some((api, selection));
        }
    }

    /// Watches from the known version on, and resumes after each end of a watch.
    async fn follow(
        &mut self,
        api: &Api,
        selection: &Selection,
        known: &mut Known,
        backoff: &mut Backoff,
    ) -> Relist {
        let mut failures = 0;
        loop {
            let since = Instant::now();
            let version = known.version.clone();
            let ended = match api.watch(selection, &version).await {
                Ok(events) => self.read(events, known).await,
                Err(error) => Err(WatchEnd::Failed(error)),
            };
            self.state.is_connected.store(false, Ordering::Relaxed);
            let has_advanced = known.version != version;
            if has_advanced || since.elapsed() >= SHORTEST_WATCH {
                failures = 0;
            }
            match ended {
                Ok(()) if has_advanced || since.elapsed() >= SHORTEST_WATCH => {
                    backoff.reset();
                    continue;
                }
                Ok(()) => {}
                Err(WatchEnd::Ended) => return Relist::Ended,
                Err(WatchEnd::Asked) => return Relist::Now,
                Err(WatchEnd::Failed(error)) => {
                    if has_advanced {
                        backoff.reset();
                    }
                    match &error {
                        ApiError::Expired => {
                            tracing::info!(
                                "the API server no longer has the changes since the last version; \
                                 listing the Secrets again"
                            );
                            // A version that is always too old must not make a busy loop.
                            return match self.pause(backoff).await {
                                Ok(()) => Relist::Now,
                                Err(Ended) => Relist::Ended,
                            };
                        }
                        error => self.complain("watch", &selection.namespace, error),
                    }
                    if error.is_unauthorized() || matches!(error, ApiError::Malformed(_)) {
                        return match self.pause(backoff).await {
                            Ok(()) => Relist::WithNewClient,
                            Err(Ended) => Relist::Ended,
                        };
                    }
                    failures += 1;
                    if matches!(error, ApiError::Refused(..)) {
                        failures = FAILED_WATCHES;
                    }
                }
            }
            if self.pause(backoff).await.is_err() {
                return Relist::Ended;
            }
            // What cannot be watched may still be listed: a key that is revoked must not wait for the
            // watch.
            if failures >= FAILED_WATCHES {
                return Relist::Now;
            }
        }
    }

    /// Puts the changes of one watch in force, until it ends.
    async fn read(&mut self, mut events: Events, known: &mut Known) -> Result<(), WatchEnd> {
        self.state.is_connected.store(true, Ordering::Relaxed);
        {
            let ring = self.ring.upgrade().ok_or(WatchEnd::Ended)?;
            self.succeed("watch", &ring, &known.secrets);
        }
        let relist = Arc::clone(&self.relist);
        loop {
            let event = tokio::select! {
                event = timeout(TICK, events.next()) => event,
                () = relist.notified() => return Err(WatchEnd::Asked),
            };
            let ring = self.ring.upgrade().ok_or(WatchEnd::Ended)?;
            let Ok(event) = event else {
                if known.secrets.refused() > 0 {
                    self.put_in_force(&ring, &mut known.secrets, false);
                }
                continue;
            };
            let mut changes = Changes::default();
            let mut end = changes.take(event, known);
            // What comes with it is put in force together, so that a key can move from one Secret to
            // another.
            let since = Instant::now();
            while end.is_none() && changes.any && since.elapsed() < SETTLE_WITHIN {
                match timeout(SETTLE, events.next()).await {
                    Ok(event) => end = changes.take(event, known),
                    Err(_) => break,
                }
            }
            if changes.any {
                self.put_in_force(&ring, &mut known.secrets, changes.removed);
            }
            if changes.any || end.is_none() {
                self.succeed("watch", &ring, &known.secrets);
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Puts the Secrets in force, as far as nothing is wrong with them.
    fn put_in_force(&self, ring: &SharedKeyRing, secrets: &mut SecretCollection, removed: bool) {
        let settled = secrets.settle();
        self.state
            .refused
            .store(secrets.refused(), Ordering::Relaxed);
        for notice in &settled.notices {
            tracing::warn!("{notice}");
        }
        if !settled.problems.is_empty() {
            ring.fail();
            for problem in &settled.problems {
                tracing::error!("{problem}");
            }
            tracing::error!(
                "the keys of these Secrets were not reloaded; their last good ones stay in force, except \
                 those that the Secret refuses explicitly"
            );
        }
        for key in &settled.refused {
            tracing::error!(
                key,
                "the key is refused from now on: its Secret refuses it, although its other problems keep \
                 it from being loaded"
            );
        }
        if !settled.changed && !removed {
            return;
        }
        match secrets.ring() {
            Ok(new) => replace(ring, new),
            Err(error) => {
                ring.fail();
                for problem in error.problems() {
                    tracing::error!("{problem}");
                }
            }
        }
    }

    fn say_what_is_watched(&self, selection: &Selection, secrets: &SecretCollection) {
        let namespace = &selection.namespace;
        let selector = &selection.selector.1;
        let found = secrets.len();
        tracing::info!(
            namespace,
            selector,
            secrets = found,
            "watching Secrets with keys"
        );
        if found == 0 {
            match &self.settings.secrets {
                WatchedSecrets::Named(name) => tracing::warn!(
                    "the Secret {namespace}/{name} does not exist: every request is refused until it is \
                     made"
                ),
                WatchedSecrets::Labelled(labels) => tracing::warn!(
                    "the namespace {namespace} has no Secret with the label {labels}: every request is \
                     refused until one is made"
                ),
            }
        }
    }

    /// Notes that the API server was heard. A list that succeeds does not end a failure to watch.
    fn succeed(&mut self, verb: &str, ring: &SharedKeyRing, secrets: &SecretCollection) {
        let is_over = |text: &mut String| verb == "watch" || text.starts_with(verb);
        if self.complaint.take_if(is_over).is_some() {
            tracing::info!("the API server answers again");
        }
        // As long as a Secret is wrong, not all keys in force are those of the Secrets.
        if secrets.refused() == 0 {
            ring.confirm();
        }
    }

    fn set_ready(&self) {
        self.state.is_ready.store(true, Ordering::Relaxed);
        let mut first = self
            .state
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *first = true;
        self.state.changed.notify_all();
    }

    /// Logs a failure once, and puts the fall-back file in force if nothing was listed yet.
    fn complain(&mut self, verb: &str, namespace: &str, error: &ApiError) {
        let Some(ring) = self.ring.upgrade() else {
            return;
        };
        ring.fail();
        let text = format!("{verb}: {error}");
        if self.complaint.as_ref() != Some(&text) {
            let advice = match error.is_forbidden() {
                true => missing_right(&self.settings.secrets, verb, namespace),
                false => String::new(),
            };
            let state = match (self.has_listed, self.state.is_ready.load(Ordering::Relaxed)) {
                (true, _) if verb == "watch" && matches!(error, ApiError::Refused(..)) => {
                    "the Secrets are listed at intervals of up to ten seconds instead"
                }
                (true, _) => "the last good keys stay in force",
                (false, true) => "the keys of the keys file stay in force",
                (false, false) if self.settings.fallback.is_some() => "the keys file is tried",
                (false, false) => {
                    "there are no keys yet, so every request is refused and the gateway is not ready"
                }
            };
            tracing::error!("cannot {verb} the Secrets with keys: {error}{advice}; {state}");
            self.complaint = Some(text);
        }
        if !self.has_listed
            && let Some(file) = self.settings.fallback.clone()
        {
            self.fall_back(&ring, &file);
        }
    }

    /// Puts the keys file in force, if it differs.
    fn fall_back(&self, ring: &SharedKeyRing, path: &PathBuf) {
        let loaded = KeysFile::load(path, self.settings.dialect).and_then(KeysFile::into_ring);
        match loaded {
            Ok(new) if new.is_empty() => {
                let message = "contains no keys; it cannot replace the Secrets";
                tracing::error!("{}", Problem::new(path.display().to_string(), message));
            }
            Ok(new) => {
                let is_first = !self.state.is_ready.load(Ordering::Relaxed);
                if is_first || ring.ring().digest() != new.digest() {
                    replace(ring, new);
                }
                if is_first {
                    tracing::warn!(
                        file = %path.display(),
                        "the keys of the keys file are in force until the API server answers; a key that \
                         was revoked since the file was mounted may be accepted"
                    );
                }
                self.set_ready();
            }
            Err(error) => {
                for problem in error.problems() {
                    tracing::error!("{problem}");
                }
            }
        }
    }

    /// Waits before the next attempt.
    async fn pause(&self, backoff: &mut Backoff) -> Result<(), Ended> {
        let mut left = backoff.next();
        while !left.is_zero() {
            if self.ring.upgrade().is_none() {
                return Err(Ended);
            }
            let part = left.min(TICK);
            tokio::select! {
                () = sleep(part) => left -= part,
                () = self.relist.notified() => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Why the reading of a watch ends, other than by the API server.
enum WatchEnd {
    Failed(ApiError),
    /// A reload was requested.
    Asked,
    Ended,
}

/// What the events of a moment have changed.
#[derive(Default)]
struct Changes {
    any: bool,
    removed: bool,
}

impl Changes {
    /// Takes over an event. Returns the end of the watch, if this is it.
    fn take(
        &mut self,
        event: Result<Option<WatchEvent>, ApiError>,
        known: &mut Known,
    ) -> Option<Result<(), WatchEnd>> {
        match event {
            Err(error) => return Some(Err(WatchEnd::Failed(error))),
            Ok(None) => return Some(Ok(())),
            Ok(Some(WatchEvent::Error(410))) => {
                return Some(Err(WatchEnd::Failed(ApiError::Expired)));
            }
            Ok(Some(WatchEvent::Error(code))) => {
                // What was missed is not known, so the Secrets are listed again.
                tracing::warn!(code, "the API server ended the watch with an error");
                return Some(Err(WatchEnd::Failed(ApiError::Expired)));
            }
            Ok(Some(WatchEvent::Bookmark(version))) => known.version = version,
            Ok(Some(WatchEvent::Set(secret))) => {
                known.version.clone_from(&secret.metadata.resource_version);
                self.removed |= known.secrets.set(secret);
                self.any = true;
            }
            Ok(Some(WatchEvent::Deleted(secret))) => {
                known.version.clone_from(&secret.metadata.resource_version);
                self.removed |= known.secrets.remove(&secret.metadata.name);
                self.any = true;
            }
        }
        None
    }
}

fn replace(ring: &SharedKeyRing, new: KeyRing) {
    if new.is_empty() {
        tracing::warn!("there are no keys: every request is refused");
    }
    let (keys, digest) = (new.len(), new.digest());
    ring.replace(new);
    let generation = ring.generation();
    tracing::info!(generation, keys, digest, "keys reloaded");
}
