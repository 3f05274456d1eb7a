//! Sends a command to the server of its key, and follows redirections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, Value, cmd, pipe};
use tokio::time::{sleep_until, timeout_at};

use crate::clock::now;
use crate::engine::Engine;
use crate::node::Node;
use crate::redirect::Redirect;
use crate::redis_error::RedisError;

/// How often a command is sent to another node.
pub(crate) const MAX_REDIRECTIONS: usize = 16;
/// The pause before a command is sent again whose keys are moving.
pub(crate) const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// How to reach the server of a key.
pub(crate) enum Link {
    /// On this connection, whatever the key.
    Direct(MultiplexedConnection),
    Routed(Routed),
}

/// By the map of the cluster.
pub(crate) struct Routed {
    pub(crate) engine: Rc<Engine>,
    /// Until when to wait for a connection, and to follow redirections.
    pub(crate) deadline: Instant,
    /// The server that was asked last.
    pub(crate) asked: Asked,
}

/// The server that a command was sent to last, or waits for.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    node: Rc<RefCell<Option<Rc<Node>>>>,
    /// Another server has used a part of the command's time. If the rest is too short, that is no
    /// failure of the last one: its heartbeats say whether it answers.
    is_redirected: Rc<Cell<bool>>,
}

impl Asked {
    /// Counts a failure of that server.
    pub(crate) fn fail(&self, engine: &Engine, error: RedisError) {
        match &*self.node.borrow() {
            Some(node) if !self.is_redirected.get() => node.health.fail(error),
            _ => engine.overall.gauges().count_failure(),
        }
    }

    /// The server has answered that another one has the key: it is not slow, nor is a server that
    /// was not asked yet.
    fn answered(&self) {
        self.is_redirected.set(true);
        if let Some(node) = self.node.take() {
            node.health.succeed();
        }
    }

    /// Counts an answer in time.
    pub(crate) fn succeed(&self) {
        if let Some(node) = &*self.node.borrow() {
            node.health.succeed();
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    /// The server is known not to answer, and was not asked.
    NotAsked,
    /// Until the deadline, there was no connection, or the servers only redirected the command. No
    /// server executed it.
    TooLate,
    Failed(redis::RedisError),
    /// A reply that the scripts never return.
    Unexpected,
}

impl AskError {
    pub(crate) fn is_no_script(&self) -> bool {
        let kind = ErrorKind::Server(ServerErrorKind::NoScript);
        matches!(self, Self::Failed(error) if error.kind() == kind)
    }

    pub(crate) fn to_redis_error(&self) -> RedisError {
        match self {
            Self::NotAsked | Self::TooLate => RedisError::Timeout,
            Self::Failed(error) => RedisError::from_redis(error),
            Self::Unexpected => RedisError::Unexpected,
        }
    }

    /// Whether the server may have executed the command, or may execute it later.
    pub(crate) fn may_have_taken(&self) -> bool {
        match self {
            Self::NotAsked | Self::TooLate => false,
            // A command that Redis refuses takes nothing.
            Self::Failed(_) => !matches!(self.to_redis_error(), RedisError::Server(_)),
            Self::Unexpected => true,
        }
    }
}

impl Link {
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        slot: u16,
        command: &Cmd,
    ) -> Result<T, AskError> {
        let reply = match self {
            Self::Direct(connection) => {
                let mut connection = connection.clone();
                let reply = connection.send_packed_command(command).await;
                reply.and_then(Value::extract_error)
            }
            Self::Routed(routed) => return routed.ask(slot, command).await,
        };
        convert(reply.map_err(AskError::Failed)?)
    }
}

impl Routed {
    async fn ask<T: FromRedisValue>(&self, slot: u16, command: &Cmd) -> Result<T, AskError> {
        let engine = &self.engine;
        let mut asking = None;
        for redirections in 0..MAX_REDIRECTIONS {
            let (node, connection) = match &asking {
                None => self.connected(|| engine.owner(slot)).await?,
                Some(node) => self.connected(|| Some(Rc::clone(node))).await?,
            };
            let error = match send(connection, command, asking.is_some()).await {
                Ok(reply) => return convert(reply),
                Err(error) => error,
            };
            let redirect = Redirect::of(&error, node.host()).filter(|_| engine.is_cluster());
            let Some(redirect) = redirect else {
                engine.look_again(&error);
                return Err(AskError::Failed(error));
            };
            self.asked.answered();
            asking = None;
            // Nodes that do not agree yet send a command back and forth.
            let mut is_clear = redirections < 2;
            match redirect {
                Redirect::Moved(slot, name) => {
                    is_clear &= engine.moved(slot, &name);
                    Box::pin(engine.put_back(slot)).await;
                }
                Redirect::Ask(name) => {
                    asking = engine.node(&name);
                    is_clear &= asking.is_some();
                }
                Redirect::TryAgain => is_clear = false,
                Redirect::Unknown => {
                    engine.outdated.notify_one();
                    is_clear = false;
                }
            }
            if !is_clear {
                sleep_until(self.deadline.min(now() + TRY_AGAIN_AFTER).into()).await;
            }
            if now() >= self.deadline {
                return Err(AskError::TooLate);
            }
        }
        Err(AskError::TooLate)
    }

    /// Waits for a connection to the server. An open breaker is not waited for.
    async fn connected(
        &self,
        node: impl Fn() -> Option<Rc<Node>>,
    ) -> Result<(Rc<Node>, MultiplexedConnection), AskError> {
        let overall = &self.engine.overall;
        loop {
            let changed = overall.changed();
            match node() {
                Some(node) => {
                    self.asked.node.replace(Some(Rc::clone(&node)));
                    if node.health.is_open() {
                        return Err(AskError::NotAsked);
                    }
                    if let Some(connection) = node.connection() {
                        return Ok((node, connection));
                    }
                }
                // No server is known, or no node of the cluster has the hash slot.
                None if overall.is_unreachable() || self.engine.has_map() => {
                    return Err(AskError::NotAsked);
                }
                None => {}
            }
            let changed = timeout_at(self.deadline.into(), changed).await;
            changed.map_err(|_| AskError::TooLate)?;
        }
    }
}

/// Sends a command, and `ASKING` directly before it if the hash slot is moving to this node.
pub(crate) async fn send(
    mut connection: MultiplexedConnection,
    command: &Cmd,
    asking: bool,
) -> RedisResult<Value> {
    if !asking {
        let reply = connection.send_packed_command(command).await?;
        return reply.extract_error();
    }
    let mut both = pipe();
    both.add_command(cmd("ASKING")).add_command(command.clone());
    let replies = connection.send_packed_commands(&both, 0, 2).await?;
    let mut last = Value::Nil;
    for reply in replies {
        // If the node refuses `ASKING`, the second reply does not say why.
        last = reply.extract_error()?;
    }
    Ok(last)
}

fn convert<T: FromRedisValue>(reply: Value) -> Result<T, AskError> {
    redis::from_redis_value(reply).map_err(|_| AskError::Unexpected)
}
