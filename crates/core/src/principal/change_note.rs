//! Who changed a key last, and why.

/// Who changed a key last, and why, as its keys file says. Audit records of the change have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChangeNote {
    /// A person or a program, such as `ann@build-1`.
    pub by: Option<Box<str>>,
    /// The reason, in words.
    pub reason: Option<Box<str>>,
}
