//! Random times, so that many replicas do not act in step.

use std::time::Duration;

/// A number between 0 and 1.
pub(crate) fn random() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(random) = crate::simulation::random() {
        return random;
    }
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// A random time between `least` and `most`.
pub(crate) fn between(least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(random())
}
