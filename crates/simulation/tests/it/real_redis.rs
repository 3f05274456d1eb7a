//! The simulated Redis answers as the real one.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use fastrand::Rng;
use redis::Value;
use voxgate_simulation::keyspace::{Keyspace, Micros};
use voxgate_simulation::resp::Reply;
use voxgate_simulation::scripts::Scripts;

use crate::server::Server;

const CALLS: usize = 1500;
const SECOND: u64 = 1_000_000;
/// A lease that lasts longer than the test, by the clock of the test and by the real one.
const LONG: u64 = 3600 * SECOND;
/// A lease that ends during the test.
const SHORT: u64 = 20 * SECOND;
/// The member of each set that keeps the set.
const KEPT: &str = "kept";

const ADMIT: &str = include_str!("../../../limits-redis/src/admit.lua");
const GIVE_BACK: &str = include_str!("../../../limits-redis/src/give_back.lua");
const QUOTA: &str = include_str!("../../../limits-redis/src/quota.lua");
const REGISTER: &str = include_str!("../../../limits-redis/src/register.lua");
const RENEW: &str = include_str!("../../../limits-redis/src/renew.lua");

/// Both servers get the same time, because a real Redis cannot be given another clock. Nothing that
/// they hold expires during the test by itself: leases end by their scores.
const WITH_TIME: &str = "
local server = redis
local redis = { call = function(name, ...)
  if name == 'TIME' then
    return { 'SECONDS', 'MICROS' }
  end
  return server.call(name, ...)
end }
";

/// A command: its words. A script comes with its text.
struct Call {
    script: Option<&'static str>,
    keys: Vec<String>,
    arguments: Vec<String>,
}

#[test]
fn the_scripts_answer_as_in_the_real_redis() {
    let Some(real) = Server::start(&[]) else {
        return;
    };
    let mut connection = redis::Client::open(real.url())
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let keyspace = Rc::new(RefCell::new(Keyspace::default()));
    let scripts = Scripts::new(Rc::clone(&keyspace)).expect("Lua");
    let mut random = Rng::with_seed(7);
    let mut now: Micros = 1_800_000_000 * SECOND;
    let mut outcomes = [0; 4];
    for number in 0..CALLS {
        let call = match number {
            0..3 => keep(&format!("slots-{number}")),
            3 => keep("gateways"),
            _ => any(&mut random),
        };
        now += random.u64(0..SECOND / 10);
        let words = call.words(now);
        let mut command = redis::cmd(&words[0]);
        command.arg(&words[1..]);
        let expected = command.query::<Value>(&mut connection).map(reply);
        let words: Vec<Bytes> = words.into_iter().map(Bytes::from).collect();
        let answer = match call.script {
            Some(_) => scripts.run(now, false, &words[1..]),
            None => keyspace.borrow_mut().run(now, &words),
        };
        let expected = expected.unwrap_or_else(|error| panic!("call {number}: {error}"));
        assert_eq!(
            answer, expected,
            "call {number}: {:?} {:?}",
            call.keys, call.arguments
        );
        if let (Some(ADMIT), Reply::Array(answer)) = (call.script, &answer)
            && let Some(Reply::Integer(outcome)) = answer.first()
        {
            outcomes[usize::try_from(*outcome).expect("an outcome")] += 1;
        }
    }
    assert!(
        outcomes.iter().all(|count| *count > 10),
        "all are tried: {outcomes:?}"
    );
}

impl Call {
    fn words(&self, now: Micros) -> Vec<String> {
        let Some(script) = self.script else {
            let words = self.keys.iter().chain(&self.arguments);
            return std::iter::once("ZREM".to_owned())
                .chain(words.cloned())
                .collect();
        };
        let [seconds, micros] = [now / SECOND, now % SECOND].map(|it| it.to_string());
        let time = WITH_TIME
            .replace("SECONDS", &seconds)
            .replace("MICROS", &micros);
        let words = [
            "EVAL".to_owned(),
            time + script,
            self.keys.len().to_string(),
        ];
        let rest = self.keys.iter().chain(&self.arguments);
        words.into_iter().chain(rest.cloned()).collect()
    }
}

/// Puts the member into a set that keeps the set.
fn keep(key: &str) -> Call {
    Call {
        script: Some(RENEW),
        keys: vec![key.to_owned()],
        arguments: vec![LONG.to_string(), "1".to_owned(), KEPT.to_owned()],
    }
}

fn any(random: &mut Rng) -> Call {
    let lease = format!("lease-{}", random.u8(0..40));
    let lasts = if random.bool() { SHORT } else { LONG };
    match random.u8(0..12) {
        0..6 => {
            let (keys, scopes) = scopes(random);
            let take = random.u8(0..8).min(1).to_string();
            let arguments = [take, lease, lasts.to_string()];
            Call {
                script: Some(ADMIT),
                keys,
                arguments: arguments.into_iter().chain(scopes).collect(),
            }
        }
        6 => {
            let (keys, scopes) = scopes(random);
            Call {
                script: Some(GIVE_BACK),
                keys,
                arguments: std::iter::once(lease).chain(scopes).collect(),
            }
        }
        7 => {
            let leases: Vec<u8> = (0..random.u8(1..5)).map(|_| random.u8(0..40)).collect();
            let names = leases.iter().map(|lease| format!("lease-{lease}"));
            let put_back = random.u8(0..2).to_string();
            Call {
                script: Some(RENEW),
                keys: leases
                    .iter()
                    .map(|lease| format!("slots-{}", lease % 3))
                    .collect(),
                arguments: [lasts.to_string(), put_back]
                    .into_iter()
                    .chain(names)
                    .collect(),
            }
        }
        8 => Call {
            script: Some(REGISTER),
            keys: vec!["gateways".to_owned()],
            arguments: vec![format!("gateway-{}", random.u8(0..9)), lasts.to_string()],
        },
        9 => Call {
            script: None,
            keys: vec![format!("slots-{}", random.u8(0..3))],
            arguments: vec![lease],
        },
        _ => {
            let counters = random.usize(1..3);
            let replica = random.u8(0..3).to_string();
            let add = [(); 3].map(|()| random.u64(0..4).to_string());
            let mut arguments = vec![replica];
            arguments.extend(add);
            for _ in 0..counters {
                arguments.push(3600.to_string());
                arguments.extend((0..15).map(|_| match random.u8(0..3) {
                    0 => random.u64(0..60).to_string(),
                    _ => 0.to_string(),
                }));
            }
            Call {
                script: Some(QUOTA),
                keys: (0..counters).map(|it| format!("quota-{it}")).collect(),
                arguments,
            }
        }
    }
}

/// The keys and the numbers of one to three scopes.
fn scopes(random: &mut Rng) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut numbers) = (Vec::new(), Vec::new());
    for scope in 0..random.u64(1..4) {
        let slots = if random.bool() { random.u64(2..12) } else { 0 };
        if slots > 0 {
            keys.push(format!("slots-{scope}"));
        }
        let has_rate = slots == 0 || random.bool();
        let (drain, unit, burst) = match has_rate {
            // About a request in a minute.
            true => (
                1,
                [60 * SECOND, 7 * SECOND][random.usize(0..2)] * 10,
                random.u64(3..9),
            ),
            false => (0, 0, 0),
        };
        if has_rate {
            keys.push(format!("rate-{scope}-{unit}"));
        }
        numbers.extend([slots, drain, unit, burst, 1].map(|number| number.to_string()));
    }
    (keys, numbers)
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Int(number) => Reply::Integer(number),
        Value::Array(values) => Reply::Array(values.into_iter().map(reply).collect()),
        Value::BulkString(text) => Reply::Bulk(text.into()),
        Value::Nil => Reply::Nil,
        Value::ServerError(error) => Reply::Error(error.to_string()),
        other => panic!("no script answers {other:?}"),
    }
}
