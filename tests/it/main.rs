//! The integration tests: one binary that drives the library and the examples.

// A test states what it expects; a panic is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod examples;
mod floors;
mod layer;
mod properties;
mod refusals;
mod secrecy;
mod support;
