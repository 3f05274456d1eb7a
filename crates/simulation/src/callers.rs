//! The callers: each sends a request, listens, and sends the next one later.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use http::{HeaderValue, Request, StatusCode, header};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use crate::gateway::{Answer, Gateway};
use crate::meter::{Meter, Outcome};

/// How often gateways look for requests that have waited too long, in milliseconds.
const TIME_OUT_EVERY: u64 = 50;

/// The key whose callers flood the gateways, if one does. It has slots.
pub const FLOODED: usize = 1;

/// The load of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many callers there are.
    pub callers: u32,
    /// How often a caller sends a request, in the mean.
    pub period: Duration,
    /// How long a stream takes, in the mean.
    pub stream: Duration,
    /// One of so many callers belongs to one key, if that key floods the gateways.
    pub flood: Option<u32>,
}

/// The callers. Each is a number in a calendar.
pub struct Callers {
    load: Load,
    credentials: Vec<HeaderValue>,
    gateways: Rc<RefCell<Vec<Gateway>>>,
    meter: Rc<RefCell<Meter>>,
    /// Who sends the next request, by the millisecond.
    calendar: BTreeMap<u64, Vec<u32>>,
    streams: Rc<RefCell<Streams>>,
    random: Rng,
}

/// The streams in flight, by the millisecond in which they end.
type Streams = BTreeMap<u64, Vec<(usize, Answer)>>;

impl Callers {
    /// Callers that present these credentials.
    #[must_use]
    pub fn new(
        load: Load,
        credentials: Vec<HeaderValue>,
        gateways: Rc<RefCell<Vec<Gateway>>>,
        meter: Rc<RefCell<Meter>>,
        seed: u64,
    ) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut calendar: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for caller in 0..load.callers {
            let first = random.u64(0..millis(load.period));
            calendar.entry(first).or_default().push(caller);
        }
        Self {
            load,
            credentials,
            gateways,
            meter,
            calendar,
            streams: Rc::default(),
            random,
        }
    }

    /// Sends requests for as long as it is polled.
    pub async fn run(mut self) {
        let start = Instant::now();
        for now in 0_u64.. {
            sleep_until(start + Duration::from_millis(now)).await;
            let ended = self.streams.borrow_mut().remove(&now);
            for (key, answer) in ended.into_iter().flatten() {
                drop(answer);
                self.meter.borrow_mut().end(key);
            }
            for caller in self.calendar.remove(&now).unwrap_or_default() {
                self.send(caller, now);
                let next = now + around(&mut self.random, self.load.period);
                self.calendar.entry(next).or_default().push(caller);
            }
            if now.is_multiple_of(TIME_OUT_EVERY) {
                self.gateways.borrow().iter().for_each(Gateway::time_out);
            }
        }
    }

    fn send(&mut self, caller: u32, now: u64) {
        let key = match self.load.flood {
            Some(one_of) if caller.is_multiple_of(one_of) => FLOODED,
            _ => caller as usize % self.credentials.len(),
        };
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/v1/rime-tts");
        let credential = self.credentials[key].clone();
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, credential);
        let mut gateways = self.gateways.borrow_mut();
        let gateway = self.random.usize(0..gateways.len());
        let answering = gateways[gateway].call(request);
        let (meter, streams) = (Rc::clone(&self.meter), Rc::clone(&self.streams));
        meter.borrow_mut().offer();
        let takes = around(&mut self.random, self.load.stream);
        let sent = Instant::now();
        spawn_local(async move {
            let Ok(answer) = answering.await;
            let outcome = match answer.status() {
                StatusCode::OK => Outcome::Accepted,
                StatusCode::TOO_MANY_REQUESTS => Outcome::Limited,
                StatusCode::SERVICE_UNAVAILABLE => Outcome::Unavailable,
                status => unreachable!("a gateway answers {status} to a valid request"),
            };
            meter.borrow_mut().answer(key, sent, outcome);
            if outcome == Outcome::Accepted {
                let ends = now + millis(sent.elapsed()) + takes;
                streams
                    .borrow_mut()
                    .entry(ends)
                    .or_default()
                    .push((key, answer));
            }
        });
    }
}

/// A random time from half of the mean to one and a half, at least a millisecond.
fn around(random: &mut Rng, mean: Duration) -> u64 {
    let mean = millis(mean);
    random.u64(mean / 2..=mean * 3 / 2).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
