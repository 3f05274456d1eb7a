//! Many gateways and a Redis in virtual time.
//!
//! The gateways are the product's own: the layer with its key ring, the limiter, the local store and
//! the store for Redis with its scripts. What surrounds them is simulated: the clock (tokio's, paused),
//! the [`network`], the [`redis_server`] and its [`cluster`], and the [`callers`]. One thread runs all
//! of it, with seeded random numbers, so that a run can be repeated.

pub mod callers;
pub mod cluster;
pub mod cost;
pub mod gateway;
mod hash_slot;
pub mod keyspace;
pub mod meter;
pub mod network;
pub mod redis_server;
pub mod report;
pub mod resp;
pub mod scenario;
pub mod scripts;
