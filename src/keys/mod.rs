//! The keys that callers hold.

mod file;
mod generate;
mod ring;

pub use self::generate::generate_key;
pub use self::ring::{Key, KeyRing};
