//! What happens in a simulation.

use std::cell::RefCell;
use std::error::Error;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use voxgate::principal::Principal;
use voxgate::rate_limit::{Limits, OnFailure, Rate};
use voxgate::{Key, KeyRing, Secret, SharedKeyRing};
use voxgate_limits_redis::simulation;

use crate::callers::{Callers, Load};
use crate::cluster::{self, Cluster};
use crate::gateway::{self, Gateway};
use crate::meter::{KeyLimit, Meter, Phase};
use crate::network::{Host, Network, Weather};
use crate::redis_server::{Costs, Server, Usage};

/// The first host with Redis. Gateways come before.
pub(crate) const REDIS: Host = 100_000;
/// What commands cost Redis: docs/explanation/scaling.md says how that was measured.
const COSTS: Costs = Costs {
    script: 35,
    key_nanos: 3000,
    other: 5,
};
/// The lease of slots: the default of the gateway.
const LEASE: Duration = Duration::from_secs(30);
/// Requests that may start at once.
pub const BURST: u32 = 5;

/// How large a simulation is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The gateways.
    pub gateways: usize,
    /// The keys.
    pub keys: u32,
    /// The callers.
    pub callers: u32,
    /// How often a caller sends a request.
    pub period: Duration,
    /// How long a stream takes.
    pub stream: Duration,
}

impl Size {
    /// Of `make sim`.
    pub const LARGE: Self = Self {
        gateways: 200,
        keys: 10_000,
        callers: 1_000_000,
        period: Duration::from_secs(100),
        stream: Duration::from_secs(8),
    };
    /// Of the test.
    pub const SMALL: Self = Self {
        gateways: 6,
        keys: 10,
        callers: 300,
        period: Duration::from_secs(6),
        stream: Duration::from_secs(2),
    };

    /// Requests of a key in a minute: the callers want twice its limit.
    #[must_use]
    pub fn key_rate(self) -> u32 {
        let offered = self.callers / self.keys * 60;
        offered / u32::try_from(self.period.as_secs()).unwrap_or(1) / 2
    }

    /// Slots of a key: the callers want twice as many.
    #[must_use]
    pub fn key_slots(self) -> u32 {
        self.key_rate() * u32::try_from(self.stream.as_secs()).unwrap_or(1) / 60
    }

    /// Slots of the upstream, if it has a limit: nine tenths of what all keys may have.
    #[must_use]
    pub fn upstream(self) -> u32 {
        self.key_slots() * self.keys / 10 * 9
    }

    /// Keys with even numbers have a rate, and those with odd numbers slots.
    #[must_use]
    pub fn limit(self, key: u32) -> KeyLimit {
        match key % 2 {
            0 => KeyLimit::Rate(self.key_rate(), BURST),
            _ => KeyLimit::Slots(self.key_slots()),
        }
    }
}

/// The Redis of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    One,
    /// Three primaries with a replica each.
    Cluster,
}

/// What happens at the beginning of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing new.
    None,
    /// Half of the gateways do not reach Redis.
    CutOffHalf,
    /// The host of the first primary is gone.
    LosePrimary,
    /// The first primary and half of the gateways reach only each other.
    CutOffPrimaryWithHalf,
    /// All reach each other again.
    Heal,
    /// Redis ends, and its data are lost.
    Stop,
    /// Redis runs again.
    Start,
    /// The hash slots of the first primary begin to move to the second.
    MoveSlots,
}

/// One part of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What happens at its beginning.
    pub event: Event,
    /// Its name in the report.
    pub name: &'static str,
    /// How many seconds it takes.
    pub seconds: u64,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name in the report and on the command line.
    pub name: &'static str,
    /// The Redis.
    pub topology: Topology,
    /// What gateways do without Redis.
    pub on_failure: OnFailure,
    /// Whether the upstream has a limit.
    pub has_upstream_limit: bool,
    /// Whether requests may wait for a slot.
    pub has_queue: bool,
    /// One of so many callers belongs to one key.
    pub flood: Option<u32>,
    /// How many of a million segments are lost.
    pub lost_per_million: u32,
    /// What happens.
    pub steps: Vec<Step>,
}

/// What a scenario has shown.
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// Its size.
    pub size: Size,
    /// What the callers have seen in each step.
    pub phases: Vec<Phase>,
    /// What Redis has done in each step.
    pub usage: Vec<Usage>,
    /// Answers of Redis in each step, and questions that it did not answer in time.
    pub answers: Vec<(u64, u64)>,
    /// The most questions in one second of each step.
    pub peaks: Vec<u64>,
    /// The most requests in flight above the upstream's limit.
    pub over_upstream: u32,
    /// The most requests in flight of one key above its limit.
    pub over_key: u32,
    /// Writes that were confirmed and lost in failovers.
    pub lost_writes: usize,
    /// How often a replica took over.
    pub failovers: usize,
    /// Slots that gateways have put back.
    pub restored: u64,
}

impl Scenario {
    /// All scenarios.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let step = |event, name, seconds| Step {
            event,
            name,
            seconds,
        };
        let steady = vec![step(Event::None, "steady", 15)];
        let base = Self {
            name: "",
            topology: Topology::One,
            on_failure: OnFailure::Local,
            has_upstream_limit: false,
            has_queue: false,
            flood: None,
            lost_per_million: 0,
            steps: steady.clone(),
        };
        let cut_off = |name, on_failure| Self {
            name,
            on_failure,
            steps: vec![
                step(Event::None, "before", 5),
                step(Event::CutOffHalf, "cut off", 8),
                step(Event::Heal, "healed", 7),
            ],
            ..base.clone()
        };
        let in_cluster = |name, event| Self {
            name,
            topology: Topology::Cluster,
            steps: vec![
                step(Event::None, "before", 5),
                step(event, "until the replica takes over", 7),
                step(Event::None, "after the failover", 5),
                step(Event::Heal, "the old primary is back", 5),
            ],
            ..base.clone()
        };
        vec![
            Self {
                name: "steady",
                has_upstream_limit: true,
                ..base.clone()
            },
            Self {
                name: "steady-cluster",
                topology: Topology::Cluster,
                has_upstream_limit: true,
                ..base.clone()
            },
            Self {
                name: "lossy-network",
                lost_per_million: 5000,
                steps: steady,
                ..base.clone()
            },
            Self {
                name: "flood-of-one-key",
                has_upstream_limit: true,
                has_queue: true,
                flood: Some(5),
                ..base.clone()
            },
            in_cluster("failover", Event::LosePrimary),
            in_cluster("old-primary-reachable", Event::CutOffPrimaryWithHalf),
            Self {
                name: "resharding",
                topology: Topology::Cluster,
                steps: vec![
                    step(Event::None, "before", 5),
                    step(Event::MoveSlots, "slots move", 8),
                    step(Event::None, "after", 3),
                ],
                ..base.clone()
            },
            cut_off("half-cut-off-local", OnFailure::Local),
            cut_off("half-cut-off-deny", OnFailure::Deny),
            cut_off("half-cut-off-allow", OnFailure::Allow),
            Self {
                name: "data-loss",
                steps: vec![
                    step(Event::None, "before", 5),
                    step(Event::Stop, "stopped", 2),
                    step(Event::Start, "started without data", 8),
                ],
                ..base
            },
        ]
    }

    /// Runs the scenario in virtual time. The same seed gives the same outcome.
    ///
    /// # Errors
    ///
    /// If the simulation cannot be set up.
    pub fn run(&self, size: Size, seed: u64) -> Result<Outcome, Box<dyn Error>> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        simulation::seed(seed);
        LocalSet::new().block_on(&runtime, self.play(size, seed))
    }

    async fn play(&self, size: Size, seed: u64) -> Result<Outcome, Box<dyn Error>> {
        let weather = Weather {
            delay_millis: (1, 2),
            lost_per_million: self.lost_per_million,
        };
        let network = Network::new(seed ^ 1, weather);
        let redis = Redis::start(&network, self.topology, seed ^ 2)?;
        let (keys, credentials) = keys(size)?;
        let settings = gateway::Settings {
            url: redis.url(),
            on_failure: self.on_failure,
            upstream: NonZeroU32::new(size.upstream()).filter(|_| self.has_upstream_limit),
            queue: self.has_queue.then_some((20, Duration::from_millis(500))),
            lease: LEASE,
        };
        let gateways = Rc::new(RefCell::new(Vec::new()));
        // Gateways do not start at once, so their heartbeats come one after the other.
        let pause = LEASE / 3 / u32::try_from(size.gateways)?;
        for host in 0..size.gateways {
            let dialer = network.dialer(host);
            let instance = seed.wrapping_add(host as u64);
            let gateway = Gateway::start(&settings, &keys, &dialer, instance)?;
            gateways.borrow_mut().push(gateway);
            sleep(pause).await;
        }
        let limits = (0..size.keys).map(|key| size.limit(key)).collect();
        let meter = Meter::new(limits, settings.upstream.map(NonZeroU32::get));
        let meter = Rc::new(RefCell::new(meter));
        let load = Load {
            callers: size.callers,
            period: size.period,
            stream: size.stream,
            flood: self.flood,
        };
        let (at, told) = (Rc::clone(&gateways), Rc::clone(&meter));
        let callers = Callers::new(load, credentials, at, told, seed ^ 3);
        // The first streams begin together; afterwards the load is even.
        let callers = spawn_local(callers.run());
        sleep(2 * size.stream).await;
        let (mut usage, mut peaks, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for step in &self.steps {
            redis.happen(step.event, &network, size.gateways);
            meter.borrow_mut().next_phase();
            let (start, before) = (Instant::now(), redis.usage());
            let answered = sum_of_answers(&gateways.borrow());
            let mut peak = 0;
            for second in 1..=step.seconds {
                let earlier = redis.usage().questions;
                sleep_until(start + Duration::from_secs(second)).await;
                peak = peak.max(redis.usage().questions - earlier);
            }
            usage.push(redis.usage() - before);
            peaks.push(peak);
            let now = sum_of_answers(&gateways.borrow());
            answers.push((now.0 - answered.0, now.1 - answered.1));
        }
        callers.abort();
        let mut meter = meter.borrow_mut();
        meter.end_phase();
        let gateways = gateways.borrow();
        let sum = |count: fn(&Gateway) -> u64| gateways.iter().map(count).sum();
        Ok(Outcome {
            scenario: self.clone(),
            size,
            phases: meter.phases()[1..].to_vec(),
            usage,
            peaks,
            answers,
            over_upstream: meter.over_upstream,
            over_key: meter.over_key,
            lost_writes: redis.cluster().map_or(0, Cluster::lost_writes),
            failovers: redis.cluster().map_or(0, Cluster::failovers),
            restored: sum(|gateway| gateway.status().restored),
        })
    }
}

fn sum_of_answers(gateways: &[Gateway]) -> (u64, u64) {
    let status = gateways.iter().map(Gateway::status);
    status.fold((0, 0), |(answers, failures), status| {
        (answers + status.answers, failures + status.failures)
    })
}

pub(crate) enum Redis {
    One(Server),
    Cluster(Cluster),
}

impl Redis {
    pub(crate) fn start(network: &Network, topology: Topology, seed: u64) -> mlua::Result<Self> {
        Ok(match topology {
            Topology::One => Self::One(Server::start(network, REDIS, "redis:6379", COSTS)?),
            Topology::Cluster => {
                let settings = cluster::Settings {
                    primaries: 3,
                    node_timeout: Duration::from_secs(5),
                    replication: Duration::from_millis(10),
                    tick: Duration::from_millis(100),
                };
                Self::Cluster(Cluster::start(network, REDIS, settings, COSTS, seed)?)
            }
        })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(server) => format!("redis://{}", server.name()),
            Self::Cluster(cluster) => {
                let names: Vec<_> = cluster.servers().iter().map(Server::name).collect();
                format!("redis-cluster://{}", names.join(","))
            }
        }
    }

    fn servers(&self) -> &[Server] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => cluster.servers(),
        }
    }

    fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::One(_) => None,
            Self::Cluster(cluster) => Some(cluster),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let all = self.servers().iter().map(Server::usage);
        all.fold(Usage::default(), |sum, usage| sum + usage)
    }

    fn happen(&self, event: Event, network: &Network, gateways: usize) {
        let first = &self.servers()[0];
        let half = 0..gateways / 2;
        match event {
            Event::None => {}
            Event::CutOffHalf => network.separate(half),
            Event::LosePrimary => network.separate([first.host()]),
            Event::CutOffPrimaryWithHalf => network.separate(half.chain([first.host()])),
            Event::Heal => network.heal(),
            Event::Stop => first.stop(),
            Event::Start => first.start_again(),
            Event::MoveSlots => {
                if let Self::Cluster(cluster) = self {
                    let cluster = cluster.clone();
                    spawn_local(async move {
                        cluster
                            .move_slots(0, 1, 20, Duration::from_millis(300))
                            .await;
                    });
                }
            }
        }
    }
}

/// The keys, and what their callers present.
fn keys(size: Size) -> Result<(SharedKeyRing, Vec<HeaderValue>), Box<dyn Error>> {
    let mut keys = Vec::new();
    let mut credentials = Vec::new();
    for number in 0..size.keys {
        let secret = format!("a-key-of-the-simulation-{number:06}");
        let limits = match size.limit(number) {
            KeyLimit::Rate(a_minute, burst) => Limits {
                rate: Rate::parse(&format!("{a_minute}/min")),
                burst: NonZeroU32::new(burst),
                ..Limits::default()
            },
            KeyLimit::Slots(most) => Limits {
                concurrency: NonZeroU32::new(most),
                ..Limits::default()
            },
        };
        let principal = Principal::new(&format!("key-{number}")).with_limits(limits);
        keys.push(Key::from_secret(&Secret::new(&secret)?, principal));
        credentials.push(HeaderValue::from_str(&format!("Bearer {secret}"))?);
    }
    Ok((SharedKeyRing::new(KeyRing::new(keys)?), credentials))
}
