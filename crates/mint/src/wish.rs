//! What a request asks for.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// A token that a caller asks for, before the rights of its key are looked at.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    pub(crate) ends: Ends,
    pub(crate) scopes: WantedScopes,
    /// The voices, or `None` for those of the key.
    pub(crate) voices: Option<Vec<String>>,
    /// Whether the token is for realtime sessions only.
    pub(crate) realtime: bool,
    pub(crate) single_use: bool,
    /// What the answer repeats.
    pub(crate) echo: Map<String, Value>,
}

/// When the token should end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Ends {
    /// After the default time of the endpoint.
    #[default]
    Default,
    After(Duration),
    At(SystemTime),
}

/// Which scopes the token should have.
#[derive(Clone, Debug, Default)]
pub(crate) enum WantedScopes {
    /// Those of the key.
    #[default]
    OfKey,
    /// Those of these that the key has. The vendor's API says what its tokens may do.
    Among(Vec<&'static str>),
    /// These, all of which the key must have. The caller named them.
    Exactly(Vec<String>),
}

impl Wish {
    /// Ends after this many seconds, or after the default time.
    pub(crate) fn after(mut self, seconds: Option<u64>) -> Self {
        if let Some(seconds) = seconds {
            self.ends = Ends::After(Duration::from_secs(seconds));
        }
        self
    }

    pub(crate) fn among(mut self, scopes: &[&'static str]) -> Self {
        self.scopes = WantedScopes::Among(scopes.to_vec());
        self
    }

    pub(crate) fn realtime(mut self) -> Self {
        self.realtime = true;
        self
    }

    pub(crate) fn single_use(mut self) -> Self {
        self.single_use = true;
        self
    }

    pub(crate) fn echo(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.echo.insert(name.to_owned(), value.into());
        self
    }
}
