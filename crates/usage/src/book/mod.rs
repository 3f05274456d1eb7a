//! The book: what keys and accounts use, and whether their quotas allow more.

mod alert;
mod builder;
mod header_fields;
mod outcome;
mod quota_use;
mod shared;
mod state;
mod sync;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use voxgate::rate_limit::{
    Amounts, LimitScope, OnFailure, QuotaCommand, QuotaFuture, QuotaPeriod, QuotaStore,
};
use voxgate::{Denial, DenialKind, Principal};

use self::alert::report;
pub use self::builder::BookBuilder;
pub(crate) use self::outcome::PendingTake;
pub use self::outcome::{Exhausted, Taken};
use self::outcome::{NotTaken, exhausted};
pub use self::quota_use::{OwnerUsage, QuotaUse};
use self::shared::is_counted;
use self::state::State;
use self::sync::sync;
use crate::calendar::{Calendar, Today};
use crate::owner::{Clock, owners};
use crate::state_file::{Read, StateFile};

/// `Retry-After` while the shared store is unavailable.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What keys and accounts use in each day and month. Cloning shares it.
///
/// Principals carry their quotas ([`Principal::with_quotas`]). A quota that changes counts from the
/// next request on, with what is used already: counters belong to the id of a key or account.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use voxgate::Principal;
/// use voxgate::rate_limit::Quota;
/// use voxgate_usage::{Calendar, UsageBook};
///
/// let calendar = Calendar::in_zone("Europe/Berlin").ok_or("no such zone")?;
/// let book = UsageBook::builder(calendar).build()?;
/// let key = Principal::new("ivr").with_quotas([Quota::parse("10 characters/day")?]);
/// assert!(book.take_now(&key, [8, 1, 0]).is_ok());
/// let exhausted = book.take_now(&key, [8, 1, 0]).expect_err("8 of 10 are used");
/// assert_eq!(exhausted.quota.to_string(), "10 characters/day");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct UsageBook(Arc<Book>);

struct Book {
    calendar: Calendar,
    clock: Clock,
    store: Option<Arc<dyn QuotaStore>>,
    on_failure: OnFailure,
    /// Whether principals without quotas are counted, too.
    counts_all: bool,
    header_fields: bool,
    replica: Arc<str>,
    state: Mutex<State>,
    /// Questions of [`UsageBook::take_at_once`] whose answers were not read yet.
    asked: Mutex<Vec<(QuotaCommand, QuotaFuture)>>,
}

impl UsageBook {
    /// Starts with a book that is kept in memory, by the system's clock.
    pub fn builder(calendar: Calendar) -> BookBuilder {
        BookBuilder {
            calendar,
            clock: Box::new(SystemTime::now),
            store: None,
            on_failure: OnFailure::default(),
            counts_all: false,
            header_fields: true,
            path: None,
        }
    }

    /// The name of the quotas' time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.0.calendar.zone()
    }

    /// The time of the book's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0.clock)()
    }

    /// The current day and month.
    #[must_use]
    pub fn today(&self) -> Today {
        self.0.calendar.today(self.now())
    }

    /// Whether this principal is counted.
    #[must_use]
    pub fn counts(&self, principal: &Principal) -> bool {
        self.0.counts_all || principal.has_quotas()
    }

    /// Takes these amounts from all quotas of the key and its account, or from none. With amounts of
    /// zero, only audio quotas are checked.
    pub fn take(&self, principal: &Principal, amounts: Amounts) -> Taken {
        match self.0.store.as_deref().filter(|_| principal.has_quotas()) {
            None => Taken::Now(self.told(principal, self.take_here(principal, amounts))),
            Some(store) => {
                let today = self.today();
                let command = self.command(principal, today, amounts);
                let answer = store.count(command.clone());
                let book = self.clone();
                let principal = principal.clone();
                Taken::Later(PendingTake(Box::pin(async move {
                    let answer = answer.await;
                    let taken = book.conclude(&principal, today, &command, answer);
                    book.told(&principal, taken)
                })))
            }
        }
    }

    /// As [`take`](Self::take), without waiting for the shared store: with one, the quotas are
    /// checked against what is known of its counters, which are then told and asked.
    ///
    /// # Errors
    ///
    /// The denial, if a quota does not allow it.
    pub fn take_at_once(&self, principal: &Principal, amounts: Amounts) -> Result<(), Denial> {
        let store = self.0.store.as_deref().filter(|_| principal.has_quotas());
        if store.is_some_and(|store| !store.is_available()) {
            let today = self.today();
            let command = self.command(principal, today, amounts);
            let taken = self.without_store(&mut self.state(), principal, today, &command);
            return self.told(principal, taken);
        }
        self.refresh();
        let taken = self.take_here(principal, amounts);
        if taken.is_ok() {
            self.ask(principal);
        }
        self.told(principal, taken)
    }

    /// The denial that the caller is told.
    fn told(&self, principal: &Principal, taken: Result<(), NotTaken>) -> Result<(), Denial> {
        taken.map_err(|reason| {
            let denial = match reason {
                NotTaken::Exhausted(exhausted) => {
                    Denial::new(DenialKind::QuotaExhausted).with_retry_after(exhausted.resets_after)
                }
                NotTaken::Unavailable => Denial::unavailable(UNAVAILABLE_RETRY_AFTER),
            };
            match self.quota_fields(principal) {
                Some(fields) => denial.with_quota_fields(fields.policy, fields.limit),
                None => denial,
            }
        })
    }

    /// [`take`](Self::take) for a book without a shared store.
    ///
    /// # Errors
    ///
    /// The quota that does not allow it.
    pub fn take_now(&self, principal: &Principal, amounts: Amounts) -> Result<(), Exhausted> {
        self.take_here(principal, amounts)
            .map_err(|reason| match reason {
                NotTaken::Exhausted(exhausted) => exhausted,
                // Nothing is unavailable in memory.
                NotTaken::Unavailable => unreachable!("there is no store"),
            })
    }

    fn take_here(&self, principal: &Principal, amounts: Amounts) -> Result<(), NotTaken> {
        if !self.counts(principal) {
            return Ok(());
        }
        let now = self.now();
        let today = self.0.calendar.today(now);
        let mut state = self.state();
        for owner in owners(principal) {
            let Some(entry) = state.entry(owner) else {
                continue;
            };
            for quota in owner.quotas {
                let tally = entry.get(today.period(quota.period()));
                let used = tally.map_or(0, |tally| tally.used(quota.unit()));
                if !quota.allows(used, amounts[quota.unit() as usize]) {
                    return Err(exhausted(owner.scope, *quota, today, now));
                }
            }
        }
        self.add(&mut state, principal, today, amounts);
        Ok(())
    }

    /// Adds amounts that were allowed, or that cannot be refused any more.
    fn add(&self, state: &mut State, principal: &Principal, today: Today, amounts: Amounts) {
        for owner in owners(principal) {
            let Some(entry) = state.entry(owner) else {
                continue;
            };
            for period in QuotaPeriod::ALL {
                entry.tally(today.period(period)).add(amounts);
            }
            report(owner, entry, today);
        }
        state.persist(principal, today);
    }

    /// Counts audio that was sent.
    pub fn add_audio(&self, principal: &Principal, milliseconds: u64) {
        if milliseconds == 0 || !self.counts(principal) {
            return;
        }
        let today = self.today();
        self.add(&mut self.state(), principal, today, [0, 0, milliseconds]);
        self.share(principal, today);
    }

    /// Gives back what was taken at `taken_at` for a request that failed. Nothing is given back from
    /// a period that has begun since.
    pub fn give_back(&self, principal: &Principal, amounts: Amounts, taken_at: SystemTime) {
        if amounts == [0; 3] || !self.counts(principal) {
            return;
        }
        let today = self.0.calendar.today(taken_at);
        let is_shared = self.0.store.is_some();
        let mut state = self.state();
        for owner in owners(principal) {
            if let Some(entry) = state.map(owner.scope).get_mut(owner.id) {
                for period in QuotaPeriod::ALL {
                    let is_shared = is_shared && is_counted(owner, period);
                    entry
                        .tally(today.period(period))
                        .give_back(amounts, is_shared);
                }
            }
        }
        state.persist(principal, today);
        drop(state);
        self.share(principal, today);
    }

    /// Counts what the audit log says about a request that ended at this time.
    pub fn restore(&self, key: &str, account: Option<&str>, time: SystemTime, amounts: Amounts) {
        let today = self.0.calendar.today(time);
        let mut state = self.state();
        let account = account.map(|account| (LimitScope::Account, account));
        for (scope, id) in [Some((LimitScope::Key, key)), account]
            .into_iter()
            .flatten()
        {
            let entry = state.map(scope).entry(id.into()).or_default();
            entry.is_restored = true;
            for period in QuotaPeriod::ALL {
                entry.tally(today.period(period)).add(amounts);
            }
        }
    }

    /// When the current month began: what was used before need not be restored.
    #[must_use]
    pub fn restores_from(&self) -> SystemTime {
        self.today().starts(QuotaPeriod::Month)
    }

    /// Writes the state file to the disk. Call it when no request is in flight.
    pub fn finish(&self) {
        sync(&self.0);
    }

    fn load(&self, read: &Read) {
        let mut state = self.state();
        for counters in read.counters() {
            let map = state.map(counters.scope);
            let entry = map.entry(counters.id.into()).or_default();
            entry.is_restored = true;
            let tally = entry.tally(counters.period);
            (tally.used, tally.own) = (counters.used, counters.own);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves whole counters behind.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = state.file.as_mut().and_then(StateFile::take_unsynced) {
            // The process ends or has no use for the counters any more.
            let _ = file.sync_data();
        }
    }
}

impl fmt::Debug for UsageBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageBook")
            .field("calendar", &self.0.calendar)
            .field("is_shared", &self.0.store.is_some())
            .finish_non_exhaustive()
    }
}
