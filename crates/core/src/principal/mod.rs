//! The principal: the owner of a credential, with its rights, limits and validity.

mod account;
mod change_note;
mod rights;
mod scope;
mod speech;
mod token;
mod validity;

use std::hash::{Hash as _, Hasher};
use std::mem::take;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::network::Network;
use crate::secret::Digest;
use voxgate_limits::{Limits, Quota};

pub use self::account::Account;
pub use self::change_note::ChangeNote;
#[doc(hidden)]
pub use self::rights::{changed_rights, rights};
pub use self::scope::{InvalidScope, Scope};
pub use self::speech::{SpeechRights, voice_covers};
pub use self::token::TokenIdentity;
pub use self::validity::{KeyState, Validity};

/// The owner of a credential. A `Verify` implementation returns it.
///
/// Cheap to clone. It contains names and rights, never the credential.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Record>);

/// A million of these must fit into memory, so that rarely used fields are in [`Details`].
#[derive(Clone, Debug)]
struct Record {
    id: Arc<str>,
    /// The digest by which a key ring finds the principal again.
    credential: Option<Digest>,
    validity: Validity,
    disabled: bool,
    kind: KeyKind,
    details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Details {
    label: Option<Box<str>>,
    scopes: Option<Box<[Scope]>>,
    speech: SpeechRights,
    labels: Box<[(Box<str>, Box<str>)]>,
    limits: Limits,
    quotas: Box<[Quota]>,
    account: Option<Arc<Account>>,
    /// `None` for any address.
    allow_from: Option<Box<[Network]>>,
    change: Option<Box<ChangeNote>>,
    token: Option<TokenIdentity>,
}

/// The kind of a key. It is set when the key is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// Allows every request that its scopes permit.
    #[default]
    Standard,
    /// Allows only realtime sessions.
    Realtime,
}

impl KeyKind {
    /// The name in keys files and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Realtime => "realtime",
        }
    }
}

impl Principal {
    /// A principal with this id, without a label and **without scopes**: no policy refuses it. Add
    /// [scopes](Self::with_scopes) to restrict it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::new(Record {
            id: id.into(),
            credential: None,
            validity: Validity::default(),
            disabled: false,
            kind: KeyKind::Standard,
            details: None,
        }))
    }

    /// Adds a label for people, such as `"IVR, production"`.
    #[must_use]
    pub fn with_label(self, label: &str) -> Self {
        self.with(|details| details.label = Some(label.into()))
    }

    /// Limits the principal to these scopes, given as `&str` or [`Scope`]. An empty list permits no
    /// request.
    ///
    /// # Panics
    ///
    /// If a text is not a scope token (RFC 6749 §3.3). Use [`Scope::new`] for text that is not a
    /// constant of the program.
    #[must_use]
    pub fn with_scopes<T: TryInto<Scope>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        let scope = |text: T| {
            let scope = text.try_into();
            scope.unwrap_or_else(|_| panic!("a scope is not a scope token of RFC 6749 §3.3"))
        };
        self.with(|details| details.scopes = Some(scopes.into_iter().map(scope).collect()))
    }

    /// Sets the kind of the key.
    #[must_use]
    pub fn with_kind(mut self, kind: KeyKind) -> Self {
        Arc::make_mut(&mut self.0).kind = kind;
        self
    }

    /// Limits the principal to these voices, on routes whose rule names the place of the voice. A
    /// `*` at the end matches any suffix. An empty list permits no voice.
    #[must_use]
    pub fn with_voices<T: AsRef<str>>(self, voices: impl IntoIterator<Item = T>) -> Self {
        self.with(|details| details.speech = take(&mut details.speech).with_voices(voices))
    }

    /// Limits the principal to these models, on routes whose rule names the place of the model. A
    /// `*` at the end matches any suffix. An empty list permits no model.
    #[must_use]
    pub fn with_models<T: AsRef<str>>(self, models: impl IntoIterator<Item = T>) -> Self {
        self.with(|details| details.speech = take(&mut details.speech).with_models(models))
    }

    /// Limits the principal to these languages, on routes whose rule names the place of the
    /// language. A `*` at the end matches any suffix. An empty list permits no language.
    #[must_use]
    pub fn with_languages<T: AsRef<str>>(self, languages: impl IntoIterator<Item = T>) -> Self {
        self.with(|details| details.speech = take(&mut details.speech).with_languages(languages))
    }

    /// Sets when the key is valid. The layer refuses it at any other time, whichever verifier found
    /// it.
    #[must_use]
    pub fn with_validity(mut self, validity: Validity) -> Self {
        Arc::make_mut(&mut self.0).validity = validity;
        self
    }

    /// Says who changed the key last, and why.
    #[must_use]
    pub fn with_change_note(self, by: Option<&str>, reason: Option<&str>) -> Self {
        let (by, reason) = (by.map(Into::into), reason.map(Into::into));
        self.with(|details| details.change = Some(Box::new(ChangeNote { by, reason })))
    }

    /// Who changed the key last, and why, if its keys file says.
    #[must_use]
    pub fn change_note(&self) -> Option<&ChangeNote> {
        self.details()?.change.as_deref()
    }

    /// Adds names and values for attribution, such as `team` and `ivr`.
    #[must_use]
    pub fn with_labels<N: AsRef<str>, T: AsRef<str>>(
        self,
        labels: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let labels = labels.into_iter();
        let labels = labels.map(|(name, value)| (name.as_ref().into(), value.as_ref().into()));
        self.with(|details| details.labels = labels.collect())
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.with(|details| details.limits = limits)
    }

    /// Sets the quotas.
    #[must_use]
    pub fn with_quotas(self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        self.with(|details| details.quotas = quotas.into_iter().collect())
    }

    /// Adds the principal to an account, whose keys share limits.
    #[must_use]
    pub fn with_account(self, account: Arc<Account>) -> Self {
        self.with(|details| details.account = Some(account))
    }

    /// Limits the principal to clients with addresses in these networks. An empty list permits no
    /// client.
    #[must_use]
    pub fn with_allow_from(self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.with(|details| details.allow_from = Some(networks.into_iter().collect()))
    }

    /// Sets the token by which the principal is known, if its credential was one and not a key.
    #[must_use]
    pub fn with_token(self, token: TokenIdentity) -> Self {
        self.with(|details| details.token = Some(token))
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        change(Arc::make_mut(&mut self.0).details.get_or_insert_default());
        self
    }

    /// The key id, which audit records contain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The identifier, for a type that keeps it.
    #[doc(hidden)]
    #[must_use]
    pub fn shared_id(&self) -> Arc<str> {
        self.0.id.clone()
    }

    /// The label for people, if there is one.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.details()?.label.as_deref()
    }

    /// The scopes, or `None` if the principal is not limited to scopes.
    #[must_use]
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.details()?.scopes.as_deref()
    }

    /// The kind of the key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }

    /// The validity of the key.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.0.validity
    }

    /// The state of the key at this time.
    #[must_use]
    pub fn state(&self, now: SystemTime) -> KeyState {
        // Both are asked, so that a disabled key takes as long as one that counts.
        let by_time = self.0.validity.state(now);
        match self.0.disabled {
            true => KeyState::Disabled,
            false => by_time,
        }
    }

    /// Names and values for attribution, in the order in which they were given.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.details().map_or(&[][..], |details| &details.labels);
        labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.details()
            .map_or_else(Limits::default, |details| details.limits)
    }

    /// The quotas.
    #[must_use]
    pub fn quotas(&self) -> &[Quota] {
        self.details().map_or(&[], |details| &details.quotas)
    }

    /// Whether the principal or its account has a quota.
    #[must_use]
    pub fn has_quotas(&self) -> bool {
        let account = self.account().map_or(&[][..], |account| account.quotas());
        !self.quotas().is_empty() || !account.is_empty()
    }

    /// The account, if there is one.
    #[must_use]
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.details()?.account.as_ref()
    }

    /// The token by which the principal is known; `None` if its credential was a key.
    #[must_use]
    pub fn token(&self) -> Option<&TokenIdentity> {
        self.details()?.token.as_ref()
    }

    fn details(&self) -> Option<&Details> {
        self.0.details.as_deref()
    }

    /// Whether the principal has no restrictions: neither scopes, nor voices, models or languages,
    /// nor a realtime kind.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        let mut rights = self.speech_rights();
        self.scopes().is_none()
            && rights.all(SpeechRights::is_unlimited)
            && self.0.kind == KeyKind::Standard
    }

    /// The key's own limits of what may be spoken, and its account's.
    fn speech_rights(&self) -> impl Iterator<Item = &SpeechRights> {
        let details = self.details().into_iter();
        details.flat_map(|details| {
            let account = details.account.iter().map(|account| account.speech());
            std::iter::once(&details.speech).chain(account)
        })
    }

    /// Whether the principal is limited to voices, by itself or by its account.
    #[must_use]
    pub fn is_limited_to_voices(&self) -> bool {
        self.speech_rights().any(|rights| rights.voices().is_some())
    }

    /// Whether the principal is limited to models, by itself or by its account.
    #[must_use]
    pub fn is_limited_to_models(&self) -> bool {
        self.speech_rights().any(|rights| rights.models().is_some())
    }

    /// Whether the principal is limited to languages, by itself or by its account.
    #[must_use]
    pub fn is_limited_to_languages(&self) -> bool {
        self.speech_rights()
            .any(|rights| rights.languages().is_some())
    }

    /// The voices, or `None` if the principal itself is not limited to voices.
    #[must_use]
    pub fn voices(&self) -> Option<&[Box<str>]> {
        self.details()?.speech.voices()
    }

    /// The models, or `None` if the principal itself is not limited to models.
    #[must_use]
    pub fn models(&self) -> Option<&[Box<str>]> {
        self.details()?.speech.models()
    }

    /// The languages, or `None` if the principal itself is not limited to languages.
    #[must_use]
    pub fn languages(&self) -> Option<&[Box<str>]> {
        self.details()?.speech.languages()
    }

    /// Whether the principal may use this voice.
    #[must_use]
    pub fn has_voice(&self, voice: &str) -> bool {
        self.speech_rights().all(|rights| rights.has_voice(voice))
    }

    /// Whether the principal may use this model.
    #[must_use]
    pub fn has_model(&self, model: &str) -> bool {
        self.speech_rights().all(|rights| rights.has_model(model))
    }

    /// Whether the principal may use this language.
    #[must_use]
    pub fn has_language(&self, language: &str) -> bool {
        let mut rights = self.speech_rights();
        rights.all(|rights| rights.has_language(language))
    }

    /// The networks, or `None` if the principal is not limited to networks.
    #[must_use]
    pub fn allow_from(&self) -> Option<&[Network]> {
        self.details()?.allow_from.as_deref()
    }

    /// Whether a client with this address may use the credential. A client whose address is not known
    /// may not if the principal is limited to networks.
    #[must_use]
    pub fn allows_from(&self, client: Option<IpAddr>) -> bool {
        let Some(networks) = self.allow_from() else {
            return true;
        };
        client.is_some_and(|client| networks.iter().any(|network| network.contains(client)))
    }

    /// Whether the principal has this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes()
            .is_none_or(|granted| granted.iter().any(|own| own.as_str() == scope))
    }

    /// Whether the principal has fewer rights than `before`, or another id. `before` may be the
    /// principal of a token, whose rights are a part of those of its key.
    #[must_use]
    pub fn may_less_than(&self, before: &Self) -> bool {
        let lost_scope = self.scopes().is_some_and(|now| {
            let before = before.scopes();
            before.is_none_or(|before| before.iter().any(|scope| !now.contains(scope)))
        });
        let none = SpeechRights::default();
        let own = |principal: &'_ Self| {
            let details = principal.details();
            details.map_or_else(SpeechRights::default, |details| details.speech.clone())
        };
        let of_account = |principal: &'_ Self| {
            let account = principal.account();
            account.map_or_else(|| none.clone(), |account| account.speech().clone())
        };
        let lost_speech = own(self).permits_less_than(&own(before))
            || of_account(self).permits_less_than(&of_account(before));
        let lost_network = self.allow_from().is_some_and(|now| {
            let is_covered = |network| now.iter().any(|own| own.covers(network));
            let before = before.allow_from();
            before.is_none_or(|before| !before.iter().all(is_covered))
        });
        let lost_kind = self.0.kind == KeyKind::Realtime && before.0.kind != self.0.kind;
        self.id() != before.id() || lost_network || lost_kind || lost_scope || lost_speech
    }

    /// The current state. Reads the clock only if the validity is bounded.
    #[doc(hidden)]
    #[must_use]
    pub fn current_state(&self) -> KeyState {
        self.state(SystemTime::now())
    }

    #[doc(hidden)]
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        Arc::make_mut(&mut self.0).disabled = disabled;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub fn known_by(mut self, credential: Digest) -> Self {
        Arc::make_mut(&mut self.0).credential = Some(credential);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub fn credential(&self) -> Option<&Digest> {
        self.0.credential.as_ref()
    }

    /// Whether everything except the credential is equal.
    #[doc(hidden)]
    #[must_use]
    pub fn has_rights_of(&self, other: &Self) -> bool {
        let rights = |record: &Record| (record.validity, record.disabled, record.kind);
        let (own, its) = (&*self.0, &*other.0);
        own.id == its.id && rights(own) == rights(its) && own.details == its.details
    }

    /// Hashes everything except the credential into `state`.
    #[doc(hidden)]
    pub fn hash_rights(&self, state: &mut impl Hasher) {
        let Record {
            id,
            credential: _,
            validity,
            disabled,
            kind,
            details,
        } = &*self.0;
        (id, validity, disabled, kind, details).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scopes_allow_everything_and_an_empty_list_allows_nothing() {
        let unscoped = Principal::new("a");
        assert!(unscoped.has_scope("tts:synthesize"));
        let nothing = unscoped.clone().with_scopes::<Scope>([]);
        assert!(!nothing.has_scope("tts:synthesize"));
        let one = unscoped.with_scopes(Scope::new("tts:synthesize"));
        assert!(one.has_scope("tts:synthesize"));
        assert!(!one.has_scope("tts:synthesize2"));
    }

    #[test]
    fn lost_rights_are_detected() {
        let scoped = |names: &[&str]| {
            let scopes = names.iter().filter_map(|name| Scope::new(name));
            Principal::new("a").with_scopes(scopes)
        };
        let anything = Principal::new("a");
        let from = |networks: &[&str]| {
            let networks = networks
                .iter()
                .map(|text| Network::parse(text).expect("a network"));
            Principal::new("a").with_allow_from(networks)
        };
        let of_account = |voices: &[&str]| {
            let account = Account::new("acme", Limits::default());
            let rights = SpeechRights::default().with_voices(voices);
            Principal::new("a").with_account(Arc::new(account.with_speech(rights)))
        };
        for (now, before, less) in [
            (&anything, &scoped(&["x"]), false),
            (&scoped(&["x", "y"]), &scoped(&["x"]), false),
            (&scoped(&["x"]), &scoped(&["x", "y"]), true),
            (&scoped(&["x"]), &anything, true),
            (&scoped(&[]), &anything, true),
            (&anything.clone().with_voices(["a"]), &anything, true),
            (&anything.clone().with_models(["a"]), &anything, true),
            (&anything.clone().with_languages(["a"]), &anything, true),
            (&of_account(&["a"]), &anything, true),
            (&of_account(&["a"]), &of_account(&["a", "b"]), true),
            (&of_account(&["a", "b"]), &of_account(&["a"]), false),
            (&anything.clone().with_label("new"), &anything, false),
            (
                &anything.clone().with_kind(KeyKind::Realtime),
                &anything,
                true,
            ),
            (&from(&["10.0.0.0/8"]), &anything, true),
            (&from(&["10.0.0.0/8"]), &from(&["10.1.0.0/16"]), false),
            (&from(&["10.1.0.0/16"]), &from(&["10.0.0.0/8"]), true),
            (&from(&["10.0.0.0/8"]), &from(&["10.0.0.0/8", "::1"]), true),
            (&anything, &from(&["10.0.0.0/8"]), false),
            (&Principal::new("b"), &anything, true),
            // The principals of tokens have a part of the rights of their key.
            (
                &anything,
                &anything.clone().with_kind(KeyKind::Realtime),
                false,
            ),
            (
                &anything.clone().with_voices(["team-*"]),
                &anything.clone().with_voices(["team-a", "team-b*"]),
                false,
            ),
            (
                &anything.clone().with_voices(["team-a"]),
                &anything.clone().with_voices(["team-*"]),
                true,
            ),
            (
                &anything.clone().with_voices(["team-*"]),
                &anything.clone().with_voices(["team-a;b"]),
                true,
            ),
        ] {
            assert_eq!(now.may_less_than(before), less, "{now:?} {before:?}");
        }
    }

    #[test]
    fn a_client_without_an_address_is_in_no_network() {
        let address = |text: &str| text.parse().ok();
        let anywhere = Principal::new("a");
        assert!(anywhere.allows_from(None) && anywhere.allows_from(address("192.0.2.1")));
        let network = Network::parse("192.0.2.0/24").expect("a network");
        let limited = anywhere.clone().with_allow_from([network]);
        assert!(limited.allows_from(address("192.0.2.1")));
        assert!(limited.allows_from(address("::ffff:192.0.2.1")));
        assert!(!limited.allows_from(address("198.51.100.1")) && !limited.allows_from(None));
        assert!(
            !anywhere
                .with_allow_from([])
                .allows_from(address("192.0.2.1"))
        );
        // No policy is needed for it.
        assert!(limited.is_unlimited());
    }

    #[test]
    fn a_key_has_what_both_it_and_its_account_permit() {
        let rights = SpeechRights::default()
            .with_voices(["cove", "astra"])
            .with_languages(["en-*"]);
        let account = Account::new("acme", Limits::default()).with_speech(rights);
        let key = Principal::new("a").with_account(Arc::new(account));
        assert!(!key.is_unlimited() && key.is_limited_to_voices());
        assert!(!key.is_limited_to_models() && key.has_model("any"));
        assert!(key.has_voice("cove") && !key.has_voice("other"));
        assert!(key.has_language("EN-us") && !key.has_language("de-DE"));
        let less = key.with_voices(["cove", "other"]).with_models(["m"]);
        assert!(less.has_voice("cove") && !less.has_voice("astra") && !less.has_voice("other"));
        assert!(less.has_model("m") && !less.has_model("n"));
    }

    #[test]
    fn voices_match_by_name_or_prefix() {
        let anyone = Principal::new("a");
        assert!(anyone.has_voice("x") && anyone.is_unlimited());
        let some = anyone.with_voices(["cove", "team-*"]);
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
            ("team-x+other", false),
        ] {
            assert_eq!(some.has_voice(voice), expected, "{voice}");
        }
    }
}
