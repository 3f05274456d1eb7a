//! Single-use tokens that one replica accepts, and no other does again.
//!
//! A used token is a key in Redis until the token is refused anyway: one `SET … NX PX` decides which
//! request is the first. If Redis does not answer, the token is refused: `VOXGATE_LIMIT_ON_FAILURE`
//! is about limits and does not apply.

use std::cell::Cell;
use std::fmt;
use std::fmt::Write as _;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::cmd;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use voxgate::token::{SingleUse, SpendToken, Spending, TokenError};
use voxgate::{ConfigError, Problem};

use crate::address::Address;
use crate::connection::{Connection, TIMEOUT};
use crate::keys::Keys;
use crate::options::RedisOptions;

/// How many requests may wait for Redis. Further ones are refused at once.
const MAX_WAITING: usize = 1024;
/// How long to wait before the next connection. Meanwhile, single-use tokens are refused at once.
const PAUSE: Duration = Duration::from_millis(300);

/// Single-use tokens, and nonces of signed requests, that all replicas together accept once.
///
/// A thread talks to Redis. An answer takes two seconds at most: one to connect, one to ask.
#[derive(Clone)]
pub struct SharedSpentTokens {
    keys: Keys,
    requests: mpsc::Sender<Request>,
}

struct Request {
    key: String,
    millis: u64,
    answer: oneshot::Sender<Result<(), TokenError>>,
}

impl SharedSpentTokens {
    /// Starts the thread, which ends with the last clone. Does not wait for a connection.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the options, by the names of their fields, or that a thread
    /// cannot be started.
    pub fn start(options: RedisOptions) -> Result<Self, ConfigError> {
        let config = options.check()?;
        let failed = |what: &str, error: &dyn fmt::Display| {
            let message = format!("cannot start the {what} for single-use tokens: {error}");
            ConfigError::from(Problem::new("shared tokens", message))
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("runtime", &error))?;
        let (requests, inbox) = mpsc::channel(MAX_WAITING);
        let address = config.address;
        let thread = thread::Builder::new().name("voxgate-tokens".to_owned());
        let started = thread.spawn(move || {
            LocalSet::new().block_on(&runtime, answer_all(address, inbox));
        });
        started.map_err(|error| failed("thread", &error))?;
        Ok(Self {
            keys: config.keys,
            requests,
        })
    }
}

impl SpendToken for SharedSpentTokens {
    fn spend(&self, token: &SingleUse) -> Spending {
        let left = token.until.duration_since(SystemTime::now());
        let left = left.unwrap_or_default().as_millis();
        let mut id = String::with_capacity(64);
        for byte in token.id {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        let (answer, answered) = oneshot::channel();
        let request = Request {
            key: self.keys.spent_token(&id),
            millis: u64::try_from(left).unwrap_or(u64::MAX).max(1),
            answer,
        };
        if self.requests.try_send(request).is_err() {
            return Spending::Done(Err(TokenError::StoreUnavailable));
        }
        Spending::Pending(Box::pin(async {
            answered.await.unwrap_or(Err(TokenError::StoreUnavailable))
        }))
    }
}

async fn answer_all(address: Address, mut inbox: mpsc::Receiver<Request>) {
    let mut connection: Option<(Connection, Rc<Cell<bool>>)> = None;
    let mut failed: Option<Instant> = None;
    while let Some(request) = inbox.recv().await {
        if connection
            .as_ref()
            .is_some_and(|(_, is_lost)| is_lost.get())
        {
            connection = None;
        }
        let may_connect = failed.is_none_or(|failed| failed.elapsed() >= PAUSE);
        if connection.is_none() && may_connect {
            match Connection::open(&address).await {
                Ok(opened) => {
                    connection = Some((opened, Rc::default()));
                    failed = None;
                }
                Err(error) => {
                    tracing::warn!(%error, "Redis is unavailable: single-use tokens are refused");
                    failed = Some(Instant::now());
                }
            }
        }
        match &connection {
            Some((connection, is_lost)) => {
                let (pipeline, is_lost) = (connection.pipeline.clone(), Rc::clone(is_lost));
                spawn_local(answer(pipeline, is_lost, request));
            }
            None => _ = request.answer.send(Err(TokenError::StoreUnavailable)),
        }
    }
}

async fn answer(mut pipeline: MultiplexedConnection, is_lost: Rc<Cell<bool>>, request: Request) {
    let Request {
        key,
        millis,
        answer,
    } = request;
    let mut set = cmd("SET");
    set.arg(key).arg(1).arg("NX").arg("PX").arg(millis);
    let reply = set.query_async::<Option<String>>(&mut pipeline);
    let spent = match timeout(TIMEOUT, reply).await {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(Ok(None)) => Err(TokenError::AlreadyUsed),
        Ok(Err(_)) | Err(_) => {
            is_lost.set(true);
            Err(TokenError::StoreUnavailable)
        }
    };
    // The caller may have gone.
    _ = answer.send(spent);
}

impl fmt::Debug for SharedSpentTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSpentTokens").finish_non_exhaustive()
    }
}
