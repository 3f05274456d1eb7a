//! The policy: the scope that each request requires.

mod file;
mod pattern;
mod rule;
mod shared;

use std::path::Path;

use http::{Method, Request};
use voxgate_core::denial::DenialKind;
use voxgate_core::error::ConfigError;

use crate::principal::Principal;

pub(crate) use self::pattern::Specificity;
pub use self::rule::{InvalidRule, Rule};
pub use self::shared::{PolicyChange, SharedPolicy};
pub(crate) use self::shared::{PolicyInForce, seen, with_rules_of};
pub use voxgate_speech::Place;

/// Maps a method and path to the scope that the request requires, and lists public routes.
///
/// A policy does not restrict a principal without restrictions. A principal with scopes, voices or
/// a kind may send only requests that a rule names: **a request that no rule names is refused**.
/// The exception are rules with an explicit scope ([`Rule::with_explicit_scope`]), which every
/// principal needs.
/// Under an empty policy, every request of such a principal is refused. The first rule that names a
/// request decides.
///
/// ```
/// use voxgate::Policy;
///
/// // One scope for the whole service:
/// let whole = Policy::default().require("tts:synthesize");
/// // Or by route:
/// let by_route = Policy::default()
///     .route("POST", "/v1/rime-tts", "tts:synthesize")
///     .route("GET", "/data/voices/*", "voices:read");
/// # let _ = (whole, by_route);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Where in `rules` those are that require a scope of every principal.
    explicit: Vec<usize>,
    public: Vec<(Box<str>, Box<str>)>,
    /// The SHA-256 of the file that was loaded last.
    file: Option<Box<str>>,
}

impl Policy {
    /// Requires `scope` for every request that no earlier rule names.
    #[must_use]
    pub fn require(self, scope: &str) -> Self {
        self.route("*", "*", scope)
    }

    /// Requires `scope` for the requests that [`Rule::new`] names by `method` and `pattern`.
    ///
    /// # Panics
    ///
    /// As [`Rule::new`] does.
    #[must_use]
    pub fn route(self, method: &str, pattern: &str, scope: &str) -> Self {
        self.rule(Rule::new(method, pattern).with_scope(scope))
    }

    /// Adds a rule after the existing rules.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        if rule.is_explicit() {
            self.explicit.push(self.rules.len());
        }
        self.rules.push(rule);
        self
    }

    pub(crate) fn insert_first(&mut self, rule: Rule) {
        self.rules.insert(0, rule);
        self.find_explicit();
    }

    /// Lets keys without scopes, and realtime keys, ask for tokens in the vendors' APIs: for a server
    /// that makes these tokens itself, and does not forward the requests.
    ///
    /// Without it, the rules of a dialect require the scope `tokens:mint` of every key: the server
    /// behind would make a token whose rights are not those of the key.
    #[must_use]
    pub fn with_minting(mut self) -> Self {
        self.rules.iter_mut().for_each(Rule::open_minting);
        self.find_explicit();
        self
    }

    fn find_explicit(&mut self) {
        let rules = self.rules.iter().enumerate();
        let explicit = rules.filter(|(_, rule)| rule.is_explicit());
        self.explicit = explicit.map(|(at, _)| at).collect();
    }

    /// Adds the rules of a policy file before the existing rules:
    ///
    /// ```toml
    /// [[rule]]
    /// method = "POST"                          # or "*"
    /// path = "/v1/text-to-speech/{voice_id}"   # {name} is one segment, * at the end the rest
    /// scope = "tts:synthesize"                 # without it, every standard key is allowed
    /// explicit = false                         # whether keys without scopes are refused; optional
    /// voice = "path:voice_id"                  # or "json:/voice", "query:name", or a list; optional
    /// model = "json:/model"                    # as voice, as are language and text; optional
    /// realtime = false                         # whether realtime keys are allowed; optional
    ///
    /// [rest]                                   # requests that no rule names; optional
    /// scope = "admin:server"
    /// explicit = true
    /// ```
    ///
    /// The rule `[rest]` comes after the existing rules.
    ///
    /// # Errors
    ///
    /// All problems of the file, each with its line.
    pub fn load(mut self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let file::PolicyFile {
            mut rules,
            rest,
            sha256,
        } = file::load(path.as_ref())?;
        self.file = Some(sha256.into());
        rules.append(&mut self.rules);
        rules.extend(rest);
        self.rules = rules;
        self.find_explicit();
        Ok(self)
    }

    /// Makes exactly this method and path public: no credential is required. `GET` includes `HEAD`. Only
    /// a path for `OPTIONS` may end in `/*`, which stands for any rest. A request for an upgrade still
    /// needs a credential.
    #[must_use]
    pub fn public(mut self, method: &str, path: &str) -> Self {
        self.public.push((method.into(), path.into()));
        self
    }

    /// The rules, in the order in which they are checked.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The SHA-256 of the policy file that was [loaded](Self::load) last, in hexadecimal digits.
    #[must_use]
    pub fn file_digest(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The public methods and paths.
    pub fn public_routes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.public
            .iter()
            .map(|(method, path)| (&**method, &**path))
    }

    /// The first rule that names this request, or `None` if no rule names it. With the dialect
    /// `auto`, the first rule of the request's vendor decides.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.names(method, path))
    }

    /// The specificity of the most specific rule that names the request.
    pub(crate) fn specificity(&self, method: &Method, path: &str) -> Option<Specificity> {
        let naming = self.rules.iter().filter(|rule| rule.names(method, path));
        naming.map(|rule| Specificity::of(rule.pattern())).max()
    }

    pub(crate) fn is_public(&self, method: &Method, path: &str) -> bool {
        // `HEAD` asks for less than `GET` (RFC 9110 §9.3.2).
        let is = |own: &str| own == method.as_str() || (method == Method::HEAD && own == "GET");
        let mut routes = self.public_routes();
        let is_tree = |open: &str| {
            method == Method::OPTIONS && open.ends_with("/*") && pattern::matches(open, path)
        };
        routes.any(|(own, open)| is(own) && (open == path || is_tree(open)))
    }

    /// Whether this principal may send this request. `reads_bodies` says that names in its body or
    /// its messages are checked later.
    pub(crate) fn authorize<B>(
        &self,
        principal: &Principal,
        request: &Request<B>,
        dialect: &str,
        reads_bodies: bool,
    ) -> Result<(), DenialKind> {
        if principal.is_unlimited() {
            if !self.names_explicitly(request.method(), request.uri().path()) {
                return Ok(());
            }
            let rule = self.rule_of(request, dialect);
            return match rule.is_none_or(|rule| rule.permits_explicitly(principal)) {
                true => Ok(()),
                false => Err(DenialKind::InsufficientScope),
            };
        }
        match self.rule_of(request, dialect) {
            Some(rule) => rule.permits(principal, request, reads_bodies),
            None => Err(DenialKind::NoRule),
        }
    }

    /// The rule that decides about this request.
    pub(crate) fn rule_of<B>(&self, request: &Request<B>, dialect: &str) -> Option<&Rule> {
        self.rule_for(request.method(), request.uri().path(), dialect)
    }

    /// Whether a rule that names this request requires a scope of every principal. A rule before it
    /// may decide instead.
    pub(crate) fn names_explicitly(&self, method: &Method, path: &str) -> bool {
        let mut rules = self.explicit.iter().map(|at| &self.rules[*at]);
        rules.any(|rule| rule.names(method, path))
    }

    /// Whether a path with encoded slashes may be judged as it is written: a rule names it, and the
    /// path with these slashes decoded is not named by a rule with other requirements. Servers
    /// differ in whether they decode slashes before they look for a route.
    pub(crate) fn allows_encoded_slashes(
        &self,
        method: &Method,
        path: &str,
        dialect: &str,
    ) -> bool {
        let Some(rule) = self.rule_for(method, path, dialect) else {
            return false;
        };
        let decoded = pattern::with_decoded_slashes(path);
        let other = self.rule_for(method, &decoded, dialect);
        other.is_none_or(|other| other.requires_the_same_as(rule))
    }

    fn rule_for(&self, method: &Method, path: &str, dialect: &str) -> Option<&Rule> {
        let names = |rule: &&Rule| rule.applies_to(dialect) && rule.names(method, path);
        self.rules.iter().find(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::{KeyKind, Scope};

    fn may(policy: &Policy, principal: &Principal, method: &str, uri: &str) -> bool {
        decide(policy, principal, method, uri).is_ok()
    }

    fn decide(
        policy: &Policy,
        principal: &Principal,
        method: &str,
        uri: &str,
    ) -> Result<(), DenialKind> {
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(()).expect("a request");
        policy.authorize(principal, &request, "bearer", false)
    }

    #[test]
    fn a_scoped_principal_may_send_only_requests_that_a_rule_names() {
        let policy = Policy::default()
            .route("POST", "/v1/rime-tts", "tts:synthesize")
            .route("*", "/open", "other");
        let speaker = Principal::new("a").with_scopes(Scope::new("tts:synthesize"));
        assert!(may(&policy, &speaker, "POST", "/v1/rime-tts"));
        assert!(may(&policy, &speaker, "POST", "/v1/rime%2Dtts?x"));
        assert!(!may(&policy, &speaker, "GET", "/v1/rime-tts"));
        assert!(!may(&policy, &speaker, "GET", "/open"));
        assert!(!may(&policy, &speaker, "GET", "/unnamed"));
        assert!(may(&policy, &Principal::new("b"), "GET", "/unnamed"));
    }

    #[test]
    fn an_empty_policy_refuses_every_restricted_principal() {
        let empty = Policy::default();
        let anyone = || Principal::new("a");
        assert!(!may(
            &empty,
            &anyone().with_scopes(Scope::new("tts:synthesize")),
            "GET",
            "/"
        ));
        assert!(!may(&empty, &anyone().with_voices(["*"]), "GET", "/"));
        assert!(!may(
            &empty,
            &anyone().with_kind(KeyKind::Realtime),
            "GET",
            "/"
        ));
    }

    #[test]
    fn an_explicit_scope_is_required_of_every_principal() {
        let policy = Policy::default()
            .rule(Rule::new("POST", "/restart").with_explicit_scope("admin:server"))
            .rule(Rule::new("*", "/live/*").realtime())
            .require("tts:synthesize");
        let key = || Principal::new("a");
        for (principal, expected) in [
            (key(), false),
            (key().with_voices(["*"]), false),
            (key().with_kind(KeyKind::Realtime), false),
            (key().with_scopes(Scope::new("tts:synthesize")), false),
            (key().with_scopes(Scope::new("admin:server")), true),
        ] {
            let may = may(&policy, &principal, "POST", "/restart");
            assert_eq!(may, expected, "{principal:?}");
        }
        assert!(may(&policy, &key(), "POST", "/other"), "not restricted");
    }

    #[test]
    fn an_encoded_slash_needs_a_rule_that_allows_it() {
        let policy = Policy::default()
            .route("GET", "/v1/models/{model%2F}", "models:read")
            .rule(Rule::new("*", "/v1/models/{id}/load").with_explicit_scope("admin:models"))
            .route("GET", "/v1/models/*", "models:read");
        for (method, path, expected) in [
            ("GET", "/v1/models/org%2Fmodel", true),
            ("GET", "/v1/models/org%2fmodel", true),
            ("POST", "/v1/models/org%2Fmodel", false),
            ("GET", "/v1/voices/org%2Fmodel", false),
            ("GET", "/v1/models%2Forg", false),
            // A server that decodes the slash first would load the model.
            ("GET", "/v1/models/org%2Fload", false),
            ("GET", "/v1/models/org%2f%6coad", false),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let allowed = policy.allows_encoded_slashes(&method, path, "bearer");
            assert_eq!(allowed, expected, "{method} {path}");
        }
        let unnamed = Policy::default().route("GET", "/v1/models/{model%2F}", "models:read");
        assert!(unnamed.allows_encoded_slashes(&Method::GET, "/v1/models/a%2Fb", "bearer"));
    }

    #[test]
    fn one_scope_can_stand_for_the_whole_service() {
        let policy = Policy::default().require("tts:synthesize");
        let speaker = Principal::new("a").with_scopes(Scope::new("tts:synthesize"));
        let reader = Principal::new("b").with_scopes(Scope::new("voices:read"));
        assert!(may(&policy, &speaker, "GET", "/any"));
        assert!(!may(&policy, &reader, "GET", "/any"));
    }

    #[test]
    fn a_realtime_key_opens_only_realtime_sessions() {
        let policy = Policy::default()
            .rule(Rule::new("GET", "/session").realtime())
            .rule(Rule::new("POST", "/tts"));
        let realtime = Principal::new("a").with_kind(KeyKind::Realtime);
        assert!(may(&policy, &realtime, "GET", "/session"));
        assert!(!may(&policy, &realtime, "POST", "/tts"));
        assert!(!may(&policy, &realtime, "GET", "/unnamed"));
        let nothing = Principal::new("b").with_scopes::<Scope>([]);
        assert!(
            may(&policy, &nothing, "POST", "/tts"),
            "the rule requires no scope"
        );
    }

    #[test]
    fn a_key_with_voices_may_use_only_these_voices() {
        let voice = |place: &str| Place::parse(place).expect("a place");
        let tts = |path: &str| Rule::new("POST", path).with_scope("tts:synthesize");
        let policy = Policy::default()
            .rule(tts("/tts/{voice_id}").with_voice(voice("path:voice_id")))
            .rule(tts("/query").with_voice(voice("query:voice")))
            .rule(tts("/body"))
            .route("GET", "/voices", "voices:read");
        let some = Principal::new("a").with_voices(["cove", "team-*"]);
        let (refused, unseen) = (DenialKind::VoiceNotAllowed, DenialKind::VoiceNotSeen);
        for (method, uri, expected) in [
            ("POST", "/tts/cove", Ok(())),
            ("POST", "/tts/c%6Fve", Ok(())),
            ("POST", "/tts/other", Err(refused)),
            ("POST", "/tts/%ff", Err(unseen)),
            ("POST", "/tts/team-x", Ok(())),
            ("POST", "/query?voice=cove", Ok(())),
            ("POST", "/query?voice=other", Err(refused)),
            ("POST", "/query?voice=cove&voice=other", Err(unseen)),
            ("POST", "/query?voice=", Err(unseen)),
            ("POST", "/query", Err(unseen)),
            // The voice in a body is not visible here.
            ("POST", "/body", Err(unseen)),
            ("GET", "/voices", Ok(())),
            ("GET", "/unnamed", Err(DenialKind::NoRule)),
        ] {
            assert_eq!(
                decide(&policy, &some, method, uri),
                expected,
                "{method} {uri}"
            );
        }
        let scoped = some.with_scopes(Scope::new("voices:read"));
        assert!(!may(&policy, &scoped, "POST", "/tts/cove"));
    }

    #[test]
    fn public_routes_match_exactly() {
        let policy = Policy::default().public("GET", "/health");
        assert!(policy.is_public(&Method::GET, "/health"));
        assert!(policy.is_public(&Method::HEAD, "/health"));
        let post = Policy::default().public("POST", "/health");
        assert!(!post.is_public(&Method::HEAD, "/health"));
        for (method, path) in [
            ("POST", "/health"),
            ("HEAD", "/health/"),
            ("GET", "/health/"),
            ("GET", "/healt%68"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert!(!policy.is_public(&method, path), "{method} {path}");
        }
    }

    #[test]
    fn preflights_of_a_tree_can_be_public() {
        let policy = Policy::default()
            .public("OPTIONS", "/v1/*")
            .public("GET", "/open/*");
        for (method, path, expected) in [
            (Method::OPTIONS, "/v1/speak", true),
            (Method::OPTIONS, "/v1/a/b", true),
            (Method::OPTIONS, "/v1/", false),
            (Method::OPTIONS, "/v2/speak", false),
            (Method::POST, "/v1/speak", false),
            (Method::GET, "/open/a", false),
        ] {
            assert_eq!(policy.is_public(&method, path), expected, "{method} {path}");
        }
    }
}
