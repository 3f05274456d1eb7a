//! The lines after a table: how much was read, and what to try if nothing matches.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write as _};
use std::ops::ControlFlow;

use voxgate_terminal::text::{Charset, printable};

use super::super::clock::Clock;
use super::super::failure::CommandError;
use super::super::filter::Filter;
use super::super::log::{self, Reading};
use super::super::segments::Source;

/// How many names are shown when nothing matches.
const NAMES: usize = 20;
/// How many names are kept.
const KEPT: usize = 10_000;

/// What a search found, besides the rows themselves.
pub(super) struct Closing<'a> {
    pub(super) shown: u64,
    /// The number of matches, if not all of them are shown.
    pub(super) matching: Option<u64>,
    pub(super) noun: &'static str,
    pub(super) reading: &'a Reading,
    /// Records `rejected` that match, in a search for requests.
    pub(super) rejected: u64,
    pub(super) left_out: &'a [String],
    pub(super) clock: &'a Clock,
}

impl Closing<'_> {
    /// Writes the lines to standard error, so that standard output contains only the table.
    pub(super) fn say(&self, filter: &Filter, sources: &[Source]) {
        let mut text = self.to_string();
        if self.shown == 0 && self.reading.records > 0 {
            for (asked, what, get) in [
                (!filter.keys.is_empty(), "Keys", KEYS),
                (!filter.accounts.is_empty(), "Accounts", ACCOUNTS),
            ] {
                if asked && let Ok(Some(names)) = names(sources, get) {
                    text.push_str(&format!("{what} in this log: {names}.\n"));
                }
            }
        }
        // If standard error is closed, the lines are lost.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

impl fmt::Display for Closing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shown, noun, .. } = self;
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match self.matching.filter(|matching| matching > shown) {
            _ if *shown == 0 => write!(f, "No {noun} matches.")?,
            Some(matching) => write!(f, "The newest {shown} of {matching} {noun}s.")?,
            None if self.reading.stopped => {
                write!(f, "{shown} {noun}{}; there may be more.", plural(*shown))?;
            }
            None => write!(f, "{shown} {noun}{}.", plural(*shown))?,
        }
        let records = self.reading.records;
        write!(f, " {records} record{} read", plural(records))?;
        match &self.reading.period {
            Some((first, last)) => writeln!(
                f,
                ", from {} to {} ({}).",
                self.clock.moment(first),
                self.clock.moment(last),
                self.clock.name()
            )?,
            None => writeln!(f, ".")?,
        }
        if self.rejected > 0 {
            writeln!(
                f,
                "{} connection{} rejected before there was a request; show the records with \
                 --event rejected.",
                self.rejected,
                if self.rejected == 1 { " was" } else { "s were" }
            )?;
        }
        if !self.left_out.is_empty() {
            writeln!(
                f,
                "Columns that do not fit: {}. Use a wider terminal, or --format csv.",
                self.left_out.join(", ")
            )?;
        }
        Ok(())
    }
}

type Name = for<'a> fn(&'a super::super::record::Record<'_>) -> Option<&'a str>;

const KEYS: Name = |record| record.key_id.as_deref();
const ACCOUNTS: Name = |record| record.account.as_deref();

/// The names in a log, in order. `None` if the log cannot be read twice, or has no names.
fn names(sources: &[Source], get: Name) -> Result<Option<String>, CommandError> {
    if sources.contains(&Source::Stdin) {
        return Ok(None);
    }
    let mut names = BTreeSet::new();
    log::read(
        sources,
        |_| true,
        |_, record| {
            if let Some(name) = get(record)
                && !names.contains(name)
            {
                names.insert(name.to_owned());
            }
            Ok(match names.len() {
                KEPT.. => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        },
    )?;
    let charset = Charset::from_locale();
    let shown = names.iter().take(NAMES);
    let mut text = shown
        .map(|name| printable(name, charset))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMES {
        text.push_str(&format!(" and {} more", names.len() - NAMES));
    }
    Ok((!names.is_empty()).then_some(text))
}
