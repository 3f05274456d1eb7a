//! Tests of metering and quotas through the public interface.

// A test that does not find what it expects panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audio;
mod books;
mod layers;
mod spoken;
