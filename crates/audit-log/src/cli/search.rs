//! Searches for records or for requests.

use std::ops::ControlFlow;

use super::failure::CommandError;
use super::filter::Filter;
use super::log::{self, Reading};
use super::pending_decisions::PendingDecisions;
use super::record::Record;
use super::segments::Source;

/// A result: one record, or the decision and the completion of a request.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) first: Seen<'a>,
    pub(super) second: Option<Seen<'a>>,
}

/// A record and its line.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) line: &'a str,
    pub(super) record: &'a Record<'a>,
}

pub(super) type Step = Result<ControlFlow<()>, CommandError>;

pub(super) struct Search {
    filter: Filter,
    joined: bool,
    open: PendingDecisions,
    /// Records `rejected` that the filter selects. They are not requests.
    rejected: u64,
}

impl Search {
    /// Searches for requests if `joined`, otherwise for records.
    pub(super) fn new(filter: Filter, joined: bool) -> Self {
        Self {
            filter,
            joined,
            open: PendingDecisions::new(),
            rejected: 0,
        }
    }

    /// The records `rejected` that a search for requests left out, because they are not requests.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Searches a whole log.
    pub(super) fn run(
        &mut self,
        sources: &[Source],
        mut each: impl FnMut(Found<'_>) -> Step,
    ) -> Result<Reading, CommandError> {
        let filter = self.filter.clone();
        let mut reading = log::read(
            sources,
            |line| filter.may_match(line),
            |line, record| self.see(Seen { line, record }, &mut each),
        )?;
        if !reading.stopped {
            // Requests that have not ended, or whose completion was lost.
            for line in self.open.take_all() {
                if self.joined && self.show_open(&line, &mut each)?.is_break() {
                    reading.stopped = true;
                    break;
                }
            }
        }
        Ok(reading)
    }

    /// Processes the next record of the log.
    pub(super) fn see(&mut self, seen: Seen<'_>, each: &mut impl FnMut(Found<'_>) -> Step) -> Step {
        if self.joined {
            self.see_request(seen, each)
        } else {
            self.see_record(seen, each)
        }
    }

    fn see_record(&mut self, seen: Seen<'_>, each: &mut impl FnMut(Found<'_>) -> Step) -> Step {
        let Seen { line, record } = seen;
        let mut before = None;
        if self.filter.asks_the_decision()
            && let Some(request_id) = record.request_id.as_deref()
        {
            if record.is_completion() {
                before = self.open.take(request_id);
            } else if record.is_accepted() && self.filter.may_want(record) {
                self.open.insert(request_id, line);
            }
        }
        let before = before.as_deref().and_then(Record::read);
        if self.filter.wants(record, before.as_ref()) {
            return each(Found {
                first: seen,
                second: None,
            });
        }
        Ok(ControlFlow::Continue(()))
    }

    fn see_request(&mut self, seen: Seen<'_>, each: &mut impl FnMut(Found<'_>) -> Step) -> Step {
        let Seen { line, record } = seen;
        let request_id = record.request_id.as_deref().unwrap_or_default();
        if record.is_completion() {
            let before = self.open.take(request_id);
            let decision = before.as_deref().and_then(Record::read);
            if !self.filter.wants_request(decision.as_ref(), Some(record)) {
                return Ok(ControlFlow::Continue(()));
            }
            let decision = before.as_deref().zip(decision.as_ref());
            return each(match decision {
                Some((line, record)) => Found {
                    first: Seen { line, record },
                    second: Some(seen),
                },
                None => Found {
                    first: seen,
                    second: None,
                },
            });
        }
        if &*record.event == "rejected" {
            self.rejected += u64::from(self.filter.wants(record, None));
        }
        if record.is_decision() && self.filter.may_want(record) {
            if !record.is_accepted() {
                return self.show_open(line, each);
            }
            for given_up in self.open.insert(request_id, line) {
                if self.show_open(&given_up, each)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Passes on a request that has only a decision.
    fn show_open(&self, line: &str, each: &mut impl FnMut(Found<'_>) -> Step) -> Step {
        match Record::read(line) {
            Some(record) if self.filter.wants_request(Some(&record), None) => each(Found {
                first: Seen {
                    line,
                    record: &record,
                },
                second: None,
            }),
            _ => Ok(ControlFlow::Continue(())),
        }
    }
}
