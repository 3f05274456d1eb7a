//! Signed requests: Inworld's `IW1-HMAC-SHA256`.
//!
//! The signature is a chain of HMAC-SHA256 over the time, the host of the service, the name of the
//! method and a nonce, with a key that begins with the secret. It covers neither the path nor the body,
//! so it counts only where tokens are made, and the body must name the same key. The host is the one
//! in the client's settings, which need not be the host that the client connects to.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use voxgate::token::{SingleUse, SpendToken, Spending, TokenError};
use voxgate::{
    Denial, DenialKind, Principal, RawCredential, SharedKeyRing, Verdict, Verify, VerifyOutcome,
};

/// The method that a signature names, whatever path the request is sent to.
const METHOD: &str = "ai.inworld.engine.WorldEngine/GenerateToken";
/// How far the time of a signature may be from this machine's clock.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// Nonces that are kept. One is kept for twice the skew at most.
const MAX_NONCES: usize = 65_536;
/// Nonces that are kept for one key, so that one caller cannot take the room of all.
const MAX_NONCES_OF_KEY: usize = 8_192;
/// `Retry-After` when there is no room for another nonce.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// `Retry-After` when the shared store does not answer.
const RETRY_STORE_AFTER: Duration = Duration::from_secs(1);

/// The verdict on a signed request whose nonce other replicas may have seen.
type SharedVerdict = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// The parameters of a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature<'a> {
    pub(crate) api_key: &'a str,
    date_time: &'a str,
    nonce: &'a str,
    hex: &'a str,
}

impl<'a> Signature<'a> {
    /// Parses `ApiKey=…,DateTime=…,Nonce=…,Signature=…`, each once and in any order.
    pub(crate) fn parse(parameters: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(parameters).ok()?;
        let (mut api_key, mut date_time, mut nonce, mut hex) = (None, None, None, None);
        for parameter in text.split(',') {
            let (name, value) = parameter.split_once('=')?;
            let place = match name {
                "ApiKey" => &mut api_key,
                "DateTime" => &mut date_time,
                "Nonce" => &mut nonce,
                "Signature" => &mut hex,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let signature = Self {
            api_key: api_key?,
            date_time: date_time?,
            nonce: nonce?,
            hex: hex?,
        };
        let is = |text: &str, length: std::ops::RangeInclusive<usize>, good: fn(&u8) -> bool| {
            length.contains(&text.len()) && text.as_bytes().iter().all(good)
        };
        // The SDKs send eleven or fifteen hexadecimal digits as the nonce.
        let is_good = is(signature.api_key, 1..=128, u8::is_ascii_graphic)
            && is(signature.date_time, 14..=14, u8::is_ascii_digit)
            && is(signature.nonce, 8..=64, u8::is_ascii_alphanumeric)
            && is(signature.hex, 64..=64, u8::is_ascii_hexdigit);
        is_good.then_some(signature)
    }

    /// When the request was signed, in UTC.
    fn time(&self) -> Option<SystemTime> {
        let part = |from: usize, to: usize| &self.date_time[from..to];
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            part(0, 4),
            part(4, 6),
            part(6, 8),
            part(8, 10),
            part(10, 12),
            part(12, 14)
        );
        humantime::parse_rfc3339(&text).ok()
    }

    /// Its nonce, for a store that replicas share.
    fn as_single_use(&self, now: SystemTime) -> SingleUse {
        let id = digest(&["IW1 nonce", self.api_key, self.nonce]);
        // The time of a signature is at most one skew ahead, and it is accepted for one more. The
        // clocks of replicas differ by less than another.
        SingleUse::from_digest(id, now + 3 * SKEW)
    }

    /// Whether it was made with this secret for this host.
    fn is_of(&self, secret: &str, host: &str) -> bool {
        let expected = sign(secret, [self.date_time, host, METHOD, self.nonce]);
        let given = self.hex.to_ascii_lowercase();
        hex(&expected).as_bytes().ct_eq(given.as_bytes()).into()
    }
}

fn sign(secret: &str, parts: [&str; 4]) -> [u8; 32] {
    let mut key = format!("IW1{secret}").into_bytes();
    let mut last = [0; 32];
    for part in parts.into_iter().chain(["iw1_request"]) {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
        mac.update(part.as_bytes());
        last = mac.finalize().into_bytes().into();
        key = last.to_vec();
    }
    last
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What checks signed requests.
pub struct SignedRequests {
    keys: SharedKeyRing,
    hosts: Vec<String>,
    nonces: Mutex<Nonces>,
    /// The nonces that all replicas have seen.
    shared: Option<Arc<dyn SpendToken>>,
    /// Nonces of signatures before this time are not known: this process did not see them.
    since: SystemTime,
}

impl SignedRequests {
    /// Checks signatures with the secrets of these keys. A signature must be for one of these hosts,
    /// in lower case, with their port unless it is 443.
    #[must_use]
    pub fn new(keys: SharedKeyRing, hosts: Vec<String>) -> Self {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            keys,
            hosts,
            nonces: Mutex::default(),
            shared: None,
            // The time of a signature has whole seconds.
            since: UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        }
    }

    /// Uses up nonces in `shared` too, so that a request counts once for all replicas that share it,
    /// and after a restart. If it does not answer, signed requests are refused.
    #[must_use]
    pub fn with_shared_nonces(mut self, shared: Arc<dyn SpendToken>) -> Self {
        self.shared = Some(shared);
        self.since = UNIX_EPOCH;
        self
    }

    /// The key that signed, or why the request is refused: the denial is for the record, and the
    /// caller learns only that its key is invalid. The answer comes at once, unless nonces are shared.
    pub fn verify(&self, parameters: &[u8], now: SystemTime) -> VerifyOutcome<SharedVerdict> {
        let principal = match self.check(parameters, now, true) {
            Ok(principal) => principal,
            refused => return VerifyOutcome::Ready(refused),
        };
        let (Some(shared), Some(signature)) = (&self.shared, Signature::parse(parameters)) else {
            return VerifyOutcome::Ready(Ok(principal));
        };
        match shared.spend(&signature.as_single_use(now)) {
            Spending::Done(used) => VerifyOutcome::Ready(first(used, principal)),
            Spending::Pending(used) => {
                VerifyOutcome::Pending(Box::pin(async move { first(used.await, principal) }))
            }
        }
    }

    /// The same for a request that was accepted and has waited since: its nonce is used, by itself.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_again(&self, parameters: &[u8], now: SystemTime) -> Verdict {
        self.check(parameters, now, false)
    }

    fn check(&self, parameters: &[u8], now: SystemTime, is_first: bool) -> Verdict {
        let Some(signature) = Signature::parse(parameters) else {
            return Err(DenialKind::MalformedCredential.into());
        };
        let ring = self.keys.ring();
        let (secret, verdict) = match ring.signing_secret(signature.api_key) {
            Some((secret, verdict)) => (secret.secret(), Some(verdict)),
            // The same work for a key that does not exist.
            None => ("", None),
        };
        let mut is_signed = false;
        for host in &self.hosts {
            is_signed |= signature.is_of(secret, host);
        }
        let Some(verdict) = verdict else {
            return Err(Denial::unknown_credential());
        };
        let owner = match &verdict {
            Ok(principal) => Some(principal.clone()),
            Err(denial) => denial.principal().cloned(),
        };
        let deny = |kind: DenialKind| match owner.clone() {
            Some(owner) => Err(Denial::new(kind).with_principal(owner)),
            None => Err(kind.into()),
        };
        if !is_signed {
            return deny(DenialKind::InvalidSignature);
        }
        let Some(time) = signature.time() else {
            return deny(DenialKind::MalformedCredential);
        };
        let is_near = now.duration_since(time).unwrap_or_default() <= SKEW
            && time.duration_since(now).unwrap_or_default() <= SKEW;
        if !is_near || time < self.since {
            return deny(DenialKind::StaleSignature);
        }
        let principal = verdict?;
        if !is_first {
            return Ok(principal);
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.take(signature, time + SKEW, now) {
            Taken::First => Ok(principal),
            Taken::Again => deny(DenialKind::ReplayedSignature),
            Taken::Full => Err(Denial::unavailable(RETRY_AFTER).with_principal(principal)),
        }
    }
}

impl fmt::Debug for SignedRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequests")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Whether a shared store says that a nonce is used for the first time.
fn first(used: Result<(), TokenError>, principal: Principal) -> Verdict {
    let denial = match used {
        Ok(()) => return Ok(principal),
        Err(TokenError::AlreadyUsed) => Denial::new(DenialKind::ReplayedSignature),
        Err(_) => Denial::unavailable(RETRY_STORE_AFTER),
    };
    Err(denial.with_principal(principal))
}

/// The nonces that were used, for as long as their signatures could be sent again.
#[derive(Default)]
struct Nonces {
    /// In the order in which they can be forgotten, each with the key that used it.
    by_end: BTreeSet<(SystemTime, Hash)>,
    key_of: HashMap<Hash, Hash>,
    of_key: HashMap<Hash, usize>,
}

/// The first half of a SHA-256, so that long names take no room.
type Hash = [u8; 16];

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    First,
    Again,
    Full,
}

impl Nonces {
    fn take(&mut self, signature: Signature<'_>, end: SystemTime, now: SystemTime) -> Taken {
        self.forget(now);
        let key = hash(&[signature.api_key]);
        let nonce = hash(&[signature.api_key, signature.nonce]);
        if self.key_of.contains_key(&nonce) {
            return Taken::Again;
        }
        let of_key = self.of_key.get(&key).copied().unwrap_or_default();
        if self.by_end.len() >= MAX_NONCES || of_key >= MAX_NONCES_OF_KEY {
            return Taken::Full;
        }
        self.by_end.insert((end, nonce));
        self.key_of.insert(nonce, key);
        self.of_key.insert(key, of_key + 1);
        Taken::First
    }

    fn forget(&mut self, now: SystemTime) {
        while let Some((end, nonce)) = self.by_end.first().copied()
            && end < now
        {
            self.by_end.pop_first();
            let Some(key) = self.key_of.remove(&nonce) else {
                continue;
            };
            if let Some(count) = self.of_key.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.of_key.remove(&key);
                }
            }
        }
    }
}

fn hash(parts: &[&str]) -> Hash {
    let mut first = Hash::default();
    first.copy_from_slice(&digest(parts)[..16]);
    first
}

/// The SHA-256 of these parts, each with its length, so that they do not run together.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A verifier that checks signed requests itself, and passes every other credential on.
#[derive(Clone, Debug)]
pub struct SignatureVerifier<V> {
    inner: V,
    signed: Option<Arc<SignedRequests>>,
}

impl<V> SignatureVerifier<V> {
    /// Checks signed requests with `signed`. Without it, every signature is refused.
    #[must_use]
    pub fn new(inner: V, signed: Option<SignedRequests>) -> Self {
        Self {
            inner,
            signed: signed.map(Arc::new),
        }
    }

    /// The verifier of every other credential.
    #[must_use]
    pub fn inner(&self) -> &V {
        &self.inner
    }
}

impl<V> Verify for SignatureVerifier<V>
where
    V: Verify,
    V::Future: Send + 'static,
{
    type Future = SharedVerdict;

    fn verify(&self, credential: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        self.verify_at(credential, SystemTime::now())
    }

    fn verify_at(
        &self,
        credential: RawCredential<'_>,
        now: SystemTime,
    ) -> VerifyOutcome<Self::Future> {
        if !credential.is_signature() {
            return boxed(self.inner.verify_at(credential, now));
        }
        match &self.signed {
            Some(signed) => signed.verify(credential.expose(), now),
            None => VerifyOutcome::Ready(Err(Denial::unknown_credential())),
        }
    }

    fn verify_again(
        &self,
        credential: RawCredential<'_>,
        accepted: &Principal,
    ) -> VerifyOutcome<Self::Future> {
        if !credential.is_signature() {
            return boxed(self.inner.verify_again(credential, accepted));
        }
        VerifyOutcome::Ready(match &self.signed {
            Some(signed) => signed.verify_again(credential.expose(), SystemTime::now()),
            None => Err(Denial::unknown_credential()),
        })
    }

    fn verify_certificate(&self, name: &str, now: SystemTime) -> Option<Verdict> {
        self.inner.verify_certificate(name, now)
    }

    fn needs_policy(&self) -> bool {
        self.inner.needs_policy()
    }
}

/// An outcome whose verdict, if it takes time, is boxed. Verdicts at once cost nothing.
fn boxed<F>(outcome: VerifyOutcome<F>) -> VerifyOutcome<SharedVerdict>
where
    F: Future<Output = Verdict> + Send + 'static,
{
    match outcome {
        VerifyOutcome::Ready(verdict) => VerifyOutcome::Ready(verdict),
        VerifyOutcome::Pending(verdict) => VerifyOutcome::Pending(Box::pin(verdict)),
    }
}

#[cfg(test)]
mod tests;
