//! Keys that one replica revokes, and all refuse.
//!
//! The revocations are a stream in Redis: an entry for each, with the text of
//! [`Revocation`]. Every replica reads new entries five times a second, and all of them when it
//! connects. Polling needs no second connection, and notices a connection that says nothing more.
//! An entry can only take rights away, so that access to Redis cannot add a key.
//!
//! An entry stays until a replica finds that its keys file refuses the key, and for an hour at
//! least, so that replicas whose files are late know it when they start. What Redis loses is put back
//! by the replicas whose files do not have it yet.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use redis::cmd;
use tokio::runtime::Builder;
use tokio::select;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use voxgate::keys::{Revocation, RevocationEffect, WeakKeyRing};
use voxgate::{ConfigError, Problem, SharedKeyRing};

use crate::address::Address;
use crate::lazy_client::LazyClient;
use crate::options::RedisOptions;
use crate::redis_error::RedisError;

/// How often new entries are read.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// How often all entries are read, in case that Redis has lost some.
const SYNC_EVERY: Duration = Duration::from_secs(30);
/// How long to wait before the next connection.
const PAUSE: Duration = Duration::from_millis(300);
/// How often to look whether the first entries were read.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long an entry stays at least.
const KEEP_FOR: Duration = Duration::from_secs(3600);
/// Entries that are read with one command.
const PAGE: usize = 1000;
/// More than any operator revokes. The next poll reads later entries.
const MAX_ENTRIES: usize = 100_000;
/// The field of an entry.
const FIELD: &str = "revoke";

/// Shares revocations with the other replicas, through Redis.
///
/// A thread applies what others publish to the ring, until the last clone of the ring is dropped.
/// While Redis is unavailable, each replica keeps what it knows; what it was asked to publish is
/// published when Redis is back.
#[derive(Clone)]
pub struct SharedRevocations {
    outbox: mpsc::UnboundedSender<Publication>,
    is_up: Arc<AtomicBool>,
}

/// Revocations to publish, and where to say whether they were.
struct Publication {
    revocations: Vec<Revocation>,
    published: std_mpsc::Sender<bool>,
}

impl SharedRevocations {
    /// Starts the thread. Does not wait for a connection.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the options, by the names of their fields, or that a thread
    /// cannot be started.
    pub fn follow(options: RedisOptions, keys: &SharedKeyRing) -> Result<Self, ConfigError> {
        let config = options.check()?;
        let failed = |what: &str, error: &dyn fmt::Display| {
            let message = format!("cannot start the {what} that reads revocations: {error}");
            ConfigError::from(Problem::new("shared revocations", message))
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("runtime", &error))?;
        let (outbox, inbox) = mpsc::unbounded_channel();
        let is_up = Arc::new(AtomicBool::new(false));
        let (stream, ring, up) = (config.keys.revocations(), keys.downgrade(), is_up.clone());
        let thread = thread::Builder::new().name("voxgate-revoke".to_owned());
        let started = thread.spawn(move || {
            let follower = Follower {
                address: config.address,
                stream,
                ring,
                inbox,
                is_open: true,
                unpublished: Vec::new(),
                next: FIRST,
                is_up: up,
                has_complained: false,
            };
            LocalSet::new().block_on(&runtime, follower.run());
        });
        started.map_err(|error| failed("thread", &error))?;
        Ok(Self { outbox, is_up })
    }

    /// Publishes these revocations, and waits until Redis has them, `patience` at most. Returns
    /// whether it has; otherwise they are published when it is available again, if this process
    /// still runs then.
    #[must_use]
    pub fn publish(&self, revocations: &[Revocation], patience: Duration) -> bool {
        let (published, is_published) = std_mpsc::channel();
        let sent = self.outbox.send(Publication {
            revocations: revocations.to_vec(),
            published,
        });
        sent.is_ok() && is_published.recv_timeout(patience).unwrap_or(false)
    }

    /// Waits until the revocations that are in Redis are in force here, `patience` at most. Returns
    /// whether they are. A server that starts calls it before its first request.
    #[must_use]
    pub fn wait_until_read(&self, patience: Duration) -> bool {
        let since = Instant::now();
        while !self.is_up() && since.elapsed() < patience {
            thread::sleep(LOOK_AGAIN);
        }
        self.is_up()
    }

    /// Whether Redis answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for SharedRevocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRevocations")
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}

/// The id of an entry: its time in milliseconds of Redis, and a number.
type EntryId = (u64, u64);

const FIRST: EntryId = (0, 0);

/// The state of the thread.
struct Follower {
    address: Address,
    stream: String,
    ring: WeakKeyRing,
    inbox: mpsc::UnboundedReceiver<Publication>,
    /// Whether there is a handle that may publish.
    is_open: bool,
    /// What could not be published.
    unpublished: Vec<Revocation>,
    /// The least id that was not read yet.
    next: EntryId,
    is_up: Arc<AtomicBool>,
    /// Whether the log says that Redis is unavailable.
    has_complained: bool,
}

/// The ring is gone, or the connection.
enum End {
    Done,
    Failed(RedisError),
}

impl From<RedisError> for End {
    fn from(error: RedisError) -> Self {
        Self::Failed(error)
    }
}

impl Follower {
    /// Runs until the ring is gone.
    async fn run(mut self) {
        loop {
            let end = self.use_client(LazyClient::new(self.address.clone())).await;
            self.is_up.store(false, Ordering::Relaxed);
            match end {
                End::Done => return,
                End::Failed(error) if !self.has_complained => {
                    self.has_complained = true;
                    tracing::error!(
                        "revocations are not shared: {error}; this process keeps those that it \
                         knows, and publishes its own when Redis is available again"
                    );
                }
                End::Failed(_) => {}
            }
            if !self.pause().await {
                return;
            }
        }
    }

    /// Waits before the next connection. Returns whether there is still a ring.
    async fn pause(&mut self) -> bool {
        let until = tokio::time::Instant::now() + PAUSE;
        loop {
            select! {
                () = sleep_until(until) => return self.ring.upgrade().is_some(),
                publication = self.inbox.recv(), if self.is_open => match publication {
                    Some(publication) => self.refuse(publication),
                    None => self.is_open = false,
                },
            }
        }
    }

    /// Keeps what cannot be published now.
    fn refuse(&mut self, publication: Publication) {
        self.unpublished.extend(publication.revocations);
        // The sender may have lost its patience.
        let _ = publication.published.send(false);
    }

    /// Reads and publishes until a command fails.
    async fn use_client(&mut self, client: LazyClient) -> End {
        let mut synced = Instant::now();
        if let Err(end) = self.sync(&client).await {
            return end;
        }
        self.is_up.store(true, Ordering::Relaxed);
        if std::mem::take(&mut self.has_complained) {
            tracing::info!("revocations are shared again");
        }
        let mut poll = interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = select! {
                publication = self.inbox.recv(), if self.is_open => match publication {
                    Some(publication) => self.publish(&client, publication).await,
                    None => {
                        self.is_open = false;
                        Ok(())
                    }
                },
                _ = poll.tick() => match synced.elapsed() < SYNC_EVERY {
                    true => self.read_new(&client).await.map(drop),
                    false => {
                        synced = Instant::now();
                        self.sync(&client).await
                    }
                },
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn publish(&mut self, client: &LazyClient, publication: Publication) -> Result<(), End> {
        match self.add(client, &publication.revocations).await {
            Ok(()) => {
                // The sender may have lost its patience.
                let _ = publication.published.send(true);
                Ok(())
            }
            Err(error) => {
                self.refuse(publication);
                Err(error.into())
            }
        }
    }

    async fn add(&self, client: &LazyClient, revocations: &[Revocation]) -> Result<(), RedisError> {
        for revocation in revocations {
            let mut add = cmd("XADD");
            add.arg(&self.stream).arg("*").arg(FIELD);
            add.arg(revocation.to_string());
            client.ask::<String>(&self.stream, &add).await?;
        }
        Ok(())
    }

    /// Reads all entries, adds what is missing, and removes what the keys file has.
    async fn sync(&mut self, client: &LazyClient) -> Result<(), End> {
        self.next = FIRST;
        let entries = self.read_new(client).await?;
        let Some(ring) = self.ring.upgrade() else {
            return Err(End::Done);
        };
        let mut missing = self.unpublished.clone();
        missing.extend(ring.revocations());
        missing.sort();
        missing.dedup();
        missing.retain(|revocation| !entries.contains_key(revocation));
        if entries.len() < MAX_ENTRIES {
            self.add(client, &missing).await?;
            self.unpublished.clear();
        }
        let known: Vec<Revocation> = entries.keys().cloned().collect();
        let effects = ring.ring().effects(&known);
        drop(ring);
        for (revocation, effect) in known.iter().zip(effects) {
            let ids = entries.get(revocation).into_iter().flatten();
            let ids = ids.filter(|_| effect == RevocationEffect::Refused);
            for id in ids.filter(|id| is_old(**id)) {
                let mut remove = cmd("XDEL");
                remove.arg(&self.stream).arg(written(*id));
                client.ask::<u64>(&self.stream, &remove).await?;
            }
        }
        Ok(())
    }

    /// Reads the entries that were not read yet, and applies them. Returns them with their ids.
    async fn read_new(
        &mut self,
        client: &LazyClient,
    ) -> Result<HashMap<Revocation, Vec<EntryId>>, End> {
        let mut entries: HashMap<Revocation, Vec<EntryId>> = HashMap::new();
        loop {
            let mut range = cmd("XRANGE");
            range.arg(&self.stream).arg(written(self.next)).arg("+");
            range.arg("COUNT").arg(PAGE);
            let page: Vec<(String, Vec<String>)> = client.ask(&self.stream, &range).await?;
            for (id, fields) in &page {
                let Some(id) = parse(id) else { continue };
                self.next = (id.0, id.1.saturating_add(1));
                let revocation = match fields.as_slice() {
                    [field, text] if field == FIELD => text.parse().ok(),
                    _ => None,
                };
                match revocation {
                    Some(revocation) => entries.entry(revocation).or_default().push(id),
                    // Its text is not shown: another program wrote it.
                    None => tracing::warn!("an entry of the shared revocations is not one of them"),
                }
            }
            if page.len() < PAGE || entries.len() >= MAX_ENTRIES {
                break;
            }
        }
        let Some(ring) = self.ring.upgrade() else {
            return Err(End::Done);
        };
        if !entries.is_empty() {
            let revocations: Vec<Revocation> = entries.keys().cloned().collect();
            for key in ring.revoke(&revocations) {
                tracing::warn!(
                    key = key.id(),
                    "the key is refused: a replica has revoked it"
                );
            }
        }
        Ok(entries)
    }
}

fn written((time, number): EntryId) -> String {
    format!("{time}-{number}")
}

fn parse(id: &str) -> Option<EntryId> {
    let (time, number) = id.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}

/// Whether an entry has been there for long. A clock that is wrong keeps it.
fn is_old((time, _): EntryId) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let age = now
        .ok()
        .and_then(|now| now.checked_sub(Duration::from_millis(time)));
    age.is_some_and(|age| age > KEEP_FOR)
}
