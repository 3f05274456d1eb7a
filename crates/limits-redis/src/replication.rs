//! Waits until a replica has what a primary has written.
//!
//! Redis answers before its replicas have the write. If the primary fails in between, the write is
//! lost. `WAIT` returns how many replicas have confirmed all earlier writes of the connection
//! (<https://redis.io/docs/latest/commands/wait/>). It blocks the connection, so there is one at a
//! time: it is for all writes that were answered before it was sent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::connection::TIMEOUT;
use crate::redis_error::RedisError;

/// How long replicas may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_millis(300);

/// Who has a write, besides the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    /// A replica, at least.
    Replica,
    /// None: no replica is connected to the primary.
    None,
}

type Confirmed = oneshot::Sender<Result<Copies, RedisError>>;

/// The writes of one connection that wait for a replica.
pub(crate) struct Replication {
    connection: MultiplexedConnection,
    waiting: RefCell<Vec<Confirmed>>,
    is_asking: Cell<bool>,
}

impl Replication {
    pub(crate) fn new(connection: MultiplexedConnection) -> Rc<Self> {
        Rc::new(Self {
            connection,
            waiting: RefCell::default(),
            is_asking: Cell::default(),
        })
    }

    /// Waits until one replica has every write that was answered on this connection before. Returns
    /// at once if no replica is connected to the primary.
    ///
    /// # Errors
    ///
    /// [`RedisError::NotReplicated`] if there are replicas, and none confirms in time.
    pub(crate) async fn confirm(self: &Rc<Self>) -> Result<Copies, RedisError> {
        let (tell, told) = oneshot::channel();
        self.waiting.borrow_mut().push(tell);
        if !self.is_asking.replace(true) {
            spawn_local(Rc::clone(self).ask_until_none_waits());
        }
        told.await.unwrap_or(Err(RedisError::Lost))
    }

    async fn ask_until_none_waits(self: Rc<Self>) {
        loop {
            let waiting = self.waiting.take();
            if waiting.is_empty() {
                self.is_asking.set(false);
                return;
            }
            let asked = timeout(TIMEOUT, self.ask()).await;
            let confirmed = asked.unwrap_or(Err(RedisError::Timeout));
            for tell in waiting {
                // The caller may have lost its patience.
                let _ = tell.send(confirmed.clone());
            }
        }
    }

    async fn ask(&self) -> Result<Copies, RedisError> {
        let mut connection = self.connection.clone();
        let failed = |error: redis::RedisError| RedisError::from_redis(&error);
        let role = cmd("ROLE").query_async::<Value>(&mut connection).await;
        match role.map_err(failed) {
            Ok(role) if !has_replicas(&role)? => return Ok(Copies::None),
            Ok(_) => {}
            // A proxy or a service that hides its replicas does not know the command.
            Err(RedisError::Server(code)) if code == "ERR" => return Ok(Copies::None),
            Err(error) => return Err(error),
        }
        let mut wait = cmd("WAIT");
        wait.arg(1).arg(CONFIRM_WITHIN.as_millis().to_string());
        let confirmed = wait.query_async::<u64>(&mut connection).await;
        match confirmed.map_err(failed)? {
            0 => Err(RedisError::NotReplicated),
            _ => Ok(Copies::Replica),
        }
    }
}

/// Whether a primary has replicas that are connected and up to date, or nearly so.
fn has_replicas(role: &Value) -> Result<bool, RedisError> {
    match role {
        Value::Array(parts) => match &**parts {
            [Value::BulkString(role), _, Value::Array(replicas)] if role == b"master" => {
                Ok(!replicas.is_empty())
            }
            // It has become a replica after the write, which may be lost.
            _ => Err(RedisError::Server("READONLY".to_owned())),
        },
        _ => Err(RedisError::Unexpected),
    }
}
