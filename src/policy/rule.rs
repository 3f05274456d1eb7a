//! One rule: the requests that it names, and their requirements.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method, Request};
use voxgate_core::denial::DenialKind;
use voxgate_speech::{Field, Place, Reader, Reading, SpeechProfile};

use crate::principal::{KeyKind, Principal};
use crate::speech::{self, KnownNames};
use crate::websocket::asks_for_websocket;

use super::pattern::{can_match, matches};

/// The scope of routes that synthesize speech, and therefore have a voice.
const SPEAKING: &str = "tts:synthesize";

/// Names requests by method and path, and defines their requirements.
///
/// ```
/// use voxgate::policy::{Place, Rule};
///
/// let rule = Rule::new("POST", "/v1/text-to-speech/{voice_id}")
///     .with_scope("tts:synthesize")
///     .with_voice(Place::Path("voice_id".into()));
/// # let _ = rule;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The method; `*` means any.
    method: Box<str>,
    pattern: Box<str>,
    scope: Option<Box<str>>,
    /// A principal without scopes is refused, too.
    explicit: bool,
    /// It names requests for tokens: see [`Policy::with_minting`](super::Policy::with_minting).
    mints: bool,
    realtime: bool,
    speech: Option<Arc<Reader>>,
    /// The name of the only dialect whose requests the rule applies to. `None` for all.
    dialect: Option<&'static str>,
}

/// No request can match the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRule {
    /// The method is neither `*` nor a method in capitals.
    Method,
    /// The pattern cannot match a path.
    Pattern,
}

impl fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "method must be \"*\" or a method in capitals, such as \"POST\"",
            Self::Pattern => {
                "path must be \"*\", or begin with / and have {name} for a whole segment, {name%2F} \
                 for a segment that may contain encoded slashes, * at its end for the rest, and \
                 characters outside ASCII percent-encoded"
            }
        })
    }
}

impl std::error::Error for InvalidRule {}

impl Rule {
    /// Names requests with this method (`*` means any) and a path that matches `pattern`: literal
    /// segments, `{name}` for one segment, `{name%2F}` for one segment that may contain encoded
    /// slashes, and `*` at the end for the rest. The pattern `*` matches any path without encoded
    /// slashes.
    ///
    /// Paths are compared decoded and case-sensitively. A request with an encoded slash is refused
    /// with 400 unless the rule that decides about it has `{name%2F}` in that place, and unless a
    /// server that decodes the slash before it routes would reach no path with other requirements.
    ///
    /// By default, the rule requires no scope: every standard key is allowed.
    ///
    /// # Panics
    ///
    /// If no request can match, such as `post` or a pattern that does not begin with `/`. Use
    /// [`try_new`](Self::try_new) for texts that are not constants of the program.
    #[must_use]
    #[track_caller]
    pub fn new(method: &str, pattern: &str) -> Self {
        match Self::try_new(method, pattern) {
            Ok(rule) => rule,
            Err(error) => panic!("{method} {pattern}: {error}"),
        }
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// If no request can match.
    pub fn try_new(method: &str, pattern: &str) -> Result<Self, InvalidRule> {
        if !is_method(method) {
            return Err(InvalidRule::Method);
        }
        if !can_match(pattern) {
            return Err(InvalidRule::Pattern);
        }
        Ok(Self {
            method: method.into(),
            pattern: pattern.into(),
            scope: None,
            explicit: false,
            mints: false,
            realtime: false,
            speech: None,
            dialect: None,
        })
    }

    /// Applies the rule only to requests of the dialect with this name.
    pub(crate) fn of_dialect(mut self, name: &'static str) -> Self {
        self.dialect = Some(name);
        self
    }

    /// Names requests for tokens. The scope is required of every key, unless tokens are made here.
    pub(crate) fn minting(mut self) -> Self {
        self.mints = true;
        self.explicit = true;
        self
    }

    /// Tokens are made here: the scope is required of keys that are limited to scopes.
    pub(super) fn open_minting(&mut self) {
        self.explicit &= !self.mints;
    }

    /// Requires `scope` of keys that are limited to scopes.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Requires `scope` of every key: a key that is not limited to scopes is refused, too. For routes
    /// that manage the server.
    #[must_use]
    pub fn with_explicit_scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.into());
        self.explicit = true;
        self
    }

    /// Also allows realtime keys. They need no scope.
    #[must_use]
    pub fn realtime(mut self) -> Self {
        self.realtime = true;
        self
    }

    /// Adds a place of the voice, for keys that are limited to voices.
    #[must_use]
    pub fn with_voice(self, place: Place) -> Self {
        self.with_place(Field::Voice, place)
    }

    /// Adds a place of a field, for keys that are limited to voices, models or languages, and for
    /// meters.
    #[must_use]
    pub fn with_place(mut self, field: Field, place: Place) -> Self {
        let known = self
            .speech
            .iter()
            .flat_map(|reader| reader.profile().places());
        let mut places = known.cloned().collect::<Vec<_>>();
        places.push((field, place));
        self.speech = Some(Arc::new(Reader::new(SpeechProfile::of_places(places))));
        self
    }

    /// Sets where the requests have their text, voice and model.
    #[must_use]
    pub fn with_speech(mut self, profile: SpeechProfile) -> Self {
        self.speech = Some(Arc::new(Reader::new(profile)));
        self
    }

    /// The method, or `*` for any.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path's pattern.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The required scope, or `None` if every standard key is allowed.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether the scope is required of every key, also of those that are not limited to scopes.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// Whether realtime keys are allowed.
    #[must_use]
    pub fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// The first place of the voice, in the request or in its messages.
    #[must_use]
    pub fn voice(&self) -> Option<&Place> {
        let profile = self.speech.as_ref()?.profile();
        let mut places = profile.places().iter().chain(profile.messages());
        let voice = places.find(|(field, _)| matches!(field, Field::Voice | Field::DefaultVoice));
        voice.map(|(_, place)| place)
    }

    /// Where the requests have their text, voice and model, if it is known.
    #[must_use]
    pub fn speech(&self) -> Option<&SpeechProfile> {
        self.speech.as_deref().map(Reader::profile)
    }

    #[cfg(feature = "speech")]
    pub(crate) fn reader(&self) -> Option<&Arc<Reader>> {
        self.speech.as_ref()
    }

    /// Whether its requests have text outside of their head: in the body, or in messages.
    pub(crate) fn has_text_beyond_head(&self) -> bool {
        match self.speech() {
            Some(profile) => {
                profile.formats().next().is_some() || profile.message_formats().next().is_some()
            }
            None => self.speaks(),
        }
    }

    /// Whether its requests have text spoken.
    pub(crate) fn speaks(&self) -> bool {
        self.speech.is_some() || self.scope() == Some(SPEAKING)
    }

    pub(super) fn applies_to(&self, dialect: &str) -> bool {
        self.dialect.is_none_or(|own| own == dialect)
    }

    pub(super) fn names(&self, method: &Method, path: &str) -> bool {
        (*self.method == *"*" || *self.method == *method.as_str()) && matches(&self.pattern, path)
    }

    /// Whether a request that both rules name needs the same, by either.
    pub(super) fn requires_the_same_as(&self, other: &Self) -> bool {
        let requirements = |rule: &Self| {
            let Self {
                scope,
                explicit,
                realtime,
                speech,
                ..
            } = rule;
            (scope.clone(), *explicit, *realtime, speech.clone())
        };
        requirements(self) == requirements(other)
    }

    /// Whether this principal has the scope that an explicit rule requires.
    pub(super) fn permits_explicitly(&self, principal: &Principal) -> bool {
        let granted = principal.scopes().is_some();
        !self.explicit || (granted && principal.kind() == KeyKind::Standard)
    }

    /// Whether this restricted principal may send a request that this rule names. `reads_bodies`
    /// says that what the head does not show is checked when the body or the messages are read.
    pub(super) fn permits<B>(
        &self,
        principal: &Principal,
        request: &Request<B>,
        reads_bodies: bool,
    ) -> Result<(), DenialKind> {
        let has_scope = match principal.kind() {
            KeyKind::Standard => self.scope().is_none_or(|scope| principal.has_scope(scope)),
            KeyKind::Realtime if self.realtime => true,
            _ => return Err(DenialKind::RealtimeOnly),
        };
        if !has_scope || !self.permits_explicitly(principal) {
            return Err(DenialKind::InsufficientScope);
        }
        let Some(reader) = &self.speech else {
            // A voice that is not visible could be any voice. Only routes without synthesis need
            // none.
            let is_silent = self.scope().is_some_and(|scope| scope != SPEAKING);
            return match is_silent {
                true => Ok(()),
                false => speech::require_names(principal, KnownNames::default()),
            };
        };
        let head = self.read_head(reader, request);
        let known = speech::check_names(principal, &head)?;
        match reads_bodies {
            true => {
                let is_websocket = asks_for_websocket(request);
                speech::require_in_head(principal, known, reader.profile(), is_websocket)
            }
            false => speech::require_names(principal, known),
        }
    }

    /// What the head of a request that this rule names shows.
    pub(crate) fn read_head<'a, B>(&self, reader: &Reader, request: &'a Request<B>) -> Reading<'a> {
        let uri = request.uri();
        let header = |name: &str| {
            let values = request.headers().get_all(name).iter();
            let text = |value: &'a HeaderValue| std::str::from_utf8(value.as_bytes()).ok();
            values.map(text).collect()
        };
        reader.read_head(
            &self.pattern,
            uri.path(),
            uri.query().unwrap_or_default(),
            header,
        )
    }
}

/// Whether a text is `*`, or a method in capitals. Methods are case-sensitive (RFC 9110 §9.1).
fn is_method(text: &str) -> bool {
    text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()))
}
