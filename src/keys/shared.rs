//! The key ring in use, which can be replaced.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::future::Ready;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use voxgate_core::error::ConfigError;

use crate::dialect::Dialect;
use crate::principal::Principal;
use crate::secret::RawCredential;
use crate::verify::{Verdict, Verify, VerifyOutcome};

use super::change::RingChange;
use super::file::Takeaways;
use super::reload::Source;
use super::revocation::{Revocation, RevocationEffect};
use super::ring::KeyRing;

/// How long to wait for the last look-ups in a replaced ring.
const LAST_LOOK_UPS: Duration = Duration::from_secs(1);

/// A [`KeyRing`] that can be replaced while requests are served. Cloning shares it.
///
/// A look-up takes no lock, and sees either the old ring or the new one as a whole.
///
/// ```no_run
/// use voxgate::{AuthLayer, Dialect, SharedKeyRing};
///
/// // The file is read again whenever it changes.
/// let keys = SharedKeyRing::watch("keys.toml", Dialect::Rime)?;
/// let auth = AuthLayer::new(keys.clone()).with_dialect(Dialect::Rime);
/// # let _ = auth;
/// # Ok::<(), voxgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct SharedKeyRing(Arc<Shared>);

struct Shared {
    current: ArcSwap<KeyRing>,
    generation: AtomicU64,
    failed_loads: AtomicU64,
    /// How many keys were revoked without a new set of keys.
    revoked: AtomicU64,
    /// What is revoked until the keys themselves say so. A thread holds this lock while it changes the ring.
    revocations: Mutex<BTreeSet<Revocation>>,
    loaded: Mutex<Instant>,
    observers: Mutex<Vec<Observer>>,
    /// Has the files looked at.
    reload: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

type Observer = Box<dyn Fn(&RingChange) + Send + Sync>;

impl SharedKeyRing {
    /// Shares this ring, as generation 1.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(ring),
            generation: AtomicU64::new(1),
            failed_loads: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
            revocations: Mutex::default(),
            loaded: Mutex::new(Instant::now()),
            observers: Mutex::default(),
            reload: Mutex::default(),
        }))
    }

    /// Reads a [keys file](KeyRing::load), and reads it again whenever its content changes, until
    /// the last clone is dropped. A change is noticed within about two seconds; with the feature
    /// `notify`, at once where the operating system supports it.
    ///
    /// If the file becomes invalid, missing or empty, the last valid ring stays in use, and an error
    /// is logged. Keys that the invalid file refuses explicitly (`disabled = true`, `expires` in the
    /// past, or an id in `[revoked]`) are refused nevertheless, as far as the file can be read. A separate thread reads the file; no runtime is needed.
    ///
    /// # Errors
    ///
    /// All problems of the file, or that the thread could not be started.
    pub fn watch(path: impl AsRef<Path>, dialect: Dialect) -> Result<Self, ConfigError> {
        let source = Source::keys_file(path.as_ref(), dialect);
        let (loaded, fingerprint) = source.load();
        let (ring, notices) = loaded?;
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let shared = Self::new(ring);
        source.watch(&shared, fingerprint)?;
        Ok(shared)
    }

    /// The ring in use.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.0.current.load_full()
    }

    /// Replaces the ring, for every request that is not verified yet.
    ///
    /// Waits until no request uses the old ring, one second at most, so that this thread frees it.
    /// Freeing a large ring takes time. Do not call it on a thread that serves requests.
    pub fn replace(&self, ring: KeyRing) {
        let mut revocations = lock(&self.0.revocations);
        let known: Vec<Revocation> = revocations.iter().cloned().collect();
        for (revocation, effect) in known.iter().zip(ring.effects(&known)) {
            if effect == RevocationEffect::Refused {
                revocations.remove(revocation);
            }
        }
        let known: Vec<Revocation> = revocations.iter().cloned().collect();
        let ring = match ring.revoke(one_of(&known)) {
            Some((ring, _)) => ring,
            None => ring,
        };
        let old = self.put(ring);
        self.confirm();
        drop(revocations);
        wait_for_look_ups(&old);
    }

    /// Refuses these keys at once, in this process, and in every ring that replaces this one until
    /// a ring refuses them itself, because their file disables them. Returns the keys that counted
    /// until now.
    ///
    /// Like [`replace`](Self::replace), it waits for look-ups in the old ring.
    pub fn revoke(&self, revocations: &[Revocation]) -> Vec<Principal> {
        let mut known = lock(&self.0.revocations);
        for (revocation, effect) in revocations.iter().zip(self.ring().effects(revocations)) {
            if effect != RevocationEffect::Refused {
                known.insert(revocation.clone());
            }
        }
        self.revoke_where(known, one_of(revocations))
    }

    /// Refuses the keys that a file refuses which cannot be loaded.
    pub(super) fn revoke_named(&self, takeaways: &Takeaways) -> Vec<Principal> {
        self.revoke_where(lock(&self.0.revocations), |key| takeaways.name(key))
    }

    fn revoke_where(
        &self,
        lock: MutexGuard<'_, BTreeSet<Revocation>>,
        is_revoked: impl Fn(&Principal) -> bool,
    ) -> Vec<Principal> {
        let Some((ring, revoked)) = self.ring().revoke(is_revoked) else {
            return Vec::new();
        };
        let old = self.put(ring);
        drop(lock);
        self.0
            .revoked
            .fetch_add(revoked.len() as u64, Ordering::Relaxed);
        wait_for_look_ups(&old);
        revoked
    }

    /// What is revoked until the keys themselves say so.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        lock(&self.0.revocations).iter().cloned().collect()
    }

    /// How many keys were revoked without a new set of keys.
    #[must_use]
    pub fn revoked(&self) -> u64 {
        self.0.revoked.load(Ordering::Relaxed)
    }

    /// Puts a ring in force, and returns the one before.
    fn put(&self, ring: KeyRing) -> Arc<KeyRing> {
        let new = Arc::new(ring);
        if self.0.current.load().has_ids() {
            // On this thread, so that no request waits for it.
            new.prepare_ids();
        }
        let old = self.0.current.swap(Arc::clone(&new));
        let generation = 1 + self.0.generation.fetch_add(1, Ordering::Relaxed);
        let observers = lock(&self.0.observers);
        if !observers.is_empty() {
            let change = RingChange::between(&old, &new, generation);
            for observe in observers.iter() {
                observe(&change);
            }
        }
        old
    }

    /// Calls `observe` after each replacement, on the thread that did it. It must not block.
    pub fn on_replace(&self, observe: impl Fn(&RingChange) + Send + Sync + 'static) {
        lock(&self.0.observers).push(Box::new(observe));
    }

    /// How many rings there have been.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Relaxed)
    }

    /// How long ago the keys in force were last found where they come from.
    #[must_use]
    pub fn since_load(&self) -> Duration {
        lock(&self.0.loaded).elapsed()
    }

    /// How often keys could not be loaded, so that the last good ones stayed in force.
    #[must_use]
    pub fn failed_loads(&self) -> u64 {
        self.0.failed_loads.load(Ordering::Relaxed)
    }

    /// Has the files looked at now, on the thread that follows them; whether there are any.
    pub fn reload(&self) -> bool {
        let reload = lock(&self.0.reload);
        reload.as_ref().map(|reload| reload()).is_some()
    }

    /// Sets what [`reload`](Self::reload) calls: what looks again where the keys come from. It must not
    /// block.
    pub fn on_reload(&self, reload: impl Fn() + Send + Sync + 'static) {
        *lock(&self.0.reload) = Some(Box::new(reload));
    }

    /// Notes that the keys in force are still those of the place that they come from, which
    /// [`since_load`](Self::since_load) counts from.
    pub fn confirm(&self) {
        *lock(&self.0.loaded) = Instant::now();
    }

    /// Notes that keys could not be loaded, which [`failed_loads`](Self::failed_loads) counts.
    pub fn fail(&self) {
        self.0.failed_loads.fetch_add(1, Ordering::Relaxed);
    }

    /// A reference that does not keep the ring alive, for a thread that follows it.
    #[must_use]
    pub fn downgrade(&self) -> WeakKeyRing {
        WeakKeyRing(Arc::downgrade(&self.0))
    }
}

/// Waits until no thread looks anything up in this ring, one second at most.
fn wait_for_look_ups(old: &Arc<KeyRing>) {
    let since = Instant::now();
    while Arc::strong_count(old) > 1 && since.elapsed() < LAST_LOOK_UPS {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether one of these revocations names a principal.
fn one_of(revocations: &[Revocation]) -> impl Fn(&Principal) -> bool + '_ {
    let ids: HashSet<&str> = revocations.iter().map(Revocation::id).collect();
    move |key| ids.contains(key.id()) && revocations.iter().any(|revocation| revocation.names(key))
}

/// A [`SharedKeyRing`] that is not kept alive.
#[derive(Clone)]
pub struct WeakKeyRing(Weak<Shared>);

impl WeakKeyRing {
    /// The ring, unless its last clone was dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<SharedKeyRing> {
        self.0.upgrade().map(SharedKeyRing)
    }
}

/// Nothing in here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Verify for SharedKeyRing {
    type Future = Ready<Verdict>;

    fn verify(&self, presented: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        self.0.current.load().verify(presented)
    }

    fn verify_at(
        &self,
        presented: RawCredential<'_>,
        now: SystemTime,
    ) -> VerifyOutcome<Self::Future> {
        self.0.current.load().verify_at(presented, now)
    }

    fn verify_certificate(&self, name: &str, now: SystemTime) -> Option<Verdict> {
        self.0.current.load().verify_certificate(name, now)
    }

    fn needs_policy(&self) -> bool {
        self.0.current.load().needs_policy()
    }
}

impl fmt::Debug for WeakKeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakKeyRing").finish_non_exhaustive()
    }
}

impl From<KeyRing> for SharedKeyRing {
    fn from(ring: KeyRing) -> Self {
        Self::new(ring)
    }
}

impl fmt::Debug for SharedKeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeyRing")
            .field("generation", &self.generation())
            .field("ring", &self.ring())
            .finish()
    }
}
