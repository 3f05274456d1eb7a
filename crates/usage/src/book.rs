//! The book: what keys and accounts use, and whether their quotas allow more.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use std::{io, thread};

use http::HeaderValue;
use voxgate::rate_limit::{
    Amounts, LimitScope, OnFailure, Quota, QuotaAnswer, QuotaCommand, QuotaCounter, QuotaFields,
    QuotaFuture, QuotaPeriod, QuotaStore, QuotaUnit,
};
use voxgate::{Denial, DenialKind, Principal};

use crate::calendar::{Calendar, Today};
use crate::owner::{Clock, Owner, owners, scope_name};
use crate::state_file::{self, Counters, Read, StateError, StateFile};
use crate::tally::{Entry, Tally, add};

/// How often the state file is synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A quota is reported when so many hundredths are used.
const REPORT_AT: u128 = 80;
/// How long a store keeps the counters of a period that has ended: a clock may be late.
const KEEP_LONGER: Duration = Duration::from_secs(2 * 24 * 3600);
/// `Retry-After` while the shared store is unavailable.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of answers of the store that were not read yet.
const MOST_ASKED: usize = 256;
/// Maximum number of keys, and of accounts, without quotas that are counted.
const MOST_WITHOUT_QUOTAS: usize = 100_000;

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

#[derive(Default)]
struct State {
    keys: HashMap<Box<str>, Entry>,
    accounts: HashMap<Box<str>, Entry>,
    file: Option<StateFile>,
}

impl State {
    fn map(&mut self, scope: LimitScope) -> &mut HashMap<Box<str>, Entry> {
        match scope {
            LimitScope::Account => &mut self.accounts,
            _ => &mut self.keys,
        }
    }

    /// The counters of an owner. `None` if it has no quota and there are too many others.
    fn entry(&mut self, owner: Owner<'_>) -> Option<&mut Entry> {
        let map = self.map(owner.scope);
        // Usually the owner is known, and its id does not need to be copied.
        if !map.contains_key(owner.id) {
            if owner.quotas.is_empty() && map.len() >= MOST_WITHOUT_QUOTAS {
                return None;
            }
            map.insert(owner.id.into(), Entry::default());
        }
        let entry = map.get_mut(owner.id)?;
        if *entry.quotas != *owner.quotas {
            entry.quotas = owner.quotas.into();
        }
        Some(entry)
    }

    /// Notes the counters of these owners in the file.
    fn persist(&mut self, principal: &Principal, today: Today) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        let limited = owners(principal).filter(|owner| !owner.quotas.is_empty());
        let changed = limited.flat_map(|owner| {
            let entry = match owner.scope {
                LimitScope::Account => self.accounts.get(owner.id),
                _ => self.keys.get(owner.id),
            };
            QuotaPeriod::ALL.into_iter().filter_map(move |period| {
                let tally = entry?.get(today.period(period))?;
                Some(counters(owner.scope, owner.id, tally))
            })
        });
        file.append(changed);
        self.file = Some(file);
    }
}

fn counters<'a>(scope: LimitScope, id: &'a str, tally: &Tally) -> Counters<'a> {
    Counters {
        scope,
        id,
        period: tally.period,
        used: tally.used,
        own: tally.own,
    }
}

/// The settings of a [`UsageBook`].
#[must_use = "a builder does nothing until it is built"]
pub struct BookBuilder {
    calendar: Calendar,
    clock: Clock,
    store: Option<Arc<dyn QuotaStore>>,
    on_failure: OnFailure,
    counts_all: bool,
    header_fields: bool,
    path: Option<PathBuf>,
}

impl BookBuilder {
    /// Keeps the counters of principals with quotas in this file.
    pub fn with_state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Shares the counters with other replicas.
    pub fn with_store(mut self, store: impl QuotaStore, on_failure: OnFailure) -> Self {
        self.store = Some(Arc::new(store));
        self.on_failure = on_failure;
        self
    }

    /// Counts principals without quotas as well, at most 100 000 keys and as many accounts. They are
    /// not in the state file.
    pub fn with_all_principals(mut self) -> Self {
        self.counts_all = true;
        self
    }

    /// Sets whether responses have the header fields that report quotas. The default is true.
    pub fn with_header_fields(mut self, header_fields: bool) -> Self {
        self.header_fields = header_fields;
        self
    }

    /// Reads the time from another clock.
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Builds the book. `restore` is called if there is a state file setting and no file, because
    /// its counts are lost or there never was one: it may count what the audit log says
    /// ([`UsageBook::restore`]).
    ///
    /// # Errors
    ///
    /// If the state file cannot be read, written or locked, or is not one.
    pub fn build_with(self, restore: impl FnOnce(&UsageBook)) -> Result<UsageBook, StateError> {
        let opened = self.path.as_deref().map(state_file::read).transpose()?;
        let known = opened.as_ref().and_then(|(_, read)| read.replica.clone());
        let is_lost = known.is_none();
        // Without randomness, the number of the process and the time have to do.
        let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let replica = known.unwrap_or_else(|| format!("{random:016x}"));
        let book = UsageBook(Arc::new(Book {
            calendar: self.calendar,
            clock: self.clock,
            store: self.store,
            on_failure: self.on_failure,
            counts_all: self.counts_all,
            header_fields: self.header_fields,
            replica: replica.as_str().into(),
            state: Mutex::default(),
            asked: Mutex::default(),
        }));
        if let Some((_, read)) = &opened {
            book.load(read);
        }
        if is_lost {
            restore(&book);
        }
        if let (Some(path), Some((lock, _))) = (&self.path, opened) {
            let mut state = book.state();
            let file = StateFile::create(path, lock, &replica, state.persistent())?;
            state.file = Some(file);
            drop(state);
            sync_in_background(Arc::downgrade(&book.0));
        }
        Ok(book)
    }

    /// A book with the counters of a state file that another process may have open. It does not
    /// change the file.
    ///
    /// # Errors
    ///
    /// If the state file cannot be read, or is not one.
    pub fn read_only(self, path: &Path) -> Result<UsageBook, StateError> {
        let read = state_file::peek(path)?;
        let book = Self { path: None, ..self }.build()?;
        book.load(&read);
        Ok(book)
    }

    /// Builds the book. Counters that are lost begin at zero.
    ///
    /// # Errors
    ///
    /// As [`build_with`](Self::build_with).
    pub fn build(self) -> Result<UsageBook, StateError> {
        self.build_with(|_| {})
    }
}

impl fmt::Debug for BookBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BookBuilder")
            .field("calendar", &self.calendar)
            .field("path", &self.path)
            .field("is_shared", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

/// A quota that does not allow a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// Whether it is the quota of the key or of its account.
    pub scope: LimitScope,
    /// The quota.
    pub quota: Quota,
    /// How long until its next period begins.
    pub resets_after: Duration,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Exhausted(Exhausted),
    /// The store is unavailable, and the failure mode is to refuse.
    Unavailable,
}

/// The answer of the book: at once, or after that of the shared store.
#[derive(Debug)]
pub enum Taken {
    /// Whether the quotas allow it.
    Now(Result<(), Denial>),
    /// The answer comes later.
    Later(PendingTake),
}

/// An answer that waits for the shared store.
pub struct PendingTake(Pin<Box<dyn Future<Output = Result<(), Denial>> + Send>>);

impl Future for PendingTake {
    type Output = Result<(), Denial>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for PendingTake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingTake")
    }
}

/// A quota and its use in the current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaUse {
    /// Whether it is the quota of a key or of an account.
    pub scope: LimitScope,
    /// The quota.
    pub quota: Quota,
    /// What is used of it; for audio, in milliseconds.
    pub used: u64,
    /// When its next period begins.
    pub resets: SystemTime,
}

/// What a key or an account uses in the current day and month.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerUsage {
    /// A key or an account.
    pub scope: LimitScope,
    /// Its identifier.
    pub id: String,
    /// Used today, and in this month.
    pub used: [Amounts; 2],
    /// Its quotas.
    pub quotas: Vec<QuotaUse>,
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

    /// The members of `RateLimit-Policy` and `RateLimit` for the quotas of a principal
    /// (draft-ietf-httpapi-ratelimit-headers-10).
    #[must_use]
    pub fn quota_fields(&self, principal: &Principal) -> Option<QuotaFields> {
        if !self.0.header_fields || !principal.has_quotas() {
            return None;
        }
        let (now, today) = (self.now(), self.today());
        let (mut policy, mut limit) = (String::new(), String::new());
        for quota in self.usage(principal).iter().flat_map(|it| &it.quotas) {
            if !policy.is_empty() {
                policy.push_str(", ");
                limit.push_str(", ");
            }
            let QuotaUse {
                scope,
                quota,
                used,
                resets,
            } = *quota;
            let (scope, unit) = (scope_name(scope), quota.unit().as_str());
            let name = format!("\"{scope}_{unit}_{}\"", quota.period().as_str());
            let left = quota.amount().saturating_sub(used);
            let (amount, left, unit) = match quota.unit() {
                QuotaUnit::Requests => (quota.amount(), left, ""),
                QuotaUnit::Characters => (quota.amount(), left, ";qu=\"characters\""),
                QuotaUnit::Audio => (quota.amount() / 1000, left / 1000, ";qu=\"audio-seconds\""),
            };
            let window = resets.duration_since(today.starts(quota.period()));
            let window = window.unwrap_or_default().as_secs();
            let reset = resets.duration_since(now).unwrap_or_default();
            // Rounded up, so that a caller does not retry too early.
            let reset = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
            // Writing to a string does not fail.
            let _ = write!(policy, "{name};q={amount};w={window}{unit}");
            let _ = write!(limit, "{name};r={left};t={reset}");
        }
        let policy = HeaderValue::try_from(policy).ok()?;
        let limit = HeaderValue::try_from(limit).ok()?;
        Some(QuotaFields { policy, limit })
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

    /// What this principal and its account use, and their quotas.
    #[must_use]
    pub fn usage(&self, principal: &Principal) -> Vec<OwnerUsage> {
        let today = self.today();
        let state = self.state();
        let owners = owners(principal).map(|owner| {
            let entry = match owner.scope {
                LimitScope::Account => state.accounts.get(owner.id),
                _ => state.keys.get(owner.id),
            };
            usage_of(owner, entry, today)
        });
        owners.collect()
    }

    /// What every key and account with quotas uses, and its quotas, as they were at its last
    /// request. At most `most` keys and as many accounts.
    #[must_use]
    pub fn limited(&self, most: usize) -> Vec<OwnerUsage> {
        let today = self.today();
        let state = self.state();
        let all = [
            (LimitScope::Key, &state.keys),
            (LimitScope::Account, &state.accounts),
        ];
        let limited = all.into_iter().flat_map(|(scope, map)| {
            let with_quotas = map.iter().filter(|(_, entry)| !entry.quotas.is_empty());
            with_quotas.take(most).map(move |(id, entry)| {
                let owner = Owner {
                    scope,
                    id,
                    quotas: &entry.quotas,
                };
                usage_of(owner, Some(entry), today)
            })
        });
        limited.collect()
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

    /// The command that adds these amounts in the shared store.
    fn command(&self, principal: &Principal, today: Today, amounts: Amounts) -> QuotaCommand {
        let now = self.now();
        let mut state = self.state();
        let mut command = QuotaCommand {
            replica: Arc::clone(&self.0.replica),
            counters: Vec::new(),
            add: amounts,
        };
        for owner in owners(principal) {
            let Some(entry) = state.entry(owner) else {
                continue;
            };
            for period in QuotaPeriod::ALL
                .into_iter()
                .filter(|it| is_counted(owner, *it))
            {
                let number = today.period(period);
                let tally = entry.tally(number);
                let mut quotas = [0; 3];
                for quota in owner.quotas.iter().filter(|it| it.period() == period) {
                    quotas[quota.unit() as usize] = quota.amount();
                }
                let left = today.ends(period).duration_since(now).unwrap_or_default();
                command.counters.push(QuotaCounter {
                    scope: owner.scope,
                    id: owner.id.into(),
                    period: number,
                    keep_seconds: (left + KEEP_LONGER).as_secs(),
                    contributed: tally.own,
                    confirmed: tally.confirmed(),
                    known: tally.used,
                    take_back: std::mem::take(&mut tally.take_back),
                    quotas,
                });
            }
        }
        command
    }

    /// Applies the answer of the store to a command that adds amounts.
    fn conclude(
        &self,
        principal: &Principal,
        today: Today,
        command: &QuotaCommand,
        answer: Option<QuotaAnswer>,
    ) -> Result<(), NotTaken> {
        let now = self.now();
        let mut state = self.state();
        let Some(answer) = answer else {
            return self.without_store(&mut state, principal, today, command);
        };
        for (counter, used) in command.counters.iter().zip(&answer.used) {
            if let Some(entry) = state.map(counter.scope).get_mut(&counter.id) {
                let tally = entry.tally(counter.period);
                (tally.used, tally.unshared) = (*used, [0; 3]);
            }
        }
        let refused = answer.refused.and_then(|(index, unit)| {
            let counter = command.counters.get(index)?;
            let owner = owners(principal).find(|owner| owner.scope == counter.scope)?;
            let quota = owner.quotas.iter().find(|quota| {
                quota.unit() == unit && today.period(quota.period()) == counter.period
            })?;
            Some(exhausted(owner.scope, *quota, today, now))
        });
        if let Some(refused) = refused {
            state.persist(principal, today);
            return Err(refused);
        }
        for owner in owners(principal) {
            let Some(entry) = state.entry(owner) else {
                continue;
            };
            for period in QuotaPeriod::ALL {
                let tally = entry.tally(today.period(period));
                add(&mut tally.own, command.add);
                // The answer of the store contains the amounts of what it counts.
                if !is_counted(owner, period) {
                    add(&mut tally.used, command.add);
                }
            }
            report(owner, entry, today);
        }
        state.persist(principal, today);
        Ok(())
    }

    /// Decides without the store. With `local`, this process may use its share of what was left when
    /// the store last answered.
    fn without_store(
        &self,
        state: &mut State,
        principal: &Principal,
        today: Today,
        command: &QuotaCommand,
    ) -> Result<(), NotTaken> {
        let now = self.now();
        for counter in &command.counters {
            if let Some(entry) = state.map(counter.scope).get_mut(&counter.id) {
                add(
                    &mut entry.tally(counter.period).take_back,
                    counter.take_back,
                );
            }
        }
        if self.0.on_failure == OnFailure::Deny {
            return Err(NotTaken::Unavailable);
        }
        if self.0.on_failure == OnFailure::Local {
            let store = self.0.store.as_deref();
            let replicas = u64::from(store.map_or(1, QuotaStore::replicas).max(1));
            for owner in owners(principal) {
                let Some(entry) = state.entry(owner) else {
                    continue;
                };
                for quota in owner.quotas {
                    let (unit, amount) = (quota.unit(), command.add[quota.unit() as usize]);
                    let tally = entry.tally(today.period(quota.period()));
                    let unshared = tally.unshared[unit as usize];
                    // `used` contains what was added since.
                    let known = tally.used(unit).saturating_sub(unshared);
                    let left = quota.amount().saturating_sub(known);
                    let share = Quota::new(left / replicas, unit, quota.period());
                    if !share.is_some_and(|share| share.allows(unshared, amount)) {
                        return Err(exhausted(owner.scope, *quota, today, now));
                    }
                }
            }
        }
        self.add(state, principal, today, command.add);
        Ok(())
    }

    /// Tells the store what this process has contributed, and keeps its answer for
    /// [`refresh`](Self::refresh).
    fn ask(&self, principal: &Principal) {
        let store = self.0.store.as_deref().filter(|_| principal.has_quotas());
        let Some(store) = store.filter(|store| store.is_available()) else {
            return;
        };
        let command = self.command(principal, self.today(), [0; 3]);
        let answer = store.count(command.clone());
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MOST_ASKED {
            drop(asked.remove(0));
        }
        asked.push((command, answer));
    }

    /// Learns from the answers that have arrived what other replicas use.
    fn refresh(&self) {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_empty() {
            return;
        }
        let mut answered = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        asked.retain_mut(
            |(command, answer)| match answer.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    answered.extend(answer.map(|answer| (command.clone(), answer)));
                    false
                }
            },
        );
        drop(asked);
        let mut state = self.state();
        for (command, answer) in answered {
            for (counter, used) in command.counters.iter().zip(answer.used) {
                if let Some(entry) = state.map(counter.scope).get_mut(&counter.id) {
                    let tally = entry.tally(counter.period);
                    for (unit, used) in used.into_iter().enumerate() {
                        // What this process has added since the question is not in the answer.
                        let since = tally.own[unit].saturating_sub(counter.contributed[unit]);
                        tally.used[unit] = used.saturating_add(since);
                        tally.unshared[unit] = since;
                    }
                }
            }
        }
    }

    /// Tells the store what this process has contributed, or takes back. Does not wait.
    fn share(&self, principal: &Principal, today: Today) {
        let store = self.0.store.as_deref().filter(|_| principal.has_quotas());
        if let Some(store) = store.filter(|store| store.is_available()) {
            // The command is sent; its answer does not matter, because it adds nothing.
            drop(store.count(self.command(principal, today, [0; 3])));
        }
    }
}

impl State {
    /// Every counter that the state file has.
    fn persistent(&self) -> impl Iterator<Item = Counters<'_>> {
        let keys = self
            .keys
            .iter()
            .map(|(id, entry)| (LimitScope::Key, id, entry));
        let accounts = self.accounts.iter();
        let accounts = accounts.map(|(id, entry)| (LimitScope::Account, id, entry));
        let all = keys
            .chain(accounts)
            .filter(|(_, _, entry)| entry.is_persistent());
        all.flat_map(|(scope, id, entry)| {
            let tallies = entry.tallies().iter();
            tallies.map(move |tally| counters(scope, id, tally))
        })
    }
}

/// Whether the shared store counts this period for an owner.
fn is_counted(owner: Owner<'_>, period: QuotaPeriod) -> bool {
    owner.quotas.iter().any(|quota| quota.period() == period)
}

fn exhausted(scope: LimitScope, quota: Quota, today: Today, now: SystemTime) -> NotTaken {
    let resets_after = today.ends(quota.period()).duration_since(now);
    NotTaken::Exhausted(Exhausted {
        scope,
        quota,
        resets_after: resets_after.unwrap_or_default(),
    })
}

fn usage_of(owner: Owner<'_>, entry: Option<&Entry>, today: Today) -> OwnerUsage {
    let used = |period: QuotaPeriod| {
        let tally = entry.and_then(|entry| entry.get(today.period(period)));
        tally.map_or([0; 3], |tally| tally.used)
    };
    let quotas = owner.quotas.iter().map(|quota| QuotaUse {
        scope: owner.scope,
        quota: *quota,
        used: used(quota.period())[quota.unit() as usize],
        resets: today.ends(quota.period()),
    });
    OwnerUsage {
        scope: owner.scope,
        id: owner.id.to_owned(),
        used: QuotaPeriod::ALL.map(used),
        quotas: quotas.collect(),
    }
}

/// Writes a log line when a quota is nearly used up, once in a period.
fn report(owner: Owner<'_>, entry: &mut Entry, today: Today) {
    for quota in owner.quotas {
        let unit = quota.unit();
        let tally = entry.tally(today.period(quota.period()));
        let used = tally.used(unit);
        let is_nearly_used_up = u128::from(used) * 100 >= u128::from(quota.amount()) * REPORT_AT;
        let is_reported = &mut tally.reported[unit as usize];
        if is_nearly_used_up && !*is_reported {
            tracing::warn!(
                scope = scope_name(owner.scope),
                id = owner.id,
                %quota,
                used,
                "80 % of the quota is used; raise the quota, or expect refusals until its next period"
            );
        }
        // A quota that was raised is reported again.
        *is_reported = is_nearly_used_up;
    }
}

/// Syncs the state file every second, until the book is gone.
fn sync_in_background(book: Weak<Book>) {
    let thread = thread::Builder::new().name("voxgate-quota".to_owned());
    let started = thread.spawn(move || {
        loop {
            thread::sleep(SYNC_EVERY);
            let Some(book) = book.upgrade() else {
                return;
            };
            sync(&book);
        }
    });
    if let Err(error) = started {
        tracing::error!(
            "the quota state is not synced to the disk: cannot start a thread: {error}"
        );
    }
}

fn sync(book: &Book) {
    let mut state = book.state.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut file) = state.file.take() else {
        return;
    };
    let live = state.persistent().count();
    if file.wants_rewrite(live) {
        file.rewrite(state.persistent());
    }
    let to_sync = file.take_unsynced();
    state.file = Some(file);
    drop(state);
    // The counters are not locked while the disk works.
    let synced = to_sync.map_or(Ok::<(), io::Error>(()), |file| file.sync_data());
    if let Err(error) = synced {
        let mut state = book.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut state.file {
            file.failed(&error);
        }
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
