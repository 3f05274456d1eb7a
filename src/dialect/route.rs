//! Rows of a vendor's default policy.

use crate::policy::{Rule, Voice};

/// One row: a method, a path, and their requirements.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    scope: Option<&'static str>,
    realtime: bool,
    voice: Option<&'static str>,
}

pub(super) const SPEAK: &str = "tts:synthesize";
pub(super) const READ_VOICES: &str = "voices:read";
pub(super) const WRITE_VOICES: &str = "voices:write";
pub(super) const READ_MODELS: &str = "models:read";
pub(super) const READ_USAGE: &str = "usage:read";
pub(super) const MINT_TOKENS: &str = "tokens:mint";

/// Requires `scope`.
pub(super) const fn route(method: &'static str, path: &'static str, scope: &'static str) -> Route {
    Route {
        method,
        path,
        scope: Some(scope),
        realtime: false,
        voice: None,
    }
}

/// Allows every standard key.
pub(super) const fn any_key(method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path,
        scope: None,
        realtime: false,
        voice: None,
    }
}

/// Asks for a token. A realtime key exists to mint tokens for its clients.
pub(super) const fn mint(path: &'static str) -> Route {
    route("POST", path, MINT_TOKENS).realtime()
}

/// The request for a token that clients of every vendor can send.
pub(super) const NEUTRAL_MINT: Route = mint("/voxgate/v1/tokens");

impl Route {
    /// Also allows realtime keys.
    pub(super) const fn realtime(mut self) -> Self {
        self.realtime = true;
        self
    }

    /// Names the path segment that contains the voice.
    pub(super) const fn voice(mut self, segment: &'static str) -> Self {
        self.voice = Some(segment);
        self
    }

    pub(super) fn rule(&self) -> Rule {
        let mut rule = Rule::new(self.method, self.path);
        if let Some(scope) = self.scope {
            rule = rule.with_scope(scope);
        }
        if let Some(segment) = self.voice {
            rule = rule.with_voice(Voice::Path(segment.into()));
        }
        if self.realtime { rule.realtime() } else { rule }
    }
}
