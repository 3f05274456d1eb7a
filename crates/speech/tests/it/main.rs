//! Reads bodies and messages as servers do, and refuses what they could read in two ways.

#![expect(
    clippy::expect_used,
    reason = "a helper of a test panics like the test itself"
)]

mod bodies;
