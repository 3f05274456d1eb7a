//! Scopes: named rights.

use std::fmt;

/// A named right, such as `tts:synthesize`: a scope token of RFC 6749 §3.3.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// Parses a scope token: visible ASCII without space, `"` and `\`. Returns `None` for any other
    /// text.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        (!text.is_empty() && text.bytes().all(token)).then(|| Self(text.into()))
    }

    /// The token's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Scope {
    type Error = InvalidScope;

    fn try_from(text: &str) -> Result<Self, InvalidScope> {
        Self::new(text).ok_or(InvalidScope)
    }
}

/// A text that is not a scope token (RFC 6749 §3.3): one or more visible ASCII characters other
/// than `"` and `\\`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidScope;

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be visible ASCII characters without quotes or backslashes")
    }
}

impl std::error::Error for InvalidScope {}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_tokens_follow_rfc_6749() {
        for bad in ["", "a b", "a\"", "a\\", "é", "a\n"] {
            assert!(Scope::new(bad).is_none(), "{bad:?}");
        }
        assert!(Scope::new("voices:read").is_some());
    }
}
