//! The seams of a simulation: a store on the caller's runtime and by its clock, over the streams of
//! a simulated network, with seeded random numbers. `crates/simulation` uses them. They are no part
//! of the public interface.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use redis::aio::AsyncStream;
use tokio::task::spawn_local;
use voxgate::ConfigError;

use crate::engine;
use crate::options::RedisOptions;
use crate::store::RedisStore;

/// A connection of the simulated network.
pub type Stream = Box<dyn AsyncStream + Send + Unpin>;
/// An attempt to connect.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

type Dial = dyn Fn(&str, u16) -> Dialing + Send + Sync;

/// Connects to a host and port of the simulated network.
#[derive(Clone)]
pub struct Dialer(Arc<Dial>);

impl Dialer {
    /// A dialer that calls this function.
    pub fn new(dial: impl Fn(&str, u16) -> Dialing + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }

    pub(crate) fn dial(&self, host: &str, port: u16) -> Dialing {
        (self.0)(host, port)
    }
}

/// Starts a store as a task of the current `LocalSet`. `instance` must be unique in a simulation.
///
/// # Errors
///
/// All problems of the options.
///
/// # Panics
///
/// Outside of a `LocalSet`.
pub fn start(
    options: RedisOptions,
    dialer: &Dialer,
    instance: u64,
) -> Result<RedisStore, ConfigError> {
    let mut config = options.check()?;
    config.address = config.address.simulated(dialer);
    let (store, inbox) = RedisStore::new(&config);
    let gauges = Arc::clone(store.gauges());
    spawn_local(engine::run(config, instance, gauges, inbox));
    Ok(store)
}

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Seeds the random times of all stores of this thread.
pub fn seed(seed: u64) {
    STATE.set(Some(seed));
}

/// The next random number between 0 and 1, if this thread was seeded: SplitMix64
/// (<https://prng.di.unimi.it/splitmix64.c>).
pub(crate) fn random() -> Option<f64> {
    let state = STATE.get()?.wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(Some(state));
    let mut bits = state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    // 32 bits are exact in an `f64`.
    let bits = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
    Some(f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let numbers = || [(); 4].map(|()| random().expect("seeded"));
        seed(7);
        let first = numbers();
        seed(7);
        assert_eq!(numbers(), first);
        seed(8);
        assert_ne!(numbers(), first);
        assert!(first.iter().all(|number| (0.0..=1.0).contains(number)));
    }
}
