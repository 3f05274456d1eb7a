//! The integration tests: one binary that drives the library and the examples.

// A test that does not find what it expects panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod examples;
mod floors;
mod layer;
mod policy_presets;
mod properties;
mod refusals;
mod secrecy;
mod speech;
mod support;
