//! `voxgate limits`: the limits of each key, as a table.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use voxgate::env::{Mode, Settings};
use voxgate::rate_limit::{LimitScope, QuotaUnit};
use voxgate::{Limits, Principal};
use voxgate_usage::{Calendar, QuotaUse, UsageBook};

use voxgate_terminal::color::Colors;
use voxgate_terminal::table::colored_columns;

/// The limits of every key and account, including limits from the settings.
pub(crate) struct LimitsTable<'a> {
    settings: &'a Settings,
    /// What is used of quotas.
    usage: Option<&'a UsageBook>,
}

impl<'a> LimitsTable<'a> {
    pub(crate) fn new(settings: &'a Settings, usage: Option<&'a UsageBook>) -> Self {
        Self { settings, usage }
    }

    /// The quotas of keys and accounts, with what is used of them if it is known.
    fn quotas(&self, principals: &[&Principal]) -> String {
        let in_memory = || UsageBook::builder(Calendar::in_zone("UTC")?).build().ok();
        let Some(book) = self.usage.cloned().or_else(in_memory) else {
            return String::new();
        };
        let mut rows = BTreeMap::new();
        for owner in principals
            .iter()
            .flat_map(|principal| book.usage(principal))
        {
            let scope = match owner.scope {
                LimitScope::Account => "account",
                _ => "key",
            };
            for quota in owner.quotas {
                let used = match self.usage {
                    Some(_) => used(quota),
                    None => "?".to_owned(),
                };
                let (name, quota) = (owner.id.clone(), quota.quota.to_string());
                rows.insert((scope, name, quota), used);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let headings = ["QUOTA OF", "ID", "QUOTA", "USED"];
        let mut table = vec![headings.map(str::to_owned)];
        table.extend(
            rows.into_iter()
                .map(|((scope, name, quota), used)| [scope.to_owned(), name, quota, used]),
        );
        format!("\n{}", colored_columns(&table, Colors::of_stdout()))
    }
}

fn used(quota: QuotaUse) -> String {
    let percent = u128::from(quota.used) * 100 / u128::from(quota.quota.amount());
    match quota.quota.unit() {
        QuotaUnit::Audio => format!("{} s ({percent} %)", quota.used / 1000),
        _ => format!("{} ({percent} %)", quota.used),
    }
}

const NONE: &str = "-";

impl fmt::Display for LimitsTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.settings;
        let defaults = settings.limits().defaults();
        match settings.mode() {
            Mode::Validate => {
                let principals = settings.principals();
                f.write_str(&keys(&principals, defaults))?;
                accounts(f, &principals)?;
                f.write_str(&self.quotas(&principals))?;
            }
            // Callers are not distinguished: the default limits apply to all of them together.
            Mode::Preconfigured => {
                f.write_str(&keys(&[&Principal::new("deployment")], defaults))?;
            }
        }
        f.write_char('\n')?;
        match settings.limits().upstream_concurrency() {
            Some(most) => writeln!(
                f,
                "At most {most} requests and tunnels of all callers together may be in flight."
            )?,
            None => f.write_str("There is no limit for all callers together.\n")?,
        }
        match settings.limits().queue() {
            Some((places, longest)) => writeln!(
                f,
                "The wait queue holds {places} requests, each for at most {} s.",
                longest.as_secs()
            )?,
            None => {
                f.write_str("There is no wait queue: a request that exceeds a limit is refused.\n")?
            }
        }
        if settings.limits().is_shared() {
            f.write_str("All replicas share these limits.\n")?;
        }
        match settings.limits().auth_failures() {
            Some(most) => writeln!(
                f,
                "One address may fail to authenticate {most} times per minute."
            ),
            None => f.write_str("Failed authentications are not limited.\n"),
        }
    }
}

fn keys(principals: &[&Principal], defaults: Limits) -> String {
    let headings = ["KEY", "ACCOUNT", "RATE", "BURST", "CONCURRENCY"];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(principals.iter().map(|principal| {
        let own = principal.limits();
        let account = principal.account().map_or(NONE, |account| account.id());
        let [rate, burst, concurrency] = cells(own.or(defaults));
        let marked = |cell: String, own: bool| match cell == NONE || own {
            true => cell,
            false => format!("{cell} (default)"),
        };
        [
            principal.id().to_owned(),
            account.to_owned(),
            marked(rate, own.rate.is_some()),
            burst,
            marked(concurrency, own.concurrency.is_some()),
        ]
    }));
    colored_columns(&rows, Colors::of_stdout())
}

fn accounts(f: &mut fmt::Formatter<'_>, principals: &[&Principal]) -> fmt::Result {
    let accounts = principals
        .iter()
        .filter_map(|principal| principal.account());
    let accounts: BTreeMap<&str, Limits> = accounts
        .map(|account| (account.id(), account.limits()))
        .collect();
    if accounts.is_empty() {
        return Ok(());
    }
    let headings = ["ACCOUNT (all its keys)", "RATE", "BURST", "CONCURRENCY"];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(accounts.into_iter().map(|(id, limits)| {
        let [rate, burst, concurrency] = cells(limits);
        [id.to_owned(), rate, burst, concurrency]
    }));
    write!(f, "\n{}", colored_columns(&rows, Colors::of_stdout()))
}

fn cells(limits: Limits) -> [String; 3] {
    let shown = |number: Option<String>| number.unwrap_or_else(|| NONE.to_owned());
    let burst = limits
        .rate
        .map(|rate| limits.burst.unwrap_or(rate.requests()));
    [
        shown(limits.rate.map(|rate| rate.to_string())),
        shown(burst.map(|burst| burst.to_string())),
        shown(limits.concurrency.map(|most| most.to_string())),
    ]
}
