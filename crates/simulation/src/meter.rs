//! Measures what callers see, and compares it with the limits.

use std::time::Duration;

use tokio::time::Instant;

use crate::callers::FLOODED;

/// The longest delay that is told apart, in milliseconds.
const LONGEST_MILLIS: usize = 4096;

/// The limit of a key.
#[derive(Clone, Copy, Debug)]
pub enum KeyLimit {
    /// Requests a minute, and how many may start at once.
    Rate(u32, u32),
    /// Requests in flight.
    Slots(u32),
}

/// What happened in a phase.
#[derive(Clone)]
pub struct Phase {
    /// How long the phase took.
    pub length: Duration,
    /// Requests.
    pub offered: u64,
    /// Requests that were forwarded.
    pub accepted: u64,
    /// Of these, those of keys that do not flood the gateways.
    pub accepted_of_others: u64,
    /// Requests that a limit refused (429).
    pub limited: u64,
    /// Requests that were refused because the limits were unknown (503).
    pub unavailable: u64,
    /// Requests of rates that were accepted above their limits.
    pub over_rate: f64,
    /// Requests of keys with slots that were accepted while all slots were taken.
    pub over_slots: u64,
    /// The most requests in flight.
    pub most_in_flight: u32,
    /// Answers by their delay in milliseconds.
    delays: Vec<u64>,
}

/// What happened in all phases.
pub struct Meter {
    limits: Vec<KeyLimit>,
    keys: Vec<Key>,
    upstream: Option<u32>,
    in_flight: u32,
    phases: Vec<Phase>,
    began: Instant,
    /// The most requests in flight above the upstream's limit.
    pub over_upstream: u32,
    /// The most slots of one key above its limit.
    pub over_key: u32,
}

#[derive(Clone, Copy, Default)]
struct Key {
    /// What a leaky bucket of the limit's rate would have, and when.
    level: f64,
    at: Option<Instant>,
    /// How far the bucket was above its limit.
    over: f64,
    in_flight: u32,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was forwarded.
    Accepted,
    /// A limit refused it.
    Limited,
    /// It was refused because the limits were unknown.
    Unavailable,
}

impl Meter {
    /// A meter for keys with these limits.
    #[must_use]
    pub fn new(limits: Vec<KeyLimit>, upstream: Option<u32>) -> Self {
        Self {
            keys: vec![Key::default(); limits.len()],
            limits,
            upstream,
            in_flight: 0,
            phases: Vec::new(),
            began: Instant::now(),
            over_upstream: 0,
            over_key: 0,
        }
    }

    /// Begins the next phase.
    pub fn next_phase(&mut self) {
        self.end_phase();
        self.began = Instant::now();
        self.phases.push(Phase {
            length: Duration::ZERO,
            offered: 0,
            accepted: 0,
            accepted_of_others: 0,
            limited: 0,
            unavailable: 0,
            over_rate: 0.0,
            over_slots: 0,
            most_in_flight: self.in_flight,
            delays: vec![0; LONGEST_MILLIS + 1],
        });
    }

    /// Ends the last phase.
    pub fn end_phase(&mut self) {
        let length = self.began.elapsed();
        if let Some(phase) = self.phases.last_mut() {
            phase.length = length;
        }
    }

    /// The phases so far.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Counts a request.
    pub fn offer(&mut self) {
        self.phase().offered += 1;
    }

    /// Counts an answer to a request of this key, which was sent at this time.
    pub fn answer(&mut self, key: usize, sent: Instant, outcome: Outcome) {
        let millis = usize::try_from(sent.elapsed().as_millis()).unwrap_or(usize::MAX);
        self.phase().delays[millis.min(LONGEST_MILLIS)] += 1;
        match outcome {
            Outcome::Limited => self.phase().limited += 1,
            Outcome::Unavailable => self.phase().unavailable += 1,
            Outcome::Accepted => self.accept(key),
        }
    }

    /// A request of this key has ended.
    pub fn end(&mut self, key: usize) {
        self.keys[key].in_flight -= 1;
        self.in_flight -= 1;
    }

    fn accept(&mut self, key: usize) {
        let now = Instant::now();
        let state = &mut self.keys[key];
        state.in_flight += 1;
        self.in_flight += 1;
        let (mut over_rate, mut over_slots) = (0.0, 0);
        match self.limits[key] {
            KeyLimit::Rate(a_minute, burst) => {
                let passed = state.at.map_or(Duration::ZERO, |at| now - at);
                let drained = passed.as_secs_f64() * f64::from(a_minute) / 60.0;
                state.level = (state.level - drained).max(0.0) + 1.0;
                state.at = Some(now);
                // Answers take different times, so that a burst of answers can be one request larger
                // than the burst of decisions.
                let over = state.level - f64::from(burst) - 1.0;
                if over > state.over {
                    over_rate = over - state.over;
                    state.over = over;
                }
            }
            KeyLimit::Slots(most) => {
                let over = state.in_flight.saturating_sub(most);
                over_slots = u64::from(over > 0);
                self.over_key = self.over_key.max(over);
            }
        }
        if let Some(most) = self.upstream {
            self.over_upstream = self.over_upstream.max(self.in_flight.saturating_sub(most));
        }
        let in_flight = self.in_flight;
        let phase = self.phase();
        phase.accepted += 1;
        phase.accepted_of_others += u64::from(key != FLOODED);
        phase.over_rate += over_rate;
        phase.over_slots += over_slots;
        phase.most_in_flight = phase.most_in_flight.max(in_flight);
    }

    fn phase(&mut self) -> &mut Phase {
        if self.phases.is_empty() {
            self.next_phase();
        }
        let last = self.phases.len() - 1;
        &mut self.phases[last]
    }
}

impl Phase {
    /// The number of answers.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.delays.iter().sum()
    }

    /// The delay in milliseconds within which this percentage of answers came.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> usize {
        let rank = (self.answers() * percent).div_ceil(100).max(1);
        let mut sum = 0;
        let reached = self.delays.iter().position(|count| {
            sum += count;
            sum >= rank
        });
        reached.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wait(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_above_a_rate_is_counted_once() {
        let mut meter = Meter::new(vec![KeyLimit::Rate(60, 2)], None);
        meter.next_phase();
        for _ in 0..3 {
            meter.answer(0, Instant::now(), Outcome::Accepted);
        }
        assert_eq!(
            meter.phases()[0].over_rate,
            0.0,
            "one more is the jitter of answers"
        );
        meter.answer(0, Instant::now(), Outcome::Accepted);
        assert_eq!(meter.phases()[0].over_rate, 1.0);
        wait(1000).await;
        meter.next_phase();
        meter.answer(0, Instant::now(), Outcome::Accepted);
        assert_eq!(meter.phases()[1].over_rate, 0.0, "the same one is over");
        meter.answer(0, Instant::now(), Outcome::Accepted);
        assert_eq!(meter.phases()[1].over_rate, 1.0);
        assert_eq!(meter.phases()[0].length, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_and_delays_are_counted() {
        let mut meter = Meter::new(vec![KeyLimit::Slots(1)], Some(1));
        meter.next_phase();
        let sent = Instant::now();
        for (millis, outcome) in [
            (0, Outcome::Accepted),
            (3, Outcome::Accepted),
            (47, Outcome::Limited),
            (1, Outcome::Unavailable),
        ] {
            wait(millis).await;
            meter.answer(0, sent, outcome);
        }
        let phase = &meter.phases()[0];
        assert_eq!((phase.over_slots, phase.most_in_flight), (1, 2));
        assert_eq!((phase.accepted, phase.answers()), (2, 4));
        assert_eq!((phase.percentile(50), phase.percentile(99)), (3, 51));
        assert_eq!((meter.over_key, meter.over_upstream), (1, 1));
    }
}
