//! Rows of a vendor's default policy.

use std::borrow::Cow;

use crate::policy::Rule;
use crate::speech::{Place, SpeechProfile};

/// One row: a method, a path, and their requirements.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    scope: Option<&'static str>,
    realtime: bool,
    mints: bool,
    speech: Option<&'static SpeechProfile>,
}

pub(super) const SPEAK: &str = "tts:synthesize";
pub(super) const READ_VOICES: &str = "voices:read";
pub(super) const WRITE_VOICES: &str = "voices:write";
pub(super) const READ_MODELS: &str = "models:read";
pub(super) const READ_USAGE: &str = "usage:read";
pub(super) const MINT_TOKENS: &str = "tokens:mint";

/// A pointer into a JSON body or message.
pub(super) const fn json(pointer: &'static str) -> Place {
    Place::Json(Cow::Borrowed(pointer))
}

/// A field of a form.
pub(super) const fn form(name: &'static str) -> Place {
    Place::Form(Cow::Borrowed(name))
}

/// A query parameter.
pub(super) const fn query(name: &'static str) -> Place {
    Place::Query(Cow::Borrowed(name))
}

/// The path segment that the pattern names.
pub(super) const fn path(name: &'static str) -> Place {
    Place::Path(Cow::Borrowed(name))
}

/// A request header.
pub(super) const fn header(name: &'static str) -> Place {
    Place::Header(Cow::Borrowed(name))
}

/// A field of a protobuf message.
pub(super) const fn proto(numbers: &'static [u32]) -> Place {
    Place::Proto(Cow::Borrowed(numbers))
}

/// Requires `scope`.
pub(super) const fn route(method: &'static str, path: &'static str, scope: &'static str) -> Route {
    Route {
        method,
        path,
        scope: Some(scope),
        realtime: false,
        mints: false,
        speech: None,
    }
}

/// Allows every standard key.
pub(super) const fn any_key(method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path,
        scope: None,
        realtime: false,
        mints: false,
        speech: None,
    }
}

/// Asks for a token. Where tokens are made here, a realtime key may ask: it exists to mint tokens for
/// its clients. Otherwise the scope is required of every key.
pub(super) const fn mint(path: &'static str) -> Route {
    let mut route = route("POST", path, MINT_TOKENS).realtime();
    route.mints = true;
    route
}

/// The request for a token that clients of every vendor can send.
pub(super) const NEUTRAL_MINT: Route = mint("/voxgate/v1/tokens");

impl Route {
    /// Also allows realtime keys.
    pub(super) const fn realtime(mut self) -> Self {
        self.realtime = true;
        self
    }

    /// Says where the requests have their text, voice and model.
    pub(super) const fn speech(mut self, profile: &'static SpeechProfile) -> Self {
        self.speech = Some(profile);
        self
    }

    pub(super) fn rule(&self) -> Rule {
        let mut rule = Rule::new(self.method, self.path);
        if let Some(scope) = self.scope {
            rule = rule.with_scope(scope);
        }
        if let Some(profile) = self.speech {
            rule = rule.with_speech(profile.clone());
        }
        if self.realtime {
            rule = rule.realtime();
        }
        if self.mints { rule.minting() } else { rule }
    }
}
