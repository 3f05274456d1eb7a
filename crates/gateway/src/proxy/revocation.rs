//! Ends long requests and tunnels when the key of their caller is revoked or expires, and on request
//! when its token does.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::field::display;
use voxgate::token::LEEWAY;
use voxgate::{AuthMethod, Caller, SharedKeyRing};

/// The clock can be set while a tunnel waits for its key to expire.
const LOOK_AT_THE_CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Resolves when a caller may go on no longer.
pub(crate) type Revoked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Watches the keys of callers whose requests are in progress.
#[derive(Clone)]
pub(crate) struct Revocations {
    keys: Option<WatchedKeys>,
    /// Whether a request ends with its token.
    cuts: bool,
}

#[derive(Clone)]
struct WatchedKeys {
    in_force: SharedKeyRing,
    replaced: watch::Receiver<()>,
}

impl Revocations {
    /// Watches these keys; `None` in preconfigured mode, where callers have no keys. With `cuts`, a
    /// tunnel also ends with its token.
    pub(crate) fn new(keys: Option<SharedKeyRing>, cuts: bool) -> Self {
        let keys = keys.map(|in_force| {
            let (replace, replaced) = watch::channel(());
            in_force.on_replace(move |_| replace.send_replace(()));
            WatchedKeys { in_force, replaced }
        });
        Self { keys, cuts }
    }

    /// Resolves when the caller's key was revoked or disabled, or has expired, or its token has ended
    /// and tunnels end with their tokens; never for a caller without a key or token.
    pub(super) fn of(&self, caller: &Caller) -> Revoked {
        let token = caller.principal().token();
        let ends = token
            .filter(|_| self.cuts)
            .map(|token| token.expires() + LEEWAY);
        // The subject of another issuer has no key here.
        let has_key = match caller.auth_method() {
            AuthMethod::ApiKey | AuthMethod::Certificate => true,
            AuthMethod::Jwt => caller.principal().credential().is_some(),
            _ => false,
        };
        let keys = self.keys.clone().filter(|_| has_key);
        let caller = caller.clone();
        Box::pin(async move {
            let revoked = async {
                match keys {
                    Some(keys) => keys.revoked(&caller).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = revoked => {}
                () = expired(ends) => {
                    let (request_id, key_id) = (caller.request_id(), caller.key_id());
                    let trace_id = caller.trace_id().map(display);
                    tracing::info!(%request_id, trace_id, key_id, "closing a stream: its token has expired");
                }
            }
        })
    }
}

impl WatchedKeys {
    async fn revoked(mut self, caller: &Caller) {
        loop {
            self.replaced.mark_unchanged();
            let before = caller.principal();
            let reason = match self.in_force.ring().recheck(before) {
                Ok(now) if now.may_less_than(before) => Err("it allows less than before"),
                Ok(now) => Ok(now.validity().expires),
                Err(denial) => Err(denial.kind().as_str()),
            };
            let expires = match reason {
                Ok(expires) => expires,
                Err(reason) => {
                    let (request_id, key_id) = (caller.request_id(), caller.key_id());
                    let trace_id = caller.trace_id().map(display);
                    tracing::info!(%request_id, trace_id, key_id, reason, "closing a stream: its key is no longer valid");
                    return;
                }
            };
            tokio::select! {
                // The sender lives as long as the keys, which are held here.
                _ = self.replaced.changed() => {}
                () = expired(expires) => {}
            }
        }
    }
}

async fn expired(expires: Option<SystemTime>) {
    let Some(expires) = expires else {
        return pending().await;
    };
    while let Ok(left) = expires.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        sleep(left.min(LOOK_AT_THE_CLOCK_EVERY)).await;
    }
}
