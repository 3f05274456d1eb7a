//! The voices, models and languages that a key or an account is limited to.

/// Limits of what may be spoken. Without a list, there is no limit; an empty list permits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpeechRights {
    voices: Option<Names>,
    models: Option<Names>,
    languages: Option<Names>,
}

type Names = Box<[Box<str>]>;

impl SpeechRights {
    /// Limits to these voices. A `*` at the end matches any suffix.
    #[must_use]
    pub fn with_voices<T: AsRef<str>>(mut self, voices: impl IntoIterator<Item = T>) -> Self {
        self.voices = Some(names(voices));
        self
    }

    /// Limits to these models. A `*` at the end matches any suffix.
    #[must_use]
    pub fn with_models<T: AsRef<str>>(mut self, models: impl IntoIterator<Item = T>) -> Self {
        self.models = Some(names(models));
        self
    }

    /// Limits to these languages, in any case. A `*` at the end matches any suffix.
    #[must_use]
    pub fn with_languages<T: AsRef<str>>(mut self, languages: impl IntoIterator<Item = T>) -> Self {
        self.languages = Some(names(languages));
        self
    }

    /// The voices, or `None` if they are not limited.
    #[must_use]
    pub fn voices(&self) -> Option<&[Box<str>]> {
        self.voices.as_deref()
    }

    /// The models, or `None` if they are not limited.
    #[must_use]
    pub fn models(&self) -> Option<&[Box<str>]> {
        self.models.as_deref()
    }

    /// The languages, or `None` if they are not limited.
    #[must_use]
    pub fn languages(&self) -> Option<&[Box<str>]> {
        self.languages.as_deref()
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.voices.is_none() && self.models.is_none() && self.languages.is_none()
    }

    pub(super) fn has_voice(&self, voice: &str) -> bool {
        permits(self.voices(), voice)
    }

    pub(super) fn has_model(&self, model: &str) -> bool {
        permits(self.models(), model)
    }

    pub(super) fn has_language(&self, language: &str) -> bool {
        // BCP 47 §2.1.1: case does not matter.
        let language = language.to_ascii_lowercase();
        self.languages().is_none_or(|languages| {
            let mut lower = languages.iter().map(|own| own.to_ascii_lowercase());
            lower.any(|own| matches(&own, &language))
        })
    }

    /// Whether a name that was permitted before is not permitted any more. `before` may be the
    /// rights of a token, whose names are a part of those of its key.
    pub(super) fn permits_less_than(&self, before: &Self) -> bool {
        let lost = |now: Option<&[Box<str>]>, before: Option<&[Box<str>]>| {
            now.is_some_and(|now| {
                let kept = |name: &str| now.iter().any(|own| voice_covers(own, name));
                before.is_none_or(|before| before.iter().any(|name| !kept(name)))
            })
        };
        lost(self.voices(), before.voices())
            || lost(self.models(), before.models())
            || lost(self.languages(), before.languages())
    }
}

fn names<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Names {
    names.into_iter().map(|name| name.as_ref().into()).collect()
}

fn permits(names: Option<&[Box<str>]>, name: &str) -> bool {
    names.is_none_or(|names| names.iter().any(|own| matches(own, name)))
}

fn matches(own: &str, name: &str) -> bool {
    match own.strip_suffix('*') {
        // The text that `*` matches must be a plain name, without delimiters.
        Some(start) => name.strip_prefix(start).is_some_and(is_plain),
        None => *own == *name,
    }
}

/// Whether the name, or pattern with a `*` at its end, allows all that the other one does.
#[doc(hidden)]
#[must_use]
pub fn voice_covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_suffix('*') {
        Some(start) => {
            let narrow = narrow.strip_suffix('*').unwrap_or(narrow);
            narrow.strip_prefix(start).is_some_and(is_plain)
        }
        None => wide == narrow,
    }
}

/// Delimiters, and what servers write between the voices that they blend.
fn is_plain(rest: &str) -> bool {
    !rest.contains(|letter: char| letter.is_control() || ";?#&/\\%=+,|".contains(letter))
}
