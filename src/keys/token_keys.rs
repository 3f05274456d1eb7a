//! Keys, and the short-lived tokens that stand for them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use voxgate_core::denial::{Denial, DenialKind};
use voxgate_token::{SpendToken, Spending, TokenError, TokenVerifier, VerifiedToken};

use crate::principal::Principal;
use crate::secret::RawCredential;
use crate::verify::{Verdict, Verify, VerifyOutcome};

use super::shared::SharedKeyRing;

/// `Retry-After` when it is unknown whether a single-use token was used.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A verifier of keys and of tokens. A credential that is no key and has the form of a token is
/// verified as one; the key behind it is looked up each time, so that a token ends with its key and
/// never has more rights than its key has now.
///
/// It answers at once, except for single-use tokens of which another system keeps count.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use voxgate::keys::TokenKeys;
/// use voxgate::{AuthLayer, Key, KeyRing, Principal, Secret, SharedKeyRing};
/// use voxgate::token::{Grant, SigningKey, SpentTokens, TokenIssuer, TokenVerifier};
///
/// let key = Key::from_secret(&Secret::new("a-long-secret-of-yours")?, Principal::new("ivr"));
/// let keys = SharedKeyRing::new(KeyRing::new([key])?);
/// let issuer = TokenIssuer::new("voxgate", "voxgate", SigningKey::ephemeral()?, []);
/// let tokens = TokenVerifier::new(Some(issuer.clone()));
/// let auth = AuthLayer::new(TokenKeys::new(keys, tokens, Arc::new(SpentTokens::new(10_000))));
/// # let _ = auth;
/// // A token for the key `ivr`, for a client of yours:
/// let grant = Grant::new(&Principal::new("ivr"), Duration::from_secs(60));
/// let token = issuer.issue(&grant)?.token;
/// # let _ = token;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenKeys {
    keys: SharedKeyRing,
    tokens: Option<Arc<Tokens>>,
}

struct Tokens {
    verifier: TokenVerifier,
    spent: Arc<dyn SpendToken>,
}

impl TokenKeys {
    /// Verifies these keys and the tokens that `tokens` accepts. Single-use tokens are used up in
    /// `spent`.
    #[must_use]
    pub fn new(keys: SharedKeyRing, tokens: TokenVerifier, spent: Arc<dyn SpendToken>) -> Self {
        keys.ring().prepare_ids();
        let verifier = tokens;
        Self {
            keys,
            tokens: Some(Arc::new(Tokens { verifier, spent })),
        }
    }

    /// Verifies these keys, and no tokens.
    #[must_use]
    pub fn without_tokens(keys: SharedKeyRing) -> Self {
        Self { keys, tokens: None }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &SharedKeyRing {
        &self.keys
    }

    /// The tokens that a credential is checked against; `None` if it is a key, or tokens are off.
    fn tokens(&self, credential: RawCredential<'_>) -> Option<&Tokens> {
        let tokens = self.tokens.as_deref()?;
        TokenVerifier::looks_like_token(credential.expose()).then_some(tokens)
    }

    /// The token, and its principal as its key is now.
    fn check(
        &self,
        tokens: &Tokens,
        credential: RawCredential<'_>,
    ) -> Result<(Arc<VerifiedToken>, Principal), Denial> {
        let token = tokens.verifier.verify(credential.expose());
        let token = token.map_err(denial)?;
        let behind = match token.key_id() {
            Some(id) => Some(self.keys.ring().find_id(id)?),
            None => None,
        };
        match token.principal(behind.as_ref()) {
            Some(principal) => Ok((token, principal)),
            None => Err(Denial::unknown_credential()),
        }
    }
}

fn denial(reason: TokenError) -> Denial {
    let denial = match reason.kind() {
        DenialKind::Unavailable => Denial::unavailable(RETRY_AFTER),
        kind => Denial::new(kind),
    };
    denial.with_token_error(reason.as_str())
}

fn spent(used: Result<(), TokenError>, principal: Principal) -> Verdict {
    match used {
        Ok(()) => Ok(principal),
        Err(reason) => Err(denial(reason).with_principal(principal)),
    }
}

impl Verify for TokenKeys {
    type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;

    fn verify(&self, credential: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        self.verify_at(credential, SystemTime::now())
    }

    fn verify_at(
        &self,
        credential: RawCredential<'_>,
        now: SystemTime,
    ) -> VerifyOutcome<Self::Future> {
        let verdict = match self.keys.verify_at(credential, now) {
            VerifyOutcome::Ready(verdict) => verdict,
            VerifyOutcome::Pending(verdict) => return VerifyOutcome::Pending(Box::pin(verdict)),
        };
        // A key may look like a token. It was a key before there were tokens.
        let tokens = match &verdict {
            Err(denial) if denial.kind() == DenialKind::UnknownCredential => {
                self.tokens(credential)
            }
            _ => None,
        };
        let Some(tokens) = tokens else {
            return VerifyOutcome::Ready(verdict);
        };
        let (token, principal) = match self.check(tokens, credential) {
            Ok(accepted) => accepted,
            Err(denial) => return VerifyOutcome::Ready(Err(denial)),
        };
        let Some(single_use) = token.single_use() else {
            return VerifyOutcome::Ready(Ok(principal));
        };
        match tokens.spent.spend(single_use) {
            Spending::Done(used) => VerifyOutcome::Ready(spent(used, principal)),
            Spending::Pending(used) => {
                VerifyOutcome::Pending(Box::pin(async move { spent(used.await, principal) }))
            }
        }
    }

    fn verify_certificate(&self, name: &str, now: SystemTime) -> Option<Verdict> {
        self.keys.verify_certificate(name, now)
    }

    fn needs_policy(&self) -> bool {
        self.keys.needs_policy()
    }

    fn verify_again(
        &self,
        credential: RawCredential<'_>,
        accepted: &Principal,
    ) -> VerifyOutcome<Self::Future> {
        // The request has used its token itself.
        match (accepted.token(), self.tokens(credential)) {
            (Some(_), Some(tokens)) => {
                let checked = self.check(tokens, credential);
                VerifyOutcome::Ready(checked.map(|(_, principal)| principal))
            }
            _ => self.verify(credential),
        }
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys")
            .field("keys", &self.keys)
            .field(
                "tokens",
                &self.tokens.as_ref().map(|tokens| &tokens.verifier),
            )
            .finish()
    }
}
