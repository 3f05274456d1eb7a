//! One rule: the requests that it names, and their requirements.

use std::fmt;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::principal::{KeyKind, Principal};

use super::pattern::{can_match, matches, name_of};

/// The scope of routes that synthesize speech, and therefore have a voice.
const SPEAKING: &str = "tts:synthesize";

/// Names requests by method and path, and defines their requirements.
///
/// ```
/// use voxgate::policy::{Rule, Voice};
///
/// let rule = Rule::new("POST", "/v1/text-to-speech/{voice_id}")
///     .with_scope("tts:synthesize")
///     .with_voice(Voice::Path("voice_id".into()));
/// # let _ = rule;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The method; `*` means any.
    method: Box<str>,
    pattern: Box<str>,
    scope: Option<Box<str>>,
    realtime: bool,
    voice: Option<Voice>,
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
                "path must be \"*\", or begin with / and have {name} for a whole segment, * at its \
                 end for the rest, and characters outside ASCII percent-encoded"
            }
        })
    }
}

impl std::error::Error for InvalidRule {}

/// The place in a request that names its voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voice {
    /// The path segment that the pattern names `{name}`.
    Path(Box<str>),
    /// The query parameter of this name.
    Query(Box<str>),
}

impl Rule {
    /// Names requests with this method (`*` means any) and a path that matches `pattern`: literal
    /// segments, `{name}` for one segment, and `*` at the end for the rest. The pattern `*` matches
    /// any path.
    ///
    /// Paths are compared decoded and case-sensitively.
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
            realtime: false,
            voice: None,
            dialect: None,
        })
    }

    /// Applies the rule only to requests of the dialect with this name.
    pub(crate) fn of_dialect(mut self, name: &'static str) -> Self {
        self.dialect = Some(name);
        self
    }

    /// Requires `scope` of keys that are limited to scopes.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Also allows realtime keys. They need no scope.
    #[must_use]
    pub fn realtime(mut self) -> Self {
        self.realtime = true;
        self
    }

    /// Sets the place of the voice, for keys that are limited to voices.
    #[must_use]
    pub fn with_voice(mut self, voice: Voice) -> Self {
        self.voice = Some(voice);
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

    /// Whether realtime keys are allowed.
    #[must_use]
    pub fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// The place of the voice, if the rule has one.
    #[must_use]
    pub fn voice(&self) -> Option<&Voice> {
        self.voice.as_ref()
    }

    pub(super) fn applies_to(&self, dialect: &str) -> bool {
        self.dialect.is_none_or(|own| own == dialect)
    }

    pub(super) fn names(&self, method: &Method, path: &str) -> bool {
        (*self.method == *"*" || *self.method == *method.as_str()) && matches(&self.pattern, path)
    }

    /// Whether this restricted principal may send a request that this rule names.
    pub(super) fn permits(&self, principal: &Principal, uri: &Uri) -> bool {
        let by_kind = match principal.kind() {
            KeyKind::Standard => self.scope().is_none_or(|scope| principal.has_scope(scope)),
            KeyKind::Realtime => self.realtime,
            _ => false,
        };
        by_kind && (!principal.is_limited_to_voices() || self.permits_voice(principal, uri))
    }

    /// A voice that is not visible could be any voice. Only routes without synthesis need no voice.
    fn permits_voice(&self, principal: &Principal, uri: &Uri) -> bool {
        match &self.voice {
            None => self.scope().is_some_and(|scope| scope != SPEAKING),
            Some(voice) => voice
                .of(&self.pattern, uri)
                .is_some_and(|voice| principal.has_voice(&voice)),
        }
    }
}

impl Voice {
    /// Parses `path:name` or `query:name`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (place, name) = text.split_once(':')?;
        match (place, name) {
            (_, "") => None,
            ("path", name) => Some(Self::Path(name.into())),
            ("query", name) => Some(Self::Query(name.into())),
            _ => None,
        }
    }

    /// Returns the voice of the request. `None` if the request names no voice, or more than one.
    fn of(&self, pattern: &str, uri: &Uri) -> Option<String> {
        let found = match self {
            Self::Path(name) => {
                let segments = pattern.split('/').zip(uri.path().split('/'));
                only(
                    segments
                        .filter(|(own, _)| name_of(own) == Some(name))
                        .map(|(_, is)| is),
                )
            }
            Self::Query(name) => {
                if !names_once(uri.query().unwrap_or_default(), name) {
                    return None;
                }
                let parameters = uri.query().unwrap_or_default().split('&');
                let named = parameters.filter_map(|parameter| parameter.split_once('='));
                only(
                    named
                        .filter(|(own, _)| decoded(own).as_deref() == Some(name))
                        .map(|(_, is)| is),
                )
            }
        };
        decoded(found?)
    }
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

/// Whether a text is `*`, or a method in capitals. Methods are case-sensitive (RFC 9110 §9.1).
fn is_method(text: &str) -> bool {
    text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()))
}

fn only<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    values.next().filter(|_| values.next().is_none())
}

/// Whether only one parameter has this name, in all spellings that a server might accept: another
/// case, white space, brackets, or `;` as the separator.
fn names_once(query: &str, name: &str) -> bool {
    let alike = |parameter: &&str| {
        let given = parameter.split('=').next().unwrap_or_default();
        let given = given.replace('+', " ");
        let given = percent_decode_str(&given).decode_utf8_lossy();
        let given = given.split(['[', '\0']).next().unwrap_or_default();
        given.trim().eq_ignore_ascii_case(name)
    };
    !query.contains(';') && query.split('&').filter(alike).count() == 1
}

fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_in_the_query_must_be_unique_in_every_spelling() {
        let voice = Voice::Query("speaker".into());
        for (query, expected) in [
            ("speaker=a", Some("a")),
            ("x=1&speaker=a", Some("a")),
            ("speaker=a&Speaker=b", None),
            ("speaker=a;speaker=b", None),
            ("speaker=a&speaker[]=b", None),
            ("speaker=a&+speaker=b", None),
            ("speaker=a&speaker%00x=b", None),
            ("speaker=a&speaker", None),
            ("Speaker=a", None),
        ] {
            let uri: Uri = format!("/?{query}").parse().expect("a URI");
            assert_eq!(voice.of("/", &uri).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn a_voice_is_read_from_its_place() {
        let uri: Uri = "/v1/tts/a%20b/stream?x=1&v%6Fice=cove&two=1&two=2"
            .parse()
            .expect("a URI");
        for (voice, expected) in [
            ("path:voice_id", Some("a b")),
            ("path:other", None),
            ("query:voice", Some("cove")),
            ("query:two", None),
            ("query:none", None),
        ] {
            let voice = Voice::parse(voice).expect("a place");
            assert_eq!(voice.to_string().split(':').count(), 2);
            assert_eq!(
                voice.of("/v1/tts/{voice_id}/stream", &uri).as_deref(),
                expected
            );
        }
        for wrong in ["", "path", "path:", "body:voice"] {
            assert_eq!(Voice::parse(wrong), None, "{wrong}");
        }
    }
}
