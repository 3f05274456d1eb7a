//! Single-use tokens that one replica accepts, and no other does again.
//!
//! A used token is a key in Redis until the token is refused anyway: one `SET … NX PX` decides which
//! request is the first. If Redis has replicas, one of them must have the key as well before the token
//! is accepted, so that a failover does not let it be used again. If Redis does not answer, or no
//! replica confirms the key, the token is refused: `VOXGATE_LIMIT_ON_FAILURE` is about limits and does
//! not apply. A token that was refused for this reason may be used up.

use std::cell::Cell;
use std::fmt;
use std::fmt::Write as _;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use redis::{Value, cmd};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use voxgate::token::{SingleUse, SpendToken, Spending, TokenError};
use voxgate::{ConfigError, Problem};

use crate::address::Address;
use crate::clock::now;
use crate::keys::Keys;
use crate::lazy_client::LazyClient;
use crate::options::RedisOptions;
use crate::redis_error::RedisError;

/// How many requests may wait for Redis. Further ones are refused at once.
const MAX_WAITING: usize = 1024;
/// How often the log says that Redis is unavailable.
const LOG_EVERY: Duration = Duration::from_millis(300);

/// Single-use tokens, and nonces of signed requests, that all replicas together accept once.
///
/// A thread talks to Redis. An answer takes two seconds at most.
///
/// If the primary has replicas that are connected, one of them confirms each token before it is accepted
/// (`WAIT 1 300`); otherwise the token is refused. A failover forgets a token only if it promotes a replica
/// other than the one that confirmed it, or if there was none: have Redis refuse writes then with
/// `min-replicas-to-write 1`.
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

/// What the requests share.
struct Spender {
    client: LazyClient,
    waiting: Cell<usize>,
    /// When the log said last that Redis is unavailable.
    logged: Cell<Option<Instant>>,
}

async fn answer_all(address: Address, mut inbox: mpsc::Receiver<Request>) {
    let spender = Rc::new(Spender {
        client: LazyClient::new(address),
        waiting: Cell::default(),
        logged: Cell::default(),
    });
    while let Some(request) = inbox.recv().await {
        if spender.waiting.get() >= MAX_WAITING {
            _ = request.answer.send(Err(TokenError::StoreUnavailable));
            continue;
        }
        spender.waiting.update(|waiting| waiting + 1);
        spawn_local(Rc::clone(&spender).answer(request));
    }
}

impl Spender {
    async fn answer(self: Rc<Self>, request: Request) {
        let mut set = cmd("SET");
        set.arg(&request.key).arg(1).arg("NX");
        set.arg("PX").arg(request.millis);
        let is_first = |reply: &Value| !matches!(reply, Value::Nil);
        let written = self.client.write(&request.key, &set, is_first).await;
        self.waiting.update(|waiting| waiting - 1);
        let spent = match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(TokenError::AlreadyUsed),
            Err(error) => {
                self.log(&error);
                Err(TokenError::StoreUnavailable)
            }
        };
        // The caller may have gone.
        _ = request.answer.send(spent);
    }

    fn log(&self, error: &RedisError) {
        let is_new = |logged: Instant| now() - logged >= LOG_EVERY;
        if self.logged.get().is_none_or(is_new) {
            self.logged.set(Some(now()));
            tracing::warn!(%error, "Redis is unavailable: single-use tokens are refused");
        }
    }
}

impl fmt::Debug for SharedSpentTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSpentTokens").finish_non_exhaustive()
    }
}
