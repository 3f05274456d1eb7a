//! A policy that can be replaced while it is in force, and that follows its file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use voxgate_core::error::{ConfigError, Problem};
use voxgate_core::files::Fingerprint;

use super::{Policy, Rule};

/// How often the file is looked at. A change that was not asked for must look the same twice.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The policy of one request.
pub(crate) type PolicyInForce = Arc<Policy>;

/// A [`Policy`] that can be replaced while it is in force. Clones share it.
///
/// Each request is judged by one policy, from its arrival on; one that waited for a slot is judged
/// again.
#[derive(Clone)]
pub struct SharedPolicy(Arc<Shared>);

struct Shared {
    current: ArcSwap<Policy>,
    /// Rules of the program, before those of every policy.
    first: Mutex<Vec<Rule>>,
    reload: Mutex<Option<SyncSender<()>>>,
    failed_loads: AtomicU64,
    observers: Mutex<Vec<Observer>>,
}

type Observer = Box<dyn Fn(&PolicyChange) + Send + Sync>;

/// One policy after another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyChange {
    /// The policy that was in force.
    pub before: Arc<Policy>,
    /// The policy in force.
    pub now: Arc<Policy>,
}

impl SharedPolicy {
    /// Shares a policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(policy),
            first: Mutex::default(),
            reload: Mutex::new(None),
            failed_loads: AtomicU64::new(0),
            observers: Mutex::default(),
        }))
    }

    /// A policy that follows the policy file at `path`: its rules come before those of `base`. The file
    /// is looked at every two seconds. A file that is wrong, missing or without rules is logged, and
    /// the last good policy stays in force.
    ///
    /// # Errors
    ///
    /// All problems of the file, or if the thread cannot be started.
    pub fn watch(path: impl AsRef<Path>, base: Policy) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let seen = seen(path);
        let shared = Self::new(with_rules_of(path, base.clone())?);
        shared.follow(path, base, seen)?;
        Ok(shared)
    }

    /// Follows the file from the state `seen` on.
    pub(crate) fn follow(
        &self,
        path: &Path,
        base: Policy,
        seen: Fingerprint,
    ) -> Result<(), ConfigError> {
        let (ask, asked) = sync_channel(1);
        let follower = Follower {
            shared: Arc::downgrade(&self.0),
            path: path.to_owned(),
            base,
            in_force: seen,
            last_look: seen,
            complaint: None,
            asked,
            _ask: ask.clone(),
        };
        *self.0.reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        let thread = thread::Builder::new().name("voxgate-policy".to_owned());
        let started = thread.spawn(move || follower.run());
        started.map(drop).map_err(|error| {
            let message = format!("cannot be followed: the thread could not be started ({error})");
            Problem::new(path.display().to_string(), message).into()
        })
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.0.current.load_full()
    }

    /// The policy in force, for one request.
    pub(crate) fn load(&self) -> PolicyInForce {
        // A guard that is held for the request would change how long the next `load` takes.
        self.0.current.load_full()
    }

    /// Replaces the policy.
    pub fn replace(&self, mut policy: Policy) {
        let first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        first
            .iter()
            .for_each(|rule| policy.insert_first(rule.clone()));
        let now = Arc::new(policy);
        let before = self.0.current.swap(Arc::clone(&now));
        let change = PolicyChange { before, now };
        let observers = &self.0.observers;
        let observers = observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.iter().for_each(|observe| observe(&change));
    }

    /// Calls `observe` after each [replacement](Self::replace), on the thread that did it. It must not
    /// block.
    pub fn on_replace(&self, observe: impl Fn(&PolicyChange) + Send + Sync + 'static) {
        let observers = &self.0.observers;
        let mut observers = observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.push(Box::new(observe));
    }

    /// Adds a rule before the rules of this policy, and of every policy that replaces it.
    pub(crate) fn insert_first(&self, rule: Rule) {
        let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut policy = Policy::clone(&self.load());
        policy.insert_first(rule.clone());
        first.push(rule);
        self.0.current.store(Arc::new(policy));
    }

    /// Has the file looked at now. Returns `false` if this follows no file.
    pub fn reload(&self) -> bool {
        let reload = self.0.reload.lock().unwrap_or_else(PoisonError::into_inner);
        // A full channel means that somebody has asked already.
        reload.as_ref().map(|ask| ask.try_send(())).is_some()
    }

    /// How often a changed file could not be put in force.
    #[must_use]
    pub fn failed_loads(&self) -> u64 {
        self.0.failed_loads.load(Ordering::Relaxed)
    }
}

impl From<Policy> for SharedPolicy {
    fn from(policy: Policy) -> Self {
        Self::new(policy)
    }
}

impl fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedPolicy").field(&*self.load()).finish()
    }
}

/// The state of the file.
pub(crate) fn seen(path: &Path) -> Fingerprint {
    Fingerprint::now(&[path.to_owned()])
}

/// The rules of the file, then those of `base`. A file without rules is refused: it could be one that
/// is being written, and without its explicit scopes more would be allowed.
pub(crate) fn with_rules_of(path: &Path, base: Policy) -> Result<Policy, ConfigError> {
    let own = base.rules().len();
    let policy = base.load(path)?;
    if policy.rules().len() == own {
        let message = "has no rules; add a [[rule]] or [rest], or do not name the file";
        return Err(Problem::new(path.display().to_string(), message).into());
    }
    Ok(policy)
}

struct Follower {
    shared: Weak<Shared>,
    path: PathBuf,
    base: Policy,
    /// The state of the file that is in force.
    in_force: Fingerprint,
    last_look: Fingerprint,
    /// What is wrong with the file, in which state.
    complaint: Option<(Fingerprint, String)>,
    asked: Receiver<()>,
    /// Keeps waiting from ending before its time.
    _ask: SyncSender<()>,
}

impl Follower {
    /// Runs until the last clone of the policy is dropped.
    fn run(mut self) {
        loop {
            let asked = match self.asked.recv_timeout(LOOK_EVERY) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            let now = seen(&self.path);
            let is_settled = asked || now == self.last_look;
            self.last_look = now;
            if (now != self.in_force || self.complaint.is_some()) && is_settled {
                self.reload(&SharedPolicy(shared), now);
            }
        }
    }

    fn reload(&mut self, shared: &SharedPolicy, now: Fingerprint) {
        match with_rules_of(&self.path, self.base.clone()) {
            Ok(policy) => {
                let rules = policy.rules().len();
                shared.replace(policy);
                (self.in_force, self.complaint) = (now, None);
                tracing::info!(rules, "the policy was reloaded");
            }
            Err(error) => {
                let complaint = (now, error.to_string());
                if self.complaint.as_ref() != Some(&complaint) {
                    shared.0.failed_loads.fetch_add(1, Ordering::Relaxed);
                    for problem in error.problems() {
                        tracing::error!("{problem}");
                    }
                    tracing::error!(
                        "the policy was not reloaded; the last good one stays in force; correct the \
                         policy file"
                    );
                    self.complaint = Some(complaint);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::Method;

    use super::*;

    fn wait(what: &str, mut is: impl FnMut() -> bool) {
        let since = Instant::now();
        while !is() {
            assert!(since.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_changed_file_is_put_in_force_and_a_wrong_one_is_not() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str| std::fs::write(file.path(), text).expect("written");
        let rule = |path: &str| {
            format!(
                "[[rule]]\nmethod = \"POST\"\npath = \"{path}\"\nscope = \"admin:server\"\nexplicit = true\n"
            )
        };
        write(&rule("/a"));
        let base = Policy::default().route("GET", "/base", "x");
        let shared = SharedPolicy::watch(file.path(), base.clone()).expect("a good file");
        let told = Arc::new(Mutex::new(Vec::new()));
        let observed = Arc::clone(&told);
        shared.on_replace(move |change| {
            let digest = |policy: &Policy| policy.file_digest().map(str::to_owned);
            let mut told = observed.lock().expect("a lock");
            told.push((digest(&change.before), digest(&change.now)));
        });
        let names = |path: &str| shared.policy().find(&Method::POST, path).is_some();
        assert!(names("/a") && !names("/b"));
        write(&rule("/b"));
        assert!(shared.reload());
        wait("the changed rules", || names("/b") && !names("/a"));
        assert!(shared.policy().find(&Method::GET, "/base").is_some());
        shared.insert_first(Rule::new("PUT", "/own"));
        let is_first = || shared.policy().rules()[0].pattern() == "/own";
        assert!(is_first());
        for (number, wrong) in ["", "# nothing", "[[rule]]\npath = 1\n"]
            .into_iter()
            .enumerate()
        {
            write(wrong);
            shared.reload();
            wait("the complaint", || shared.failed_loads() > number as u64);
            assert!(names("/b"), "{wrong}");
        }
        // The same again is put in force, without a reload being asked for.
        write(&rule("/c"));
        wait("the corrected file", || names("/c"));
        assert!(is_first(), "a rule of the program stays");
        // Each change is told once, by what `sha256sum` says of the files; a wrong file is none.
        let digest = |path| {
            let digest = voxgate_core::secret::Digest::of(rule(path).as_bytes());
            Some(digest.to_hex())
        };
        let [a, b, c] = ["/a", "/b", "/c"].map(digest);
        assert_eq!(*told.lock().expect("a lock"), [(a, b.clone()), (b, c)]);
        assert!(SharedPolicy::watch("/no/such/file", base).is_err());
        assert!(
            !SharedPolicy::new(Policy::default()).reload(),
            "it follows no file"
        );
    }
}
