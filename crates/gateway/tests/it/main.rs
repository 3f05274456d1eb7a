//! The integration tests: one binary that drives the real program.

// A test states what it expects; a panic is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod gateway;
mod keys;
mod probe;
mod reference;
mod skip;
