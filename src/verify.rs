//! The verifier: finds the owner of a credential.

use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use voxgate_core::denial::Denial;

use crate::principal::Principal;
use crate::secret::RawCredential;

/// The answer of a verifier: the owner of the credential, or the reason to deny it.
pub type Verdict = Result<Principal, Denial>;

/// The verdict of a verifier, or a future that resolves to it.
#[derive(Debug)]
pub enum VerifyOutcome<F> {
    /// The verdict, available at once. Nothing is boxed, cloned or awaited.
    Ready(Verdict),
    /// A future that resolves to the verdict.
    Pending(F),
}

/// Finds the owner of a credential.
///
/// [`KeyRing`](crate::KeyRing) answers from memory. [`verify_fn`] makes a verifier of an `async`
/// function. A store behind a network that names its own future implements this trait and returns
/// [`VerifyOutcome::Pending`].
///
/// # Rules for implementers
///
/// - Compare with [`Digest::matches`](crate::Digest::matches), never with `==`.
/// - If the store is down, return [`Denial::unavailable`], never a principal.
/// - Set a timeout in the future; the layer sets none.
/// - A request that waited for a slot is verified again before it is forwarded, so that a revoked
///   key is refused. The verifier may therefore be called twice for one request; see
///   [`verify_again`](Self::verify_again).
///
/// # Cancel safety
///
/// The future is dropped when the caller disconnects. Put work that must finish into a separate
/// task.
pub trait Verify {
    /// The future of a pending verdict.
    type Future: Future<Output = Verdict>;

    /// Verifies a credential. Must not block.
    fn verify(&self, credential: RawCredential<'_>) -> VerifyOutcome<Self::Future>;

    /// As [`verify`](Self::verify), for a verifier that needs the time: `now` was just read, and need
    /// not be read again. The layer calls this method. Its default ignores the time.
    fn verify_at(
        &self,
        credential: RawCredential<'_>,
        now: SystemTime,
    ) -> VerifyOutcome<Self::Future> {
        let _ = now;
        self.verify(credential)
    }

    /// Verifies the credential of a request that this verifier accepted for `accepted`, and that
    /// has waited since. A verifier whose credentials can be used only once must implement it: the
    /// same request uses the credential once. By default it is [`verify`](Self::verify).
    fn verify_again(
        &self,
        credential: RawCredential<'_>,
        accepted: &Principal,
    ) -> VerifyOutcome<Self::Future> {
        let _ = accepted;
        self.verify(credential)
    }

    /// Finds the owner of a client certificate by one of its names. TLS has verified the certificate.
    /// `None` if this verifier knows no certificates, as by default.
    fn verify_certificate(&self, name: &str, now: SystemTime) -> Option<Verdict> {
        let _ = (name, now);
        None
    }

    /// Whether it knows a principal with restrictions, which needs a policy. The layer warns if it
    /// has none. A verifier that cannot tell answers `false`, as it does by default.
    fn needs_policy(&self) -> bool {
        false
    }
}

/// A verifier made of a function that returns a future.
///
/// The function gets the credential by reference and must take what it needs, usually its
/// [digest](RawCredential::digest), before the future starts. The rules of [`Verify`] apply.
///
/// ```
/// use std::time::Duration;
/// use voxgate::{AuthLayer, Denial, Digest, Principal, verify_fn};
///
/// # async fn find(_: Digest) -> Result<Option<String>, std::io::Error> { Ok(None) }
/// let verifier = verify_fn(|credential| {
///     let digest = credential.digest();
///     async move {
///         match find(digest).await {
///             Ok(Some(id)) => Ok(Principal::new(&id)),
///             Ok(None) => Err(Denial::unknown_credential()),
///             Err(_) => Err(Denial::unavailable(Duration::from_secs(1))),
///         }
///     }
/// });
/// let auth = AuthLayer::new(verifier);
/// # let _ = auth;
/// ```
pub fn verify_fn<F, T>(function: F) -> VerifyFn<F>
where
    F: Fn(RawCredential<'_>) -> T,
    T: Future<Output = Verdict>,
{
    VerifyFn { function }
}

/// A verifier made by [`verify_fn`].
#[derive(Clone, Copy)]
pub struct VerifyFn<F> {
    function: F,
}

impl<F, T> Verify for VerifyFn<F>
where
    F: Fn(RawCredential<'_>) -> T,
    T: Future<Output = Verdict>,
{
    type Future = T;

    fn verify(&self, credential: RawCredential<'_>) -> VerifyOutcome<T> {
        VerifyOutcome::Pending((self.function)(credential))
    }
}

impl<F> fmt::Debug for VerifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyFn")
    }
}
