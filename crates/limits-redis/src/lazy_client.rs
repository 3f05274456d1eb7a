//! A client that connects when it is asked, without a breaker.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, Value};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::address::{Address, Endpoint, Servers};
use crate::clock::now;
use crate::connection::{Connection, TIMEOUT};
use crate::hash_slot::hash_slot;
use crate::link::{MAX_REDIRECTIONS, TRY_AGAIN_AFTER, send};
use crate::redirect::Redirect;
use crate::redis_error::RedisError;
use crate::replication::{Copies, Replication};
use crate::sentinel;
use crate::slot_map::SlotMap;
use crate::topology_task;

/// The longest time until a command has an answer or an error: a second to connect, and one to ask.
pub(crate) const LONGEST: Duration = TIMEOUT.saturating_mul(2);
/// How long to wait before the next attempt to connect. Meanwhile, commands fail at once.
const PAUSE: Duration = Duration::from_millis(300);
/// How often the Sentinels are asked whether the primary is still the one that they name.
const ASK_SENTINELS_EVERY: Duration = Duration::from_secs(1);
/// How long they may take. A command waits for it.
const SENTINELS_WITHIN: Duration = Duration::from_millis(300);
/// How long a primary without replicas is taken for one that still has none.
const ALONE_FOR: Duration = Duration::from_secs(1);
/// The name of the server that is no node of a cluster; in a cluster, of the map of its nodes.
const ONLY: &str = "";

/// Connections to the servers of an address. A connection that fails is closed, and the next
/// command connects again.
pub(crate) struct LazyClient {
    address: Address,
    slots: RefCell<SlotMap>,
    servers: RefCell<BTreeMap<String, Rc<Server>>>,
    /// The servers to which the last attempt to connect failed.
    failed: RefCell<BTreeMap<String, (Instant, RedisError)>>,
    /// One attempt to connect, or to read the map, at a time.
    connecting: Mutex<()>,
}

/// A server that is connected.
struct Server {
    connection: Connection,
    replication: Rc<Replication>,
    /// When the Sentinels have named it last.
    named: Cell<Instant>,
    /// When it had no replica last that could take over.
    alone: Cell<Option<Instant>>,
}

/// A reply, and the server that gave it.
struct Reply {
    value: Value,
    name: String,
    server: Rc<Server>,
}

impl LazyClient {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            slots: RefCell::default(),
            servers: RefCell::default(),
            failed: RefCell::default(),
            connecting: Mutex::new(()),
        }
    }

    /// Sends a command to the server of its key. Takes [`LONGEST`] at most.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        key: &str,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        let reply = timeout(LONGEST, self.follow(key, command)).await;
        let reply = reply.unwrap_or(Err(RedisError::Timeout))?;
        redis::from_redis_value(reply.value).map_err(|_| RedisError::Unexpected)
    }

    /// Sends a write to the server of its key. If it has written, which its reply says, waits until a
    /// replica has it as well. A primary may be alone only if no replica could take over from it.
    /// Takes [`LONGEST`] at most. Returns whether it has written.
    pub(crate) async fn write(
        &self,
        key: &str,
        command: &Cmd,
        has_written: impl Fn(&Value) -> bool,
    ) -> Result<bool, RedisError> {
        let written = async {
            let reply = self.follow(key, command).await?;
            let has_written = has_written(&reply.value);
            if has_written {
                let confirmed = self.confirm(&reply.server, hash_slot(key)).await;
                confirmed.map_err(|error| self.forget(&reply.name, error))?;
            }
            Ok(has_written)
        };
        let written = timeout(LONGEST, written).await;
        written.unwrap_or(Err(RedisError::Timeout))
    }

    /// Waits until a replica has what this server has written.
    async fn confirm(&self, server: &Server, slot: u16) -> Result<(), RedisError> {
        if server.replication.confirm().await? == Copies::Replica {
            return Ok(());
        }
        let is_known = |since: Instant| now() - since < ALONE_FOR;
        if server.alone.get().is_some_and(is_known) {
            return Ok(());
        }
        // The primary may have lost its replicas, which can still take over.
        let has_replicas = match &self.address.servers {
            Servers::One(_) => false,
            Servers::Cluster(_) => {
                let connection = &server.connection;
                let mut pipeline = connection.pipeline.clone();
                let map = topology_task::ask(&mut pipeline, connection.endpoint.host()).await?;
                map.has_replicas(slot)
            }
            Servers::Sentinel(sentinels) => sentinel::has_replicas(sentinels).await?,
        };
        if has_replicas {
            return Err(RedisError::NotReplicated);
        }
        server.alone.set(Some(now()));
        Ok(())
    }

    /// Sends a command, and follows redirections.
    async fn follow(&self, key: &str, command: &Cmd) -> Result<Reply, RedisError> {
        let slot = hash_slot(key);
        let mut asking: Option<String> = None;
        for redirections in 0..MAX_REDIRECTIONS {
            let is_asking = asking.is_some();
            let name = match asking.take() {
                Some(name) => name,
                None => self.owner(slot).await?,
            };
            let server = match self.connect(&name).await {
                Ok(server) => server,
                Err(error) => return Err(self.forget(&name, error)),
            };
            let connection = &server.connection;
            let sent = send(connection.pipeline.clone(), command, is_asking);
            let Ok(reply) = timeout(TIMEOUT, sent).await else {
                return Err(self.forget(&name, RedisError::Timeout));
            };
            let error = match reply {
                Ok(value) => {
                    return Ok(Reply {
                        value,
                        name,
                        server,
                    });
                }
                Err(error) => error,
            };
            let redirect = Redirect::of(&error, connection.endpoint.host());
            // Nodes that do not agree yet send a command back and forth.
            let mut is_clear = redirections < 2;
            match redirect.filter(|_| self.address.is_cluster()) {
                Some(Redirect::Moved(slot, name)) if self.endpoint(&name).is_some() => {
                    self.slots.borrow_mut().set_moved(slot, name);
                }
                Some(Redirect::Ask(name)) if self.endpoint(&name).is_some() => asking = Some(name),
                Some(Redirect::TryAgain) => is_clear = false,
                // Where the other node is, only the map says.
                Some(_) => {
                    self.slots.take();
                    is_clear = false;
                }
                None => return Err(self.forget(&name, RedisError::from_redis(&error))),
            }
            if !is_clear {
                sleep(TRY_AGAIN_AFTER).await;
            }
        }
        Err(RedisError::Timeout)
    }

    /// Closes a connection that failed, and reads the map of a cluster again. A server that refuses a
    /// command is kept, unless it says that it is not the right one.
    fn forget(&self, name: &str, error: RedisError) -> RedisError {
        let is_usable = match &error {
            RedisError::Server(code) => !matches!(
                &**code,
                "CLUSTERDOWN" | "READONLY" | "MASTERDOWN" | "LOADING" | "MOVED"
            ),
            RedisError::Unexpected => true,
            _ => false,
        };
        if !is_usable {
            self.servers.borrow_mut().remove(name);
            self.slots.take();
        }
        error
    }

    /// The server that has a hash slot.
    async fn owner(&self, slot: u16) -> Result<String, RedisError> {
        if !self.address.is_cluster() {
            return Ok(ONLY.to_owned());
        }
        let known = || self.slots.borrow().primary(slot).map(str::to_owned);
        if let Some(owner) = known() {
            return Ok(owner);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(owner) = known() {
            return Ok(owner);
        }
        self.refuse_after_failure(ONLY)?;
        let map = match topology_task::read_from_seeds(&self.address).await {
            Ok(map) => map,
            Err(error) => return Err(self.fail(ONLY, error)),
        };
        let is_node = |name: &str| map.primaries().contains(name);
        self.servers.borrow_mut().retain(|name, _| is_node(name));
        self.failed.borrow_mut().retain(|name, _| is_node(name));
        self.slots.replace(map);
        let none = || RedisError::Server("CLUSTERDOWN".to_owned());
        known().ok_or_else(|| self.fail(ONLY, none()))
    }

    async fn connect(&self, name: &str) -> Result<Rc<Server>, RedisError> {
        if let Some(server) = self.usable(name) {
            return Ok(server);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(server) = self.usable(name) {
            return Ok(server);
        }
        if self.is_still_primary(name).await
            && let Some(server) = self.usable(name)
        {
            return Ok(server);
        }
        self.refuse_after_failure(name)?;
        let opened = match self.endpoint(name) {
            Some(endpoint) => Connection::open_at(&self.address, &endpoint).await,
            None => Connection::open(&self.address).await,
        };
        let connection = opened.map_err(|error| self.fail(name, error))?;
        self.failed.borrow_mut().remove(name);
        let server = Rc::new(Server {
            replication: Replication::new(connection.pipeline.clone()),
            connection,
            named: Cell::new(now()),
            alone: Cell::default(),
        });
        let mut servers = self.servers.borrow_mut();
        servers.insert(name.to_owned(), Rc::clone(&server));
        Ok(server)
    }

    /// The server, if it is connected and the Sentinels have named it a short time ago.
    fn usable(&self, name: &str) -> Option<Rc<Server>> {
        let server = self.servers.borrow().get(name).cloned()?;
        let has_sentinels = matches!(self.address.servers, Servers::Sentinel(_));
        let is_named = !has_sentinels || now() - server.named.get() < ASK_SENTINELS_EVERY;
        (is_named && !server.connection.is_lost()).then_some(server)
    }

    /// Whether the Sentinels still name this server. If none of them answers in time, it stays. A primary that
    /// is cut off from them may still answer, and knows nothing of what its successor has written.
    async fn is_still_primary(&self, name: &str) -> bool {
        let Servers::Sentinel(sentinels) = &self.address.servers else {
            return false;
        };
        let Some(server) = self.servers.borrow().get(name).cloned() else {
            return false;
        };
        let named = timeout(SENTINELS_WITHIN, sentinel::primary(sentinels)).await;
        let is_primary = match named {
            Ok(Ok(named)) => named.name() == server.connection.endpoint.name(),
            Ok(Err(_)) | Err(_) => true,
        };
        match is_primary {
            true => server.named.set(now()),
            false => _ = self.servers.borrow_mut().remove(name),
        }
        is_primary
    }

    fn fail(&self, name: &str, error: RedisError) -> RedisError {
        let failed = (now(), error.clone());
        self.failed.borrow_mut().insert(name.to_owned(), failed);
        error
    }

    /// The error of the last attempt, if it is too soon for another one.
    fn refuse_after_failure(&self, name: &str) -> Result<(), RedisError> {
        match self.failed.borrow().get(name) {
            Some((failed, error)) if now() - *failed < PAUSE => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The node of a cluster.
    fn endpoint(&self, name: &str) -> Option<Endpoint> {
        let Servers::Cluster(seeds) = &self.address.servers else {
            return None;
        };
        let (host, port) = name.rsplit_once(':')?;
        seeds.first()?.at(host, port.parse().ok()?)
    }
}
