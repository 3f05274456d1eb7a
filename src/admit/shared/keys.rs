//! What is kept in Redis, and under which keys.

use super::Holder;

/// The keys of one deployment. All of them have one hash tag, so that a cluster keeps them on one
/// node, where one script may use them together.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    tag: String,
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            tag: format!("{{{namespace}}}"),
        }
    }

    /// The leases that a holder has, by when they expire.
    pub(super) fn slots(&self, holder: Holder<'_>) -> String {
        format!("{}:slots:{}", self.tag, Self::name(holder))
    }

    /// How far a holder has filled its rate. Another rate is another key: its levels have another
    /// unit.
    pub(super) fn level(&self, holder: Holder<'_>, drain: u64, unit: u64) -> String {
        format!("{}:rate:{drain}/{unit}:{}", self.tag, Self::name(holder))
    }

    /// The gateways, by until when they are taken to be alive.
    pub(super) fn gateways(&self) -> String {
        format!("{}:gateways", self.tag)
    }

    /// What an operator wrote stands last, and nothing else can have its beginning: so it needs no
    /// escapes, whatever is in it.
    fn name(holder: Holder<'_>) -> String {
        match holder {
            Holder::Key(id) => format!("key:{id}"),
            Holder::Account(id) => format!("account:{id}"),
            Holder::Upstream => "upstream".to_owned(),
        }
    }
}
