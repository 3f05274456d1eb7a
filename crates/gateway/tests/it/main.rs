//! The integration tests: one binary that drives the real program.

// A test that does not find what it expects panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod gateway;
mod keys;
mod probe;
mod reference;
mod skip;
mod transcript;
