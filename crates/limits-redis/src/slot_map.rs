//! Which node of a cluster has which hash slots.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use crate::hash_slot::HASH_SLOTS;

/// The primary of each hash slot, as `host:port`.
#[derive(Debug, Default)]
pub(crate) struct SlotMap {
    /// By the first hash slot.
    ranges: BTreeMap<u16, Range>,
    /// Hash slots that have moved since the map was read.
    moved: BTreeMap<u16, String>,
}

/// What a cluster that prefers host names says instead of one that it does not know.
pub(crate) const UNKNOWN_HOST: &str = "?";

#[derive(Debug)]
struct Range {
    last: u16,
    primary: String,
    replicas: Vec<String>,
}

impl SlotMap {
    /// Parses the reply to `CLUSTER SLOTS`. A node that does not know its own host is at `host`,
    /// which was asked. `None` if the reply is not valid.
    pub(crate) fn parse(reply: &Value, host: &str) -> Option<Self> {
        let mut ranges = BTreeMap::new();
        for range in items(reply)? {
            let [first, last, primary, replicas @ ..] = items(range)? else {
                return None;
            };
            let node = |it: &Value| node(it, host);
            let range = Range {
                last: number(last)?,
                primary: node(primary)?,
                replicas: replicas.iter().filter_map(node).collect(),
            };
            ranges.insert(number(first)?, range);
        }
        let moved = BTreeMap::new();
        Some(Self { ranges, moved })
    }

    pub(crate) fn primary(&self, slot: u16) -> Option<&str> {
        match self.moved.get(&slot) {
            Some(primary) => Some(primary),
            None => Some(&self.range(slot)?.primary),
        }
    }

    /// Whether the primary of a hash slot has replicas that can take over: the cluster does not list
    /// those that have failed.
    pub(crate) fn has_replicas(&self, slot: u16) -> bool {
        self.range(slot)
            .is_some_and(|range| !range.replicas.is_empty())
    }

    /// Whether a node has each hash slot.
    pub(crate) fn is_complete(&self) -> bool {
        let mut next = 0;
        for (first, range) in &self.ranges {
            if *first > next {
                break;
            }
            next = next.max(range.last.saturating_add(1));
        }
        next >= HASH_SLOTS
    }

    /// Whether each hash slot has the same primary. Nodes list replicas in different orders.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let primaries = |map: &Self| -> Vec<(u16, u16, String)> {
            let ranges = map.ranges.iter();
            let primaries = ranges.map(|(first, it)| (*first, it.last, it.primary.clone()));
            primaries.collect()
        };
        primaries(self) == primaries(other)
    }

    /// Another node has this hash slot.
    pub(crate) fn set_moved(&mut self, slot: u16, primary: String) {
        self.moved.insert(slot, primary);
    }

    pub(crate) fn primaries(&self) -> BTreeSet<&str> {
        let ranges = self.ranges.values().map(|range| &*range.primary);
        ranges.chain(self.moved.values().map(|it| &**it)).collect()
    }

    /// The primaries that took over from a primary: they were its replicas.
    pub(crate) fn successors(&self, before: &Self) -> BTreeSet<String> {
        let took_over = self.ranges.iter().filter(|(first, range)| {
            let earlier = before.range(**first);
            earlier.is_some_and(|earlier| {
                earlier.primary != range.primary && earlier.replicas.contains(&range.primary)
            })
        });
        took_over.map(|(_, range)| range.primary.clone()).collect()
    }

    fn range(&self, slot: u16) -> Option<&Range> {
        let (_, range) = self.ranges.range(..=slot).next_back()?;
        Some(range).filter(|range| slot <= range.last)
    }
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

/// The `host:port` of a node. The host is the endpoint that the cluster prefers. If a node does not know
/// its own address, it is where it was asked; if a cluster that prefers host names does not know the
/// name of a node, that is `?`, and the address is in the further data
/// (<https://redis.io/docs/latest/commands/cluster-slots/>).
fn node(value: &Value, asked: &str) -> Option<String> {
    let [host, port, further @ ..] = items(value)? else {
        return None;
    };
    let host = match host {
        Value::Nil => "",
        host => text(host)?,
    };
    let host = match host {
        "" => asked,
        UNKNOWN_HOST => further.get(1).and_then(address).unwrap_or(UNKNOWN_HOST),
        host => host,
    };
    Some(format!("{host}:{}", number(port)?))
}

/// The value of `ip` in a list of names and values.
fn address(further: &Value) -> Option<&str> {
    let pairs = items(further)?.chunks_exact(2);
    let mut pairs = pairs.filter(|pair| text(&pair[0]) == Some("ip"));
    text(&pairs.next()?[1]).filter(|ip| !ip.is_empty())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> SlotMap {
        let reply = redis::parse_redis_value(text.as_bytes()).expect("a reply");
        SlotMap::parse(&reply, "asked").expect("a map")
    }

    const NODE: &str = "*2\r\n$1\r\na\r\n:1\r\n";
    const OTHER: &str = "*4\r\n$0\r\n\r\n:2\r\n$2\r\nid\r\n*0\r\n";

    #[test]
    fn each_slot_has_its_primary() {
        let text = format!("*2\r\n*4\r\n:0\r\n:99\r\n{NODE}{OTHER}*3\r\n:200\r\n:16383\r\n{OTHER}");
        let mut slots = map(&text);
        let primary = |slots: &SlotMap, slot| slots.primary(slot).map(str::to_owned);
        assert_eq!(primary(&slots, 0).as_deref(), Some("a:1"));
        assert_eq!(primary(&slots, 99).as_deref(), Some("a:1"));
        assert_eq!(primary(&slots, 100), None, "no node has it");
        assert_eq!(primary(&slots, 16383).as_deref(), Some("asked:2"));
        slots.set_moved(99, "c:3".to_owned());
        assert_eq!(primary(&slots, 99).as_deref(), Some("c:3"));
        assert_eq!(slots.primaries().len(), 3);
    }

    /// What Redis 7 answers with `cluster-preferred-endpoint-type hostname`.
    #[test]
    fn a_node_without_a_host_name_is_at_its_address() {
        let node = |host: &str, further: &str| {
            let id = "*4\r\n";
            let map = map(&format!(
                "*1\r\n*3\r\n:0\r\n:16383\r\n{id}{host}:7\r\n$2\r\nid\r\n{further}"
            ));
            map.primary(0).map(str::to_owned)
        };
        let ip = "*2\r\n$2\r\nip\r\n$3\r\n::1\r\n";
        for (host, further, expected) in [
            ("$1\r\n?\r\n", ip, "::1:7"),
            ("$1\r\n?\r\n", "*0\r\n", "?:7"),
            ("$-1\r\n", ip, "asked:7"),
            ("$0\r\n\r\n", "*0\r\n", "asked:7"),
            ("$1\r\nn\r\n", ip, "n:7"),
        ] {
            assert_eq!(node(host, further).as_deref(), Some(expected), "{host:?}");
        }
    }

    #[test]
    fn maps_are_compared_by_their_primaries() {
        let of = |last: u16, primary: &str, replica: &str| {
            map(&format!("*1\r\n*4\r\n:0\r\n:{last}\r\n{primary}{replica}"))
        };
        let one = of(16383, NODE, OTHER);
        assert!(one.is_complete() && one.has_replicas(7));
        assert!(!of(16382, NODE, OTHER).is_complete());
        assert!(!SlotMap::default().is_complete());
        assert!(one.is_same(&of(16383, NODE, NODE)));
        assert!(!one.is_same(&of(16383, OTHER, NODE)));
        assert!(!one.is_same(&of(16382, NODE, OTHER)));
    }

    #[test]
    fn a_replica_that_takes_over_is_not_a_slot_that_moves() {
        let before = map(&format!("*1\r\n*4\r\n:0\r\n:16383\r\n{NODE}{OTHER}"));
        let failed_over = map(&format!("*1\r\n*3\r\n:0\r\n:16383\r\n{OTHER}"));
        assert_eq!(failed_over.successors(&before).len(), 1);
        assert!(before.successors(&failed_over).is_empty());
        assert!(before.successors(&SlotMap::default()).is_empty());
    }

    #[test]
    fn other_replies_are_not_maps() {
        for text in [
            "+OK\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:99999\r\n*0\r\n",
        ] {
            let reply = redis::parse_redis_value(text.as_bytes()).expect("a reply");
            assert!(SlotMap::parse(&reply, "h").is_none(), "{text}");
        }
    }
}
