//! A client that connects when it is asked, without a breaker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::address::{Address, Endpoint, Servers};
use crate::clock::now;
use crate::connection::{Connection, TIMEOUT};
use crate::hash_slot::hash_slot;
use crate::link::send;
use crate::redirect::Redirect;
use crate::redis_error::RedisError;
use crate::slot_map::SlotMap;
use crate::topology_task;

const MAX_REDIRECTIONS: usize = 16;
/// How long to wait before the next attempt to connect. Meanwhile, commands fail at once.
const PAUSE: Duration = Duration::from_millis(300);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// The name of the server that is no node of a cluster.
const ONLY: &str = "";

/// Connections to the servers of an address. A connection that fails is closed, and the next
/// command connects again.
pub(crate) struct LazyClient {
    address: Address,
    slots: RefCell<SlotMap>,
    connections: RefCell<BTreeMap<String, Rc<Connection>>>,
    /// The servers to which the last attempt to connect failed.
    failed: RefCell<BTreeMap<String, (Instant, RedisError)>>,
    /// One attempt at a time.
    connecting: Mutex<()>,
}

impl LazyClient {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            slots: RefCell::default(),
            connections: RefCell::default(),
            failed: RefCell::default(),
            connecting: Mutex::new(()),
        }
    }

    /// Sends a command to the server of its key. Each step takes one second at most.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        key: &str,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        let slot = hash_slot(key);
        let mut asking: Option<String> = None;
        for _ in 0..MAX_REDIRECTIONS {
            let name = match &asking {
                Some(name) => name.clone(),
                None => self.owner(slot).await?,
            };
            let connection = match self.connect(&name).await {
                Ok(connection) => connection,
                Err(error) => return Err(self.forget(&name, error)),
            };
            let host = connection.endpoint.host().to_owned();
            let reply = connection.pipeline.clone();
            let reply = timeout(TIMEOUT, send(reply, command, asking.is_some())).await;
            let Ok(reply) = reply else {
                return Err(self.forget(&name, RedisError::Timeout));
            };
            let error = match reply {
                Ok(reply) => {
                    return redis::from_redis_value(reply).map_err(|_| RedisError::Unexpected);
                }
                Err(error) => error,
            };
            asking = None;
            match Redirect::of(&error, &host).filter(|_| self.address.is_cluster()) {
                Some(Redirect::Moved(slot, name)) => self.slots.borrow_mut().set_moved(slot, name),
                Some(Redirect::Ask(name)) => asking = Some(name),
                Some(Redirect::TryAgain) => sleep(TRY_AGAIN_AFTER).await,
                None => return Err(self.forget(&name, RedisError::from_redis(&error))),
            }
        }
        Err(RedisError::Timeout)
    }

    /// Closes a connection after an error, and reads the map of a cluster again.
    fn forget(&self, name: &str, error: RedisError) -> RedisError {
        self.connections.borrow_mut().remove(name);
        self.slots.take();
        error
    }

    /// The server that has a hash slot.
    async fn owner(&self, slot: u16) -> Result<String, RedisError> {
        if !self.address.is_cluster() {
            return Ok(ONLY.to_owned());
        }
        let known = |slots: &SlotMap| slots.primary(slot).map(str::to_owned);
        if let Some(owner) = known(&self.slots.borrow()) {
            return Ok(owner);
        }
        let mut seed = Connection::open(&self.address).await?;
        let host = seed.endpoint.host().to_owned();
        let map = topology_task::ask(&mut seed.pipeline, &host).await?;
        let owner = known(&map);
        self.slots.replace(map);
        owner.ok_or_else(|| RedisError::Server("CLUSTERDOWN".to_owned()))
    }

    async fn connect(&self, name: &str) -> Result<Rc<Connection>, RedisError> {
        let known = || self.connections.borrow().get(name).cloned();
        if let Some(connection) = known() {
            return Ok(connection);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(connection) = known() {
            return Ok(connection);
        }
        if let Some((failed, error)) = self.failed.borrow().get(name)
            && now() - *failed < PAUSE
        {
            return Err(error.clone());
        }
        let opened = match self.endpoint(name) {
            Some(endpoint) => Connection::open_at(&self.address, &endpoint).await,
            None => Connection::open(&self.address).await,
        };
        let opened = match opened {
            Ok(opened) => Rc::new(opened),
            Err(error) => {
                let failed = (now(), error.clone());
                self.failed.borrow_mut().insert(name.to_owned(), failed);
                return Err(error);
            }
        };
        self.failed.borrow_mut().remove(name);
        let mut connections = self.connections.borrow_mut();
        connections.insert(name.to_owned(), Rc::clone(&opened));
        Ok(opened)
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
