//! Which keys have metrics of their own. Those of further keys are summed.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use voxgate::Principal;

/// The label of all keys without metrics of their own. No key has this id.
const OTHER: &str = "(other)";

/// The id of a principal. The principal is shared, so that a label allocates no text.
#[derive(Clone, Debug)]
pub(super) enum KeyId {
    /// The caller is unknown.
    Unknown,
    Key(Principal),
    Other,
}

impl KeyId {
    pub(super) fn of(principal: Option<&Principal>) -> Self {
        principal.cloned().map_or(Self::Unknown, Self::Key)
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Unknown => "",
            Self::Key(principal) => principal.id(),
            Self::Other => OTHER,
        }
    }
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for KeyId {}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for KeyId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DecisionLabels {
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    pub(super) key_id: KeyId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KeyLabel {
    pub(super) key_id: KeyId,
}

/// The outcome and the reason of decisions.
type Decided = (&'static str, &'static str);

/// The keys that have metrics of their own: the first ones that were used, up to a number.
#[derive(Clone)]
pub(super) struct OwnKeys {
    most: usize,
    /// With the decisions that were counted for each.
    keys: Arc<Mutex<HashMap<KeyId, Vec<Decided>>>>,
}

impl OwnKeys {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            keys: Arc::default(),
        }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<KeyId, Vec<Decided>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The labels under which this is counted. Called for labels that are new.
    pub(super) fn labels(&self, labels: DecisionLabels) -> DecisionLabels {
        if matches!(labels.key_id, KeyId::Unknown) {
            return labels;
        }
        let mut keys = self.keys();
        let (most, count) = (self.most, keys.len());
        let decided = (labels.outcome, labels.reason);
        match keys.get_mut(&labels.key_id) {
            Some(known) if known.contains(&decided) => {}
            Some(known) => known.push(decided),
            None if count < most => _ = keys.insert(labels.key_id.clone(), vec![decided]),
            None => {
                return DecisionLabels {
                    key_id: KeyId::Other,
                    ..labels
                };
            }
        }
        labels
    }

    /// Removes a key. Returns the labels under which it was counted.
    pub(super) fn remove(&self, key_id: &KeyId) -> impl Iterator<Item = DecisionLabels> + use<> {
        let removed = self.keys().remove_entry(key_id);
        removed.into_iter().flat_map(|(key_id, decided)| {
            decided
                .into_iter()
                .map(move |(outcome, reason)| DecisionLabels {
                    outcome,
                    reason,
                    key_id: key_id.clone(),
                })
        })
    }
}
