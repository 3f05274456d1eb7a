//! Who a credential turned out to belong to.

use std::fmt;
use std::sync::Arc;

use crate::request_id::RequestId;

/// Who a credential belongs to: what a [`Verify`](crate::Verify) answers with.
///
/// Cheap to clone. It holds names and rights, never the credential.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Record>);

#[derive(Clone, Debug)]
struct Record {
    id: Box<str>,
    label: Option<Box<str>>,
    kind: KeyKind,
    scopes: Option<Box<[Scope]>>,
    voices: Option<Box<[Box<str>]>>,
}

/// What a key is for. It is fixed when the key is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// For everything that its scopes permit.
    #[default]
    Standard,
    /// For realtime sessions and nothing else.
    Realtime,
}

impl Principal {
    /// A principal that is known by `id`, without a label and **unscoped**: no policy refuses it.
    /// Give it [`scopes`](Self::scopes) to limit what it may do.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::new(Record {
            id: id.into(),
            label: None,
            kind: KeyKind::Standard,
            scopes: None,
            voices: None,
        }))
    }

    /// Adds a label for people, such as `"IVR, production"`.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        Arc::make_mut(&mut self.0).label = Some(label.into());
        self
    }

    /// Limits the principal to these scopes. An empty list permits nothing.
    #[must_use]
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Arc::make_mut(&mut self.0).scopes = Some(scopes.into_iter().collect());
        self
    }

    /// Sets what the key is for.
    #[must_use]
    pub fn kind(mut self, kind: KeyKind) -> Self {
        Arc::make_mut(&mut self.0).kind = kind;
        self
    }

    /// Limits the principal to these voices, on the routes whose rule names where the voice is.
    /// A `*` at the end stands for any rest. An empty list permits none.
    #[must_use]
    pub fn voices<T: AsRef<str>>(mut self, voices: impl IntoIterator<Item = T>) -> Self {
        let voices = voices.into_iter().map(|voice| voice.as_ref().into());
        Arc::make_mut(&mut self.0).voices = Some(voices.collect());
        self
    }

    /// The identifier that stands in audit records: the key id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The label for people, if there is one.
    #[must_use]
    pub fn display_label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The scopes it is limited to, or `None` when it is unscoped.
    #[must_use]
    pub fn granted(&self) -> Option<&[Scope]> {
        self.0.scopes.as_deref()
    }

    /// What the key is for.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        self.0.kind
    }

    /// Whether nothing limits it: neither scopes, nor voices, nor its kind.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.0.scopes.is_none() && !self.is_limited_to_voices() && self.0.kind == KeyKind::Standard
    }

    /// Whether it is limited to some voices.
    #[must_use]
    pub fn is_limited_to_voices(&self) -> bool {
        self.0.voices.is_some()
    }

    /// Whether it may speak with this voice.
    #[must_use]
    pub fn has_voice(&self, voice: &str) -> bool {
        self.0.voices.as_deref().is_none_or(|voices| {
            voices.iter().any(|own| match own.strip_suffix('*') {
                // What stands for `*` is a name, and not the beginning of something else.
                Some(start) => voice.strip_prefix(start).is_some_and(is_plain),
                None => **own == *voice,
            })
        })
    }

    /// Whether it may do what `scope` names.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.granted()
            .is_none_or(|granted| granted.iter().any(|own| own.as_str() == scope))
    }
}

fn is_plain(rest: &str) -> bool {
    !rest.contains(|letter: char| letter.is_control() || ";?#&/\\%=".contains(letter))
}

/// A right by name, such as `tts:synthesize`: an RFC 6749 §3.3 scope token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// Reads a scope token: visible ASCII without space, `"` and `\`. `None` for anything else.
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

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a caller came to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The caller presented a credential, and it was verified.
    ApiKey,
    /// A deployment key is preconfigured, and the caller's credential was not looked at.
    DeploymentKey,
    /// The operator has opened this very method and path to everybody.
    Public,
}

impl AuthMethod {
    /// The name that stands in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::DeploymentKey => "deployment_key",
            Self::Public => "public",
        }
    }
}

/// The principal of an accepted request, as a handler sees it.
///
/// Only the layer makes one, so that whoever holds a `Caller` knows that the layer ran and let
/// the request in. It travels in the request's extensions; with the `axum` feature it is an
/// extractor.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    method: AuthMethod,
    request_id: RequestId,
}

impl Caller {
    pub(crate) fn new(principal: Principal, method: AuthMethod, request_id: RequestId) -> Self {
        Self {
            principal,
            method,
            request_id,
        }
    }

    /// The key id; `deployment` when a deployment key is preconfigured, `public` on a public route.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.principal.id()
    }

    /// Who the caller is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// How the caller came to be accepted.
    #[must_use]
    pub fn auth_method(&self) -> AuthMethod {
        self.method
    }

    /// The identifier of this request in the audit trail.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unscoped_may_everything_and_an_empty_list_nothing() {
        let unscoped = Principal::new("a");
        assert!(unscoped.has_scope("tts:synthesize"));
        let nothing = unscoped.clone().scopes([]);
        assert!(!nothing.has_scope("tts:synthesize"));
        let one = unscoped.scopes(Scope::new("tts:synthesize"));
        assert!(one.has_scope("tts:synthesize"));
        assert!(!one.has_scope("tts:synthesize2"));
    }

    #[test]
    fn voices_are_named_or_begun() {
        let anyone = Principal::new("a");
        assert!(anyone.has_voice("x") && anyone.is_unlimited());
        let some = anyone.voices(["cove", "team-*"]);
        assert!(!some.is_unlimited());
        for (voice, expected) in [
            ("cove", true),
            ("cove2", false),
            ("team-", true),
            ("team-a", true),
            ("team", false),
            ("", false),
            ("team-x;other", false),
            ("team-x?voice=other", false),
            ("team-x\0", false),
        ] {
            assert_eq!(some.has_voice(voice), expected, "{voice}");
        }
    }

    #[test]
    fn scope_tokens_follow_rfc_6749() {
        for bad in ["", "a b", "a\"", "a\\", "é", "a\n"] {
            assert!(Scope::new(bad).is_none(), "{bad:?}");
        }
        assert!(Scope::new("voices:read").is_some());
    }
}
