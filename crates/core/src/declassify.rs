//! Declares values that were computed from a secret and are not secret themselves.
//!
//! Neither the instructions that run nor the memory that is read may depend on a secret, except
//! through a value that was handed to [`declassify`]. It stands where such a value is made and does
//! nothing: it is for the reader, and for the tests of `constant-time/`, which mark secrets and
//! find whatever else depends on them. `docs/explanation/constant-time.md` has the list.

/// What can be declassified: one fact, and never the bytes of a credential or of a digest.
pub trait Fact: Copy {
    #[cfg(voxgate_constant_time)]
    fn through(self, hook: Hook) -> Self;
}

impl Fact for bool {
    #[cfg(voxgate_constant_time)]
    fn through(self, hook: Hook) -> Self {
        let mut bytes = [u8::from(self)];
        hook(&mut bytes);
        bytes != [0]
    }
}

impl Fact for u64 {
    #[cfg(voxgate_constant_time)]
    fn through(self, hook: Hook) -> Self {
        let mut bytes = self.to_ne_bytes();
        hook(&mut bytes);
        Self::from_ne_bytes(bytes)
    }
}

/// The value itself. From here on, what the program does may depend on it.
#[inline]
pub fn declassify<T: Fact>(fact: T) -> T {
    #[cfg(voxgate_constant_time)]
    if let Some(hook) = HOOK.get() {
        return fact.through(*hook);
    }
    fact
}

#[cfg(voxgate_constant_time)]
type Hook = fn(&mut [u8]);

#[cfg(voxgate_constant_time)]
static HOOK: std::sync::OnceLock<Hook> = std::sync::OnceLock::new();

/// Passes the bytes of every declassified value to `hook`, which removes their mark. The first hook
/// stays.
#[cfg(voxgate_constant_time)]
pub fn on_declassify(hook: fn(&mut [u8])) {
    HOOK.get_or_init(|| hook);
}
