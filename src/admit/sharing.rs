//! Limits of this process and of its replicas, one after the other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::ConfigError;
use crate::limit::Limit;

use super::ask::{Ask, Hit, Holder};
use super::book::{Quota, Quotas, Share};
use super::bucket::Left;
use super::local::{Local, Slot};
use super::shared::{self, Demand, Lease, SharedLimits, SharedOptions, Unavailable, Wait, What};

/// What is done about limits that replicas share while they cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Each replica holds to its part: the limits, divided by the replicas that were last seen.
    #[default]
    Local,
    /// Requests that are limited are refused with 503.
    Deny,
    /// Only what is in flight here is limited.
    Allow,
}

impl OnFailure {
    /// `local`, `deny` or `allow`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::Local),
            "deny" => Some(Self::Deny),
            "allow" => Some(Self::Allow),
            _ => None,
        }
    }
}

/// How it goes with the limits that replicas share.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SharingState {
    /// Whether they are asked.
    pub is_up: bool,
    /// How many replicas were seen last, this one included.
    pub replicas: u32,
    /// How often they could not be asked.
    pub failures: u64,
    /// How often they were, and how long that took in all.
    pub answers: u64,
    /// The time from question to answer, of all answers together.
    pub answer_time: Duration,
}

/// The limits that replicas share, and what to do without them. Cloning shares them.
#[derive(Clone)]
pub(super) struct Sharing {
    limits: SharedLimits,
    on_failure: OnFailure,
    deadline: Duration,
    answers: Arc<Answers>,
}

#[derive(Default)]
struct Answers {
    count: AtomicU64,
    micros: AtomicU64,
}

/// What a request has from the replicas.
pub(super) struct Shared {
    pub(super) lease: Option<Lease>,
    pub(super) quotas: Quotas,
}

impl Sharing {
    pub(super) fn start(
        mut options: SharedOptions,
        on_failure: OnFailure,
    ) -> Result<Self, ConfigError> {
        let answers = Arc::<Answers>::default();
        let counted = Arc::clone(&answers);
        options.on_round_trip = Some(Box::new(move |took| counted.count(took)));
        let deadline = options.deadline;
        Ok(Self {
            limits: SharedLimits::start(options)?,
            on_failure,
            deadline,
            answers,
        })
    }

    pub(super) fn state(&self) -> SharingState {
        SharingState {
            is_up: self.limits.is_up(),
            replicas: self.limits.replicas(),
            failures: self.limits.failures(),
            answers: self.answers.count.load(Ordering::Relaxed),
            answer_time: Duration::from_micros(self.answers.micros.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn finish(&self) {
        self.limits.finish(FAREWELL);
    }

    /// Asks for a request that is in flight here whether it may be, of all replicas. Waits for a
    /// slot, if it may. Also says whether it waited for a slot of another replica.
    pub(super) async fn confirm(
        &self,
        local: &Local,
        ask: &Ask,
        slot: &Slot,
        wait: Option<Wait>,
    ) -> (Result<Shared, Hit>, bool) {
        let since = Instant::now();
        let answer = self.limits.ask(&demands(ask), wait).await;
        // Whoever did not wait was answered within the deadline.
        let waited = answer.is_ok() && since.elapsed() > self.deadline;
        let shared = match answer {
            Ok(Ok(lease)) => Ok(Shared {
                quotas: quotas(ask, lease.quotas()),
                lease: Some(lease),
            }),
            Ok(Err(hit)) => Err(translated(ask, &hit)),
            Err(Unavailable) => self.without(local, ask, slot),
        };
        (shared, waited)
    }

    fn without(&self, local: &Local, ask: &Ask, slot: &Slot) -> Result<Shared, Hit> {
        let quotas = match self.on_failure {
            OnFailure::Local => local.confirm(slot, Share(self.limits.replicas()))?,
            OnFailure::Allow => Quotas::default(),
            OnFailure::Deny => {
                return Err(Hit {
                    limit: Limit::Shared,
                    retry_after: Some(RETRY_AFTER),
                });
            }
        };
        Ok(Shared {
            // The others learn of it when they can be asked again.
            lease: Some(self.limits.hold(&demands(ask))),
            quotas,
        })
    }
}

/// How long the end of a process waits for Redis.
const FAREWELL: Duration = Duration::from_secs(1);
/// When to come back to limits that cannot be asked.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Answers {
    fn count(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

fn demands(ask: &Ask) -> Vec<Demand<'_>> {
    let demand = |(holder, limits)| Demand {
        holder: match holder {
            Holder::Key => shared::Holder::Key(ask.id(holder)),
            Holder::Account => shared::Holder::Account(ask.id(holder)),
            Holder::Upstream => shared::Holder::Upstream,
        },
        limits,
    };
    ask.holders().map(demand).collect()
}

/// What is left of rates. How many slots are is known to Redis alone.
fn quotas(ask: &Ask, given: &[Option<shared::Quota>]) -> Quotas {
    let mut quotas = Quotas::default();
    for ((holder, limits), given) in ask.holders().zip(given) {
        let left = given.map(|given| Left {
            requests: u32::try_from(given.remaining).unwrap_or(u32::MAX),
            full_after: given.full_in,
        });
        quotas.0[holder as usize] = Some(Quota {
            limits,
            slots: None,
            left,
        });
    }
    quotas
}

fn translated(ask: &Ask, hit: &shared::Hit) -> Hit {
    let holder = ask.holders().nth(hit.demand);
    let holder = holder.map_or(Holder::Upstream, |(holder, _)| holder);
    match hit.what {
        What::Rate => Hit {
            limit: holder.rate(),
            retry_after: Some(hit.retry_after.unwrap_or_default()),
        },
        What::Concurrency => Hit {
            limit: holder.concurrency(),
            retry_after: None,
        },
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}
