//! Compares what a request names with what its key may use.

use voxgate_core::denial::DenialKind;
use voxgate_core::principal::Principal;
use voxgate_speech::{Field, Reading, SpeechProfile};

/// The scope that lets a server read a URL, a file or a voice sample that the request names.
pub(crate) const FETCH: &str = "tts:fetch";

/// Which names a request has given so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownNames {
    voice: bool,
    model: bool,
    language: bool,
}

impl KnownNames {
    /// The names that this or the other knows.
    #[cfg(feature = "speech")]
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            voice: self.voice || other.voice,
            model: self.model || other.model,
            language: self.language || other.language,
        }
    }

    /// These names, and a voice.
    #[cfg(feature = "speech")]
    pub(crate) fn with_voice(self) -> Self {
        Self {
            voice: true,
            ..self
        }
    }

    fn set(&mut self, field: Field) {
        match field {
            Field::Voice => self.voice = true,
            Field::Model => self.model = true,
            _ => self.language = true,
        }
    }

    fn has(self, field: Field) -> bool {
        match field {
            Field::Voice => self.voice,
            Field::Model => self.model,
            _ => self.language,
        }
    }
}

/// One kind of name that a key can be limited to.
struct Limited {
    field: Field,
    applies: fn(&Principal) -> bool,
    permits: fn(&Principal, &str) -> bool,
    not_allowed: DenialKind,
    not_seen: DenialKind,
}

const LIMITED: [Limited; 3] = [
    Limited {
        field: Field::Voice,
        applies: Principal::is_limited_to_voices,
        permits: Principal::has_voice,
        not_allowed: DenialKind::VoiceNotAllowed,
        not_seen: DenialKind::VoiceNotSeen,
    },
    Limited {
        field: Field::Model,
        applies: Principal::is_limited_to_models,
        permits: Principal::has_model,
        not_allowed: DenialKind::ModelNotAllowed,
        not_seen: DenialKind::ModelNotSeen,
    },
    Limited {
        field: Field::Language,
        applies: Principal::is_limited_to_languages,
        permits: Principal::has_language,
        not_allowed: DenialKind::LanguageNotAllowed,
        not_seen: DenialKind::LanguageNotSeen,
    },
];

/// Whether the principal is limited in this kind of name.
pub(crate) fn is_limited_to(principal: &Principal, field: Field) -> bool {
    let mut limited = LIMITED.iter();
    limited.any(|limited| limited.field == field && (limited.applies)(principal))
}

/// Whether the principal is limited in one of the names that `has` says can be in what is read.
#[cfg(feature = "speech")]
pub(crate) fn is_limited(principal: &Principal, has: impl Fn(Field) -> bool) -> bool {
    let mut limited = LIMITED.iter();
    limited.any(|limited| (limited.applies)(principal) && has(limited.field))
}

/// Whether a request of this principal may name something for the server to read. A limited key
/// needs the scope; a key without any limit may do everything.
pub(crate) fn may_fetch(principal: &Principal) -> bool {
    let scopes = principal.scopes();
    let granted = scopes.is_some_and(|scopes| scopes.iter().any(|own| own.as_str() == FETCH));
    granted || principal.is_unlimited()
}

/// Checks every name of a reading, and returns which names it has.
pub(crate) fn check_names(
    principal: &Principal,
    reading: &Reading<'_>,
) -> Result<KnownNames, DenialKind> {
    if reading.has_fetch && !may_fetch(principal) {
        return Err(DenialKind::FetchNotAllowed);
    }
    let mut known = KnownNames::default();
    for limited in LIMITED {
        let is_voice = limited.field == Field::Voice;
        let markup = is_voice.then_some(&reading.markup_voices[..]);
        let markup = markup.unwrap_or_default();
        // Voices in markup count only if they speak all of the text.
        let marked = !markup.is_empty() && !reading.has_unvoiced_text;
        if reading.names(limited.field).next().is_some() || marked {
            known.set(limited.field);
        }
        if !(limited.applies)(principal) {
            continue;
        }
        if reading.fault(limited.field).is_some() {
            return Err(limited.not_seen);
        }
        let permits = |name: &str| (limited.permits)(principal, name);
        let mut defaults = reading.names(Field::DefaultVoice);
        let permitted = reading.names(limited.field).all(permits)
            && (!is_voice || defaults.all(permits))
            && markup.iter().all(|name| permits(name));
        if !permitted {
            return Err(limited.not_allowed);
        }
    }
    Ok(known)
}

/// Refuses a request that speaks without the names that its key is limited to.
pub(crate) fn require_names(principal: &Principal, known: KnownNames) -> Result<(), DenialKind> {
    require_now(principal, known, |_| false)
}

/// Refuses a request whose messages could name something else than its head, and are not read.
#[cfg(feature = "speech")]
pub(crate) fn require_unchanged(
    principal: &Principal,
    profile: &SpeechProfile,
) -> Result<(), DenialKind> {
    if profile.messages_have(Field::Fetch) && !may_fetch(principal) {
        return Err(DenialKind::FetchNotAllowed);
    }
    let mut changing = LIMITED.iter();
    let changing = changing
        .find(|limited| (limited.applies)(principal) && profile.messages_have(limited.field));
    changing.map_or(Ok(()), |limited| Err(limited.not_seen))
}

/// Refuses a request without the names that its key is limited to, unless the profile shows that
/// they can be in the body or in the messages, which are read later.
pub(crate) fn require_in_head(
    principal: &Principal,
    known: KnownNames,
    profile: &SpeechProfile,
    is_websocket: bool,
) -> Result<(), DenialKind> {
    require_now(principal, known, |field| match is_websocket {
        true => profile.messages_have(field),
        false => profile.body_has(field),
    })
}

fn require_now(
    principal: &Principal,
    known: KnownNames,
    comes_later: impl Fn(Field) -> bool,
) -> Result<(), DenialKind> {
    let missing = LIMITED.iter().find(|limited| {
        (limited.applies)(principal) && !known.has(limited.field) && !comes_later(limited.field)
    });
    missing.map_or(Ok(()), |limited| Err(limited.not_seen))
}
