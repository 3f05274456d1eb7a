//! The step itself: a permit, a wait, or a refusal.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::denial::{Denial, DenialKind};
use crate::limit::Limit;
use crate::principal::Principal;

use super::ask::{Ask, Hit};
use super::book::Quotas;
use super::fields::Fields;
use super::limiter::Limiter;
use super::local::{Begun, Slot};
use super::permit::{Permit, Refused};
#[cfg(feature = "redis")]
use super::sharing::Sharing;

/// When to come back for a slot. Nobody knows when a stream ends.
const SLOT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether a request may begin.
pub(crate) enum Admission {
    Ready(Admitted),
    Pending(Pin<Box<dyn Future<Output = Admitted> + Send>>),
}

pub(crate) type Admitted = Result<Permit, Box<Refused>>;

impl Limiter {
    /// Takes a permit for a request of this principal.
    pub(crate) fn admit(&self, principal: &Principal) -> Admission {
        let Some(ask) = Ask::new(principal, self.defaults, self.upstream) else {
            return Admission::Ready(Ok(Permit::default()));
        };
        match self.local.begin(&ask) {
            Err(hit) => Admission::Ready(Err(self.refuse(&ask, hit, None))),
            Ok(Begun::Now(slot, quotas)) if !self.is_shared() => {
                Admission::Ready(Ok(self.permit(slot, &quotas, None)))
            }
            Ok(begun) => Admission::Pending(Box::pin(self.clone().wait(ask, begun))),
        }
    }

    /// Waits for a slot here, and for what the other replicas say.
    async fn wait(self, ask: Ask, begun: Begun) -> Admitted {
        let (slot, quotas, queued) = match begun {
            Begun::Now(slot, quotas) => (slot, quotas, None),
            Begun::Waits(waiting) => match waiting.await {
                (Ok((slot, quotas)), queued) => (slot, quotas, Some(queued)),
                (Err(hit), queued) => return Err(self.refuse(&ask, hit, Some(queued))),
            },
        };
        #[cfg(feature = "redis")]
        if let Some(sharing) = &self.sharing {
            return self.share(sharing, &ask, slot, queued).await;
        }
        Ok(self.permit(slot, &quotas, queued))
    }

    #[cfg(feature = "redis")]
    async fn share(
        &self,
        sharing: &Sharing,
        ask: &Ask,
        slot: Slot,
        queued: Option<Duration>,
    ) -> Admitted {
        let since = Instant::now();
        let wait = self.local.leave_to_wait(ask, queued);
        let (shared, waited) = sharing.confirm(&self.local, ask, &slot, wait).await;
        let queued = match waited {
            true => Some(queued.unwrap_or_default() + since.elapsed()),
            false => queued,
        };
        match shared {
            Ok(shared) => Ok(self.permit(slot, &shared.quotas, queued).with(shared.lease)),
            Err(hit) => Err(self.refuse(ask, hit, queued)),
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.sharing.is_some();
        #[cfg(not(feature = "redis"))]
        return false;
    }

    fn permit(&self, slot: Slot, quotas: &Quotas, queued: Option<Duration>) -> Permit {
        let fields = self.fields(|| Fields::accepted(quotas));
        Permit::new(slot, fields, queued)
    }

    /// Counts a failed authentication; what to say of it, if there were too many from there.
    pub(crate) fn slow_down(&self, peer: IpAddr) -> Option<Denial> {
        let wait = self.failures.as_ref()?.count(peer, Instant::now())?;
        Some(denial(Limit::PeerFailures, wait))
    }

    fn refuse(&self, ask: &Ask, hit: Hit, queued: Option<Duration>) -> Box<Refused> {
        let wait = hit.retry_after.unwrap_or(SLOT_RETRY_AFTER);
        let denial = match hit.limit {
            Limit::Shared => Denial::unavailable(wait).with_limit(hit.limit),
            limit => denial(limit, wait),
        };
        Box::new(Refused {
            fields: self.fields(|| Fields::refused(ask, hit)),
            queued,
            ..Refused::new(denial, None)
        })
    }

    fn fields(&self, fields: impl FnOnce() -> Fields) -> Fields {
        if self.tells {
            fields()
        } else {
            Fields::default()
        }
    }
}

fn denial(limit: Limit, retry_after: Duration) -> Denial {
    Denial::new(DenialKind::RateLimited)
        .with_retry_after(retry_after)
        .with_limit(limit)
}
