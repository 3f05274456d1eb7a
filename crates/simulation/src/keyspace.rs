//! The data of a simulated Redis: strings, hashes and sorted sets, with expiry by the virtual clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use crate::resp::Reply;

/// Microseconds since 1970 by the clock of a server.
pub type Micros = u64;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// All keys of a server.
#[derive(Clone, Default)]
pub struct Keyspace {
    keys: HashMap<Bytes, Entry>,
    /// Writes that the replicas do not have yet.
    log: VecDeque<Write>,
    /// Whether writes are logged.
    is_replicated: bool,
    sweep_at: usize,
}

#[derive(Clone)]
struct Entry {
    value: Value,
    /// In milliseconds since 1970.
    expires: Option<u64>,
}

#[derive(Clone)]
enum Value {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Sorted(SortedSet),
}

/// A write, as a replica repeats it.
#[derive(Clone)]
struct Write {
    at: Micros,
    command: Vec<Bytes>,
}

#[derive(Clone, Default)]
struct SortedSet {
    scores: HashMap<Bytes, f64>,
    order: BTreeSet<(i64, Bytes)>,
}

impl Keyspace {
    /// Data whose writes are logged for replicas.
    #[must_use]
    pub fn replicated() -> Self {
        Self {
            is_replicated: true,
            ..Self::default()
        }
    }

    /// Runs a command.
    pub fn run(&mut self, now: Micros, command: &[Bytes]) -> Reply {
        let (reply, is_write) = self.execute(now, command);
        if is_write && self.is_replicated {
            let command = command.to_vec();
            self.log.push_back(Write { at: now, command });
        }
        reply
    }

    /// Whether there is such a key.
    pub fn exists(&mut self, now: Micros, key: &Bytes) -> bool {
        self.get(now, key).is_some()
    }

    /// Writes to a replica what was written here until this time.
    pub fn replicate_until(&mut self, until: Micros, replica: &mut Self) {
        let count = self.log.partition_point(|write| write.at <= until);
        for write in self.log.drain(..count) {
            replica.execute(write.at, &write.command);
        }
    }

    /// Logs writes for replicas from now on.
    pub fn become_primary(&mut self) {
        self.is_replicated = true;
        self.log.clear();
    }

    /// Repeats the writes of another server from now on.
    pub fn become_replica(&mut self) {
        self.is_replicated = false;
        self.log.clear();
    }

    /// Drops the writes that no replica has got, and returns how many there were.
    pub fn forget_log(&mut self) -> usize {
        std::mem::take(&mut self.log).len()
    }

    /// Moves the keys that this predicate selects.
    pub fn move_to(&mut self, other: &mut Self, is_moved: impl Fn(&[u8]) -> bool) {
        let moved: Vec<Bytes> = self
            .keys
            .keys()
            .filter(|key| is_moved(key))
            .cloned()
            .collect();
        for key in moved {
            if let Some(entry) = self.keys.remove(&key) {
                other.keys.insert(key, entry);
            }
        }
    }

    fn execute(&mut self, now: Micros, command: &[Bytes]) -> (Reply, bool) {
        let Some((name, arguments)) = command.split_first() else {
            return (Reply::Error("ERR empty command".into()), false);
        };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"TIME", []) => {
                let parts = [now / 1_000_000, now % 1_000_000];
                let parts = parts.map(|part| Reply::text(&part.to_string()));
                (Reply::Array(parts.to_vec()), false)
            }
            (b"GET", [key]) => match self.get(now, key).map(|entry| &entry.value) {
                None => (Reply::Nil, false),
                Some(Value::Text(text)) => (Reply::Bulk(text.clone()), false),
                Some(_) => (Reply::Error(WRONG_TYPE.into()), false),
            },
            (b"SET", [key, value, options @ ..]) => self.set(now, key, value, options),
            (b"DEL", keys) => {
                let removed = keys.iter().filter(|key| self.remove(now, key)).count();
                (integer(removed), true)
            }
            (b"PTTL", [key]) => {
                let left = match self.get(now, key) {
                    None => -2,
                    Some(Entry { expires: None, .. }) => -1,
                    Some(Entry {
                        expires: Some(at), ..
                    }) => signed(at.saturating_sub(now / 1000)),
                };
                (Reply::Integer(left), false)
            }
            (b"PEXPIRE", [key, millis]) => self.expire(now, key, parse(millis)),
            (b"EXPIRE", [key, seconds]) => {
                self.expire(now, key, parse::<u64>(seconds).map(|it| it * 1000))
            }
            (b"HGETALL", [key]) => match self.get(now, key).map(|entry| &entry.value) {
                None => (Reply::Array(Vec::new()), false),
                Some(Value::Hash(fields)) => {
                    let pairs = fields.iter().flat_map(|(name, value)| [name, value]);
                    let pairs = pairs.cloned().map(Reply::Bulk).collect();
                    (Reply::Array(pairs), false)
                }
                Some(_) => (Reply::Error(WRONG_TYPE.into()), false),
            },
            (b"HSET", [key, pairs @ ..]) => match self.hash(now, key) {
                Some(fields) => {
                    let (pairs, _) = pairs.as_chunks::<2>();
                    let new = pairs.iter().filter(|[name, value]| {
                        fields.insert(name.clone(), value.clone()).is_none()
                    });
                    (integer(new.count()), true)
                }
                None => (Reply::Error(WRONG_TYPE.into()), false),
            },
            (b"HDEL", [key, names @ ..]) => {
                let Some(Value::Hash(fields)) = self.value(now, key) else {
                    return (Reply::Integer(0), false);
                };
                let removed = names.iter().filter(|name| fields.remove(*name).is_some());
                let removed = removed.count();
                if fields.is_empty() {
                    self.keys.remove(key);
                }
                (integer(removed), true)
            }
            (b"ZADD", [key, score, member]) => match (self.sorted(now, key), parse(score)) {
                (Some(set), Some(score)) => {
                    let is_new = set.insert(member.clone(), score);
                    (Reply::Integer(is_new.into()), true)
                }
                _ => (Reply::Error(WRONG_TYPE.into()), false),
            },
            (b"ZSCORE", [key, member]) => match self.value(now, key) {
                Some(Value::Sorted(set)) => match set.scores.get(member) {
                    Some(score) => (Reply::text(&score.to_string()), false),
                    None => (Reply::Nil, false),
                },
                _ => (Reply::Nil, false),
            },
            (b"ZCARD", [key]) => match self.value(now, key) {
                Some(Value::Sorted(set)) => (integer(set.scores.len()), false),
                _ => (Reply::Integer(0), false),
            },
            (b"ZCOUNT", [key, least, most]) => match self.value(now, key) {
                Some(Value::Sorted(set)) => (integer(set.count(least, most)), false),
                _ => (Reply::Integer(0), false),
            },
            (b"ZREM", [key, members @ ..]) => self.remove_members(now, key, |set| {
                let removed = members.iter().filter(|member| set.remove(member));
                removed.count()
            }),
            (b"ZREMRANGEBYSCORE", [key, least, most]) if **least == *b"-inf" => {
                let most = parse(most).unwrap_or(f64::NEG_INFINITY);
                self.remove_members(now, key, |set| set.remove_until(most))
            }
            _ => {
                let name = String::from_utf8_lossy(name);
                let error = format!("ERR the simulated Redis has no such command: {name}");
                (Reply::Error(error), false)
            }
        }
    }

    fn set(&mut self, now: Micros, key: &Bytes, value: &Bytes, options: &[Bytes]) -> (Reply, bool) {
        let mut expires = None;
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" if self.get(now, key).is_some() => return (Reply::Nil, false),
                b"NX" => {}
                b"PX" => {
                    let millis: Option<u64> = options.next().and_then(parse);
                    expires = millis.map(|millis| now / 1000 + millis);
                }
                _ => return (Reply::Error("ERR syntax error".into()), false),
            }
        }
        let value = Value::Text(value.clone());
        self.insert(now, key.clone(), Entry { value, expires });
        (Reply::Status("OK"), true)
    }

    fn expire(&mut self, now: Micros, key: &Bytes, millis: Option<u64>) -> (Reply, bool) {
        let Some(millis) = millis else {
            let error = "ERR value is not an integer or out of range";
            return (Reply::Error(error.into()), false);
        };
        match self.get_mut(now, key) {
            Some(entry) => {
                entry.expires = Some(now / 1000 + millis);
                (Reply::Integer(1), true)
            }
            None => (Reply::Integer(0), false),
        }
    }

    fn remove_members(
        &mut self,
        now: Micros,
        key: &Bytes,
        remove: impl FnOnce(&mut SortedSet) -> usize,
    ) -> (Reply, bool) {
        let Some(Value::Sorted(set)) = self.value(now, key) else {
            return (Reply::Integer(0), false);
        };
        let removed = remove(set);
        if set.scores.is_empty() {
            self.keys.remove(key);
        }
        (integer(removed), removed > 0)
    }

    fn remove(&mut self, now: Micros, key: &Bytes) -> bool {
        self.get(now, key).is_some() && self.keys.remove(key).is_some()
    }

    fn get(&self, now: Micros, key: &Bytes) -> Option<&Entry> {
        self.keys.get(key).filter(|entry| !entry.is_expired(now))
    }

    fn get_mut(&mut self, now: Micros, key: &Bytes) -> Option<&mut Entry> {
        let entry = self.keys.get_mut(key);
        entry.filter(|entry| !entry.is_expired(now))
    }

    fn value(&mut self, now: Micros, key: &Bytes) -> Option<&mut Value> {
        self.get_mut(now, key).map(|entry| &mut entry.value)
    }

    fn sorted(&mut self, now: Micros, key: &Bytes) -> Option<&mut SortedSet> {
        match self.or_insert(now, key, || Value::Sorted(SortedSet::default())) {
            Value::Sorted(set) => Some(set),
            _ => None,
        }
    }

    fn hash(&mut self, now: Micros, key: &Bytes) -> Option<&mut BTreeMap<Bytes, Bytes>> {
        match self.or_insert(now, key, || Value::Hash(BTreeMap::new())) {
            Value::Hash(fields) => Some(fields),
            _ => None,
        }
    }

    fn or_insert(&mut self, now: Micros, key: &Bytes, new: impl Fn() -> Value) -> &mut Value {
        if self.get(now, key).is_none() {
            let value = new();
            let expires = None;
            self.insert(now, key.clone(), Entry { value, expires });
        }
        let entry = self.keys.entry(key.clone());
        let entry = entry.or_insert_with(|| Entry {
            value: new(),
            expires: None,
        });
        &mut entry.value
    }

    /// Adds a key. Expired keys are removed whenever there are twice as many keys as after the last
    /// time.
    fn insert(&mut self, now: Micros, key: Bytes, entry: Entry) {
        if self.keys.len() > self.sweep_at {
            self.keys.retain(|_, entry| !entry.is_expired(now));
            self.sweep_at = 1024 + 2 * self.keys.len();
        }
        // The key is a part of what a client has sent, which is not kept.
        self.keys.insert(Bytes::copy_from_slice(&key), entry);
    }
}

impl Entry {
    fn is_expired(&self, now: Micros) -> bool {
        self.expires.is_some_and(|at| now / 1000 > at)
    }
}

impl SortedSet {
    fn insert(&mut self, member: Bytes, score: f64) -> bool {
        let member = Bytes::copy_from_slice(&member);
        let before = self.scores.insert(member.clone(), score);
        if let Some(before) = before {
            self.order.remove(&(rank(before), member.clone()));
        }
        self.order.insert((rank(score), member));
        before.is_none()
    }

    fn remove(&mut self, member: &Bytes) -> bool {
        let Some(score) = self.scores.remove(member) else {
            return false;
        };
        self.order.remove(&(rank(score), member.clone()))
    }

    fn remove_until(&mut self, most: f64) -> usize {
        let mut removed = 0;
        while let Some((score, _)) = self.order.first() {
            if *score > rank(most) {
                break;
            }
            if let Some((_, member)) = self.order.pop_first() {
                self.scores.remove(&member);
            }
            removed += 1;
        }
        removed
    }

    /// Counts the scores between two bounds. The members below a bound are few here: they have
    /// expired.
    fn count(&self, least: &Bytes, most: &Bytes) -> usize {
        let (least, is_without) = match least.strip_prefix(b"(") {
            Some(least) => (least, true),
            None => (&**least, false),
        };
        let least = rank(parse(least).unwrap_or(f64::NEG_INFINITY));
        let is_below = |score: i64| score < least || is_without && score == least;
        let below = self.order.iter().take_while(|(score, _)| is_below(*score));
        let most = rank(parse(most).unwrap_or(f64::INFINITY));
        let above = self
            .order
            .iter()
            .rev()
            .take_while(|(score, _)| *score > most);
        self.order
            .len()
            .saturating_sub(below.count() + above.count())
    }
}

/// A number that has the order of the score.
fn rank(score: f64) -> i64 {
    let bits = i64::from_ne_bytes(score.to_bits().to_ne_bytes());
    match bits < 0 {
        true => bits ^ i64::MAX,
        false => bits,
    }
}

fn parse<T: std::str::FromStr>(text: impl AsRef<[u8]>) -> Option<T> {
    std::str::from_utf8(text.as_ref()).ok()?.parse().ok()
}

fn integer(count: usize) -> Reply {
    Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
