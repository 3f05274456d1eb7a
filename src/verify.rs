//! Who does this credential belong to?

use std::future::Future;

use crate::denial::Denial;
use crate::principal::Principal;
use crate::secret::Presented;

/// The answer of a verifier: who it is, or why not.
pub type Verdict = Result<Principal, Denial>;

/// Whether a verifier knows at once, or has to ask.
#[derive(Debug)]
pub enum Outcome<F> {
    /// The verdict. Nothing is boxed, cloned or awaited.
    Ready(Verdict),
    /// A future that resolves to the verdict.
    Pending(F),
}

/// Looks a credential up.
///
/// [`KeyRing`](crate::KeyRing) answers from memory. A store behind a network names its future and
/// returns [`Outcome::Pending`].
///
/// # Rules for implementers
///
/// - Compare with [`Digest::matches`](crate::Digest::matches), never with `==`.
/// - When the store cannot be asked, answer [`Denial::unavailable`]. Never a principal.
/// - Put a time limit on whatever the future waits for; the layer sets none.
///
/// # Cancel safety
///
/// The future is dropped when the caller goes away. What it started must not matter then.
pub trait Verify {
    /// What a pending verdict resolves from.
    type Future: Future<Output = Verdict>;

    /// Looks `presented` up. Must not block.
    fn verify(&self, presented: Presented<'_>) -> Outcome<Self::Future>;
}
