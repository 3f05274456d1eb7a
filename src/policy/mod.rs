//! The policy: the scope that each request requires.

mod file;
mod pattern;
mod rule;

use std::path::Path;

use http::{Method, Uri};
use voxgate_core::denial::DenialKind;
use voxgate_core::error::ConfigError;

use crate::principal::Principal;

pub(crate) use self::pattern::Specificity;
pub use self::rule::{InvalidRule, Rule, Voice};

/// Maps a method and path to the scope that the request requires, and lists public routes.
///
/// A policy does not restrict a principal without restrictions. A principal with scopes, voices or
/// a kind may send only requests that a rule names: **a request that no rule names is refused**.
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
    public: Vec<(Box<str>, Box<str>)>,
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
        self.rules.push(rule);
        self
    }

    /// Inserts the rules of a policy file before the existing rules:
    ///
    /// ```toml
    /// [[rule]]
    /// method = "POST"                          # or "*"
    /// path = "/v1/text-to-speech/{voice_id}"   # {name} is one segment, * at the end the rest
    /// scope = "tts:synthesize"                 # without it, every standard key is allowed
    /// voice = "path:voice_id"                  # or "query:name"; optional
    /// realtime = false                         # whether realtime keys are allowed; optional
    /// ```
    ///
    /// # Errors
    ///
    /// All problems of the file, each with its line.
    pub fn load(mut self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let mut rules = file::load(path.as_ref())?;
        rules.append(&mut self.rules);
        self.rules = rules;
        Ok(self)
    }

    /// Makes exactly this method and path public: no credential is required. Patterns are not
    /// supported. A request for an upgrade still needs a credential.
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
        let mut routes = self.public_routes();
        routes.any(|(own, open)| own == method.as_str() && open == path)
    }

    pub(crate) fn authorize(
        &self,
        principal: &Principal,
        method: &Method,
        uri: &Uri,
        dialect: &str,
    ) -> Result<(), DenialKind> {
        if principal.is_unlimited() {
            return Ok(());
        }
        let mut rules = self.rules.iter();
        let names = |rule: &&Rule| rule.applies_to(dialect) && rule.names(method, uri.path());
        match rules.find(names) {
            Some(rule) if rule.permits(principal, uri) => Ok(()),
            _ => Err(DenialKind::InsufficientScope),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::{KeyKind, Scope};

    fn may(policy: &Policy, principal: &Principal, method: &str, uri: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let decided = policy.authorize(principal, &method, &uri.parse().expect("a URI"), "bearer");
        assert!(matches!(
            decided,
            Ok(()) | Err(DenialKind::InsufficientScope)
        ));
        decided.is_ok()
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
        let voice = |place: &str| Voice::parse(place).expect("a place");
        let tts = |path: &str| Rule::new("POST", path).with_scope("tts:synthesize");
        let policy = Policy::default()
            .rule(tts("/tts/{voice_id}").with_voice(voice("path:voice_id")))
            .rule(tts("/query").with_voice(voice("query:voice")))
            .rule(tts("/body"))
            .route("GET", "/voices", "voices:read");
        let some = Principal::new("a").with_voices(["cove", "team-*"]);
        for (method, uri, expected) in [
            ("POST", "/tts/cove", true),
            ("POST", "/tts/c%6Fve", true),
            ("POST", "/tts/other", false),
            ("POST", "/tts/team-x", true),
            ("POST", "/query?voice=cove", true),
            ("POST", "/query?voice=cove&voice=other", false),
            ("POST", "/query", false),
            // The voice in a body is not visible here.
            ("POST", "/body", false),
            ("GET", "/voices", true),
            ("GET", "/unnamed", false),
        ] {
            assert_eq!(may(&policy, &some, method, uri), expected, "{method} {uri}");
        }
        let scoped = some.with_scopes(Scope::new("voices:read"));
        assert!(!may(&policy, &scoped, "POST", "/tts/cove"));
    }

    #[test]
    fn public_routes_match_exactly() {
        let policy = Policy::default().public("GET", "/health");
        assert!(policy.is_public(&Method::GET, "/health"));
        for (method, path) in [
            ("POST", "/health"),
            ("HEAD", "/health"),
            ("GET", "/health/"),
            ("GET", "/healt%68"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert!(!policy.is_public(&method, path), "{method} {path}");
        }
    }
}
