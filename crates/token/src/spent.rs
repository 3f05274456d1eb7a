//! Single-use tokens that were used.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::error::TokenError;

/// A single-use token that is about to be used.
#[derive(Clone, Debug)]
pub struct SingleUse {
    /// What identifies the token among those of all issuers: the SHA-256 of issuer and `jti`.
    pub id: [u8; 32],
    /// When the token was issued, as far as its `jti` tells.
    issued: Option<SystemTime>,
    /// When the token is refused anyway. Until then, its use must be remembered.
    pub until: SystemTime,
}

impl SingleUse {
    /// Something else that counts once, such as the nonce of a signed request, in a store that other
    /// processes share. Its `id` is a digest that includes its kind. A [`SpentTokens`] refuses it,
    /// because it does not know what was used before its start.
    #[must_use]
    pub fn from_digest(id: [u8; 32], until: SystemTime) -> Self {
        Self {
            id,
            issued: None,
            until,
        }
    }

    pub(crate) fn new(issuer: &str, jti: &str, until: SystemTime) -> Self {
        let text = format!("{issuer}\0{jti}");
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let issued = jti.parse::<Uuid>().ok().and_then(|id| id.get_timestamp());
        let issued = issued.map(|time| {
            let (seconds, nanos) = time.to_unix();
            UNIX_EPOCH + std::time::Duration::new(seconds, nanos)
        });
        Self { id, issued, until }
    }
}

/// Uses up single-use tokens: each is accepted once.
pub trait SpendToken: Send + Sync {
    /// Uses a token. Must not block.
    fn spend(&self, token: &SingleUse) -> Spending;
}

/// Whether a single-use token could be used.
pub enum Spending {
    /// The answer, at once.
    Done(Result<(), TokenError>),
    /// A future that resolves to the answer. It must have a timeout of its own.
    Pending(Pin<Box<dyn Future<Output = Result<(), TokenError>> + Send>>),
}

impl std::fmt::Debug for Spending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(used) => f.debug_tuple("Done").field(used).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

impl SpendToken for SpentTokens {
    fn spend(&self, token: &SingleUse) -> Spending {
        Spending::Done(Self::spend(self, token))
    }
}

/// The single-use tokens that this process has seen.
///
/// It is exact: a token is accepted once. It holds a stated number of tokens; expired ones are
/// forgotten first, and when all places are taken by tokens that are still valid, further single-use
/// tokens are refused. A token from before the start of the process is refused as well, because it is
/// unknown whether it was used. Its [`issued`](SingleUse) time has milliseconds, as UUIDv7 has.
pub struct SpentTokens {
    most: usize,
    started: SystemTime,
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    ids: HashMap<[u8; 32], SystemTime>,
    by_end: BinaryHeap<Reverse<(SystemTime, [u8; 32])>>,
}

impl SpentTokens {
    /// Room for this many tokens, about 150 bytes each. Tokens from before now are refused.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // The time in a UUIDv7 is in whole milliseconds, rounded down.
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self {
            most,
            started: UNIX_EPOCH + std::time::Duration::from_millis(millis),
            spent: Mutex::default(),
        }
    }

    /// Uses a token.
    ///
    /// # Errors
    ///
    /// If it was used before, or if that is unknown: the token is older than this process, or there
    /// is no room.
    pub fn spend(&self, token: &SingleUse) -> Result<(), TokenError> {
        self.spend_at(token, SystemTime::now())
    }

    fn spend_at(&self, token: &SingleUse, now: SystemTime) -> Result<(), TokenError> {
        if token.issued.is_none_or(|issued| issued < self.started) {
            return Err(TokenError::IssuedBeforeStart);
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Reverse((until, id))) = spent.by_end.peek().copied()
            && until < now
        {
            spent.by_end.pop();
            spent.ids.remove(&id);
        }
        if spent.ids.contains_key(&token.id) {
            return Err(TokenError::AlreadyUsed);
        }
        if spent.ids.len() >= self.most {
            return Err(TokenError::StoreUnavailable);
        }
        spent.ids.insert(token.id, token.until);
        spent.by_end.push(Reverse((token.until, token.id)));
        Ok(())
    }

    /// How many used tokens are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.ids.len()
    }

    /// Whether no used token is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for SpentTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpentTokens")
            .field("len", &self.len())
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn token(end: Duration) -> SingleUse {
        let until = SystemTime::now() + end;
        SingleUse::new("voxgate", &Uuid::now_v7().to_string(), until)
    }

    #[test]
    fn a_token_is_used_once_also_by_many_threads() {
        let store = SpentTokens::new(100);
        let token = token(Duration::from_secs(60));
        let uses = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| store.spend(&token)))
                .collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            joined.collect::<Vec<_>>()
        });
        assert_eq!(uses.iter().filter(|used| used.is_ok()).count(), 1);
        assert_eq!(store.spend(&token), Err(TokenError::AlreadyUsed));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_full_store_refuses_and_forgets_only_expired_tokens() {
        let store = SpentTokens::new(2);
        let (short, long) = (
            token(Duration::from_secs(5)),
            token(Duration::from_secs(60)),
        );
        store.spend(&short).expect("room");
        store.spend(&long).expect("room");
        let third = token(Duration::from_secs(60));
        assert_eq!(store.spend(&third), Err(TokenError::StoreUnavailable));
        assert_eq!(store.spend(&long), Err(TokenError::AlreadyUsed));
        let later = SystemTime::now() + Duration::from_secs(10);
        store
            .spend_at(&third, later)
            .expect("the place of the expired one");
        assert_eq!(store.spend_at(&long, later), Err(TokenError::AlreadyUsed));
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn a_token_from_before_the_start_is_refused() {
        let before = token(Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
        let store = SpentTokens::new(2);
        assert_eq!(store.spend(&before), Err(TokenError::IssuedBeforeStart));
        let until = SystemTime::now() + Duration::from_secs(60);
        let foreign = SingleUse::new("other", "no time in it", until);
        assert_eq!(store.spend(&foreign), Err(TokenError::IssuedBeforeStart));
        store
            .spend(&token(Duration::from_secs(60)))
            .expect("from after the start");
    }
}
