//! Totals that are computed while the log is read.

use std::collections::BTreeMap;

use super::super::filter::Filter;
use super::super::record::Record;
use super::super::usage::is_charged;
use super::changes::Changes;
use super::sequence::Sequence;
use super::top::Top;

/// Maximum number of different reasons for each key. The schema has fewer.
const MAX_REASONS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Period {
    Month,
    Day,
    Hour,
}

impl Period {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Month => "Month",
            Self::Day => "Day",
            Self::Hour => "Hour",
        }
    }

    /// The period of a `ts`.
    fn of(self, ts: &str) -> &str {
        let length = match self {
            Self::Month => 7,
            Self::Day => 10,
            Self::Hour => 13,
        };
        ts.get(..length).unwrap_or(ts)
    }
}

/// The use of one key in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) reasons: BTreeMap<String, u64>,
    /// WebSockets.
    pub(super) streams: u64,
    /// Bytes sent to the caller.
    pub(super) bytes: u64,
    /// Characters of text, and milliseconds of audio, of requests that succeeded.
    pub(super) characters: u64,
    pub(super) audio_ms: u64,
    /// Times of the first and last accepted request.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

impl Usage {
    fn used(&mut self, ts: &str) {
        if self.first.as_deref().is_none_or(|first| ts < first) {
            self.first = Some(ts.to_owned());
        }
        if self.last.as_deref().is_none_or(|last| ts > last) {
            self.last = Some(ts.to_owned());
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.refused += 1;
        let known = self.reasons.contains_key(reason) || self.reasons.len() < MAX_REASONS;
        let reason = if known { reason } else { "other" };
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds the figures of another usage.
    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.streams += other.streams;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.characters = self.characters.saturating_add(other.characters);
        self.audio_ms = self.audio_ms.saturating_add(other.audio_ms);
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        for ts in [&other.first, &other.last].into_iter().flatten() {
            self.used(ts);
        }
    }
}

/// Whether the caller failed to authenticate, whatever status its vendor has for that.
fn failed_to_authenticate(record: &Record<'_>) -> bool {
    let reason = record.reason.as_deref().unwrap_or_default();
    ["_credential", "_credentials", "unrecognized_dialect"]
        .iter()
        .any(|end| reason.ends_with(end))
        || record.status == Some(401)
}

/// The figures of a report.
pub(super) struct UsageReport {
    pub(super) period: Period,
    /// Usage by period and key. Requests without a known key have `None`.
    pub(super) usage: BTreeMap<(String, Option<String>), Usage>,
    /// Fingerprints of unknown credentials.
    pub(super) prints: Top,
    /// Addresses that failed to authenticate.
    pub(super) peers: Top,
    pub(super) changes: Changes,
    /// Every instance in the log, including instances without records in the period.
    pub(super) instances: BTreeMap<String, Sequence>,
    pub(super) records: u64,
    /// The times of the first and last record within the period.
    pub(super) span: Option<(String, String)>,
    filter: Filter,
}

impl UsageReport {
    pub(super) fn new(period: Period, filter: Filter) -> Self {
        Self {
            period,
            usage: BTreeMap::new(),
            prints: Top::default(),
            peers: Top::default(),
            changes: Changes::default(),
            instances: BTreeMap::new(),
            records: 0,
            span: None,
            filter,
        }
    }

    /// Adds a record. A field that it lacks may be in `before`, its decision.
    pub(super) fn add(&mut self, record: &Record<'_>, before: Option<&Record<'_>>) {
        self.records += 1;
        self.count(record);
        if !self.filter.wants(record, before) {
            return;
        }
        match &mut self.span {
            Some((first, _)) if *record.ts < **first => (*record.ts).clone_into(first),
            Some((_, last)) if *record.ts > **last => (*record.ts).clone_into(last),
            Some(_) => {}
            None => self.span = Some((record.ts.to_string(), record.ts.to_string())),
        }
        self.changes.add(record);
        if record.is_decision() {
            self.add_decision(record);
        } else if record.is_completion() {
            let usage = self.usage_of(record);
            usage.streams += u64::from(record.status == Some(101));
            usage.bytes = usage.bytes.saturating_add(record.bytes_sent.unwrap_or(0));
            if is_charged(record) {
                let (characters, audio) = (record.characters, record.audio_ms);
                usage.characters = usage.characters.saturating_add(characters.unwrap_or(0));
                usage.audio_ms = usage.audio_ms.saturating_add(audio.unwrap_or(0));
            }
        }
    }

    fn add_decision(&mut self, record: &Record<'_>) {
        let usage = self.usage_of(record);
        if record.is_accepted() {
            usage.accepted += 1;
            usage.used(&record.ts);
            return;
        }
        usage.refuse(record.reason.as_deref().unwrap_or("other"));
        if let Some(print) = record.cred_fp.as_deref() {
            self.prints.add(print, &record.ts);
        }
        if failed_to_authenticate(record)
            && let Some(address) = record.client_address()
        {
            self.peers.add(&address.to_string(), &record.ts);
        }
    }

    fn usage_of(&mut self, record: &Record<'_>) -> &mut Usage {
        let period = self.period.of(&record.ts).to_owned();
        let key = record.key_id.as_deref().map(str::to_owned);
        self.usage.entry((period, key)).or_default()
    }

    /// Adds the record's number to the sequence of its instance.
    fn count(&mut self, record: &Record<'_>) {
        let (seq, instance) = (record.seq, record.instance.as_deref());
        // Records that were not written, and records that were written and are gone.
        let gap = match &*record.event {
            "gap" => record.from.zip(record.to),
            "segments_lost" => record.first_seq.zip(record.last_seq),
            _ => None,
        };
        let gap = gap.filter(|gap| *gap != (0, 0));
        let Some(instance) = instance.filter(|_| seq.is_some() || gap.is_some()) else {
            return;
        };
        // Usually the instance is known, and its name does not need to be copied.
        if !self.instances.contains_key(instance) {
            self.instances
                .insert(instance.to_owned(), Sequence::default());
        }
        let Some(sequence) = self.instances.get_mut(instance) else {
            return;
        };
        if let Some(seq) = seq {
            sequence.saw(seq);
        }
        if let Some((from, to)) = gap {
            sequence.saw_gap(from, to);
        }
        sequence.stopped |= &*record.event == "stop";
    }
}
