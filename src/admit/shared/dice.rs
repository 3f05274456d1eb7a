//! Chance: what many gateways do in step goes wrong in step.

use std::time::Duration;

/// A number between 0 and 1.
pub(super) fn dice() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// A time between these.
pub(super) fn between(least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(dice())
}
