//! Fuzz targets: one for each parser of what a stranger sends, reached through the layer.
//!
//! Each puts its input where that parser reads, and asks that the layer reads what the model of
//! the integration tests reads, lets in exactly the known keys, and strips the credential and
//! nothing else. `scripts/fuzz.sh` runs them.

#![forbid(unsafe_code)]

#[path = "../../tests/it/properties/door.rs"]
mod door;
#[path = "../../tests/it/properties/model.rs"]
mod model;
#[path = "../../tests/it/properties/strip.rs"]
mod strip;

pub mod client_address;
pub mod forwarding;
pub mod random;
pub mod screen;
pub mod speech;
pub mod targets;
pub mod token;

/// The program of one target: libFuzzer's, or the one that mutates at random.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(feature = "libfuzzer")]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::targets::$name(data));

        #[cfg(not(feature = "libfuzzer"))]
        fn main() -> std::process::ExitCode {
            $crate::random::run($crate::targets::$name)
        }
    };
}
