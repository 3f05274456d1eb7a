//! The keys that callers hold.

mod file;
mod generate;
mod ring;

pub(crate) use self::file::load as read_keys_file;
pub use self::generate::generate_key;
pub use self::ring::{Key, KeyRing};
