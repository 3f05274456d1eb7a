//! Changes of keys and of the policy.

use std::collections::VecDeque;

use super::super::record::Record;

/// At most so many are kept, the latest ones.
const MOST: usize = 200;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) ts: String,
    /// `key ivr`, or `policy`.
    pub(super) what: String,
    pub(super) change: String,
    /// Who made it, and why.
    pub(super) by: String,
    pub(super) before: String,
    pub(super) now: String,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    latest: VecDeque<Change>,
    pub(super) count: u64,
}

impl Changes {
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let Some(change) = Change::of(record) else {
            return;
        };
        self.count += 1;
        if self.latest.len() == MOST {
            self.latest.pop_front();
        }
        self.latest.push_back(change);
    }

    /// The latest ones, in the order of the log.
    pub(super) fn latest(&self) -> impl ExactSizeIterator<Item = &Change> {
        self.latest.iter()
    }
}

impl Change {
    fn of(record: &Record<'_>) -> Option<Self> {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let ts = record.ts.to_string();
        match &*record.event {
            "key" => {
                let parts = [
                    record.changed_by.as_deref(),
                    record.changed_reason.as_deref(),
                ];
                let by: Vec<&str> = parts.into_iter().flatten().collect();
                Some(Self {
                    ts,
                    what: format!("key {}", text(record.key_id.as_deref())),
                    change: text(record.change.as_deref()),
                    by: by.join(": "),
                    before: text(record.rights_before.as_deref()),
                    now: text(record.rights.as_deref()),
                })
            }
            "policy_changed" => {
                let state = |rules: Option<u64>, digest: Option<&str>| {
                    let rules = rules.map_or("-".to_owned(), |rules| rules.to_string());
                    let digest = digest.and_then(|digest| digest.get(..12)).unwrap_or("none");
                    format!("{rules} rules, file {digest}")
                };
                Some(Self {
                    ts,
                    what: "policy".to_owned(),
                    change: "changed".to_owned(),
                    by: String::new(),
                    before: state(record.rules_before, record.policy_before.as_deref()),
                    now: state(record.rules, record.policy.as_deref()),
                })
            }
            _ => None,
        }
    }
}
