//! What may this principal do?

use http::Method;

use crate::denial::DenialKind;
use crate::principal::Principal;
use crate::screen::canonical;

/// Which scope a request requires.
///
/// A principal without scopes is not limited by any policy. A principal with scopes may do only
/// what a rule names: **a request that no rule names is refused to it**, and so is every request
/// under an empty policy.
///
/// ```
/// use voxgate::Policy;
///
/// // One scope for the whole service:
/// let whole = Policy::default().require("tts:synthesize");
/// // Or by route; the first rule that matches decides:
/// let by_route = Policy::default()
///     .route("POST", "/v1/rime-tts", "tts:synthesize")
///     .route("GET", "/data/voices/*", "voices:read");
/// # let _ = (whole, by_route);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `None` is any method.
    method: Option<Box<str>>,
    /// `None` is any path.
    pattern: Option<Box<str>>,
    scope: Box<str>,
}

impl Policy {
    /// Requires `scope` for every request that no earlier rule names.
    #[must_use]
    pub fn require(mut self, scope: &str) -> Self {
        self.rules.push(Rule {
            method: None,
            pattern: None,
            scope: scope.into(),
        });
        self
    }

    /// Requires `scope` for requests with this method (`*` is any) and a path that matches
    /// `pattern`: literal segments, `{name}` for one segment, and `*` at the end for the rest.
    ///
    /// Paths are compared with unreserved characters decoded (RFC 3986 §6.2.2.2), by case.
    #[must_use]
    pub fn route(mut self, method: &str, pattern: &str, scope: &str) -> Self {
        self.rules.push(Rule {
            method: (method != "*").then(|| method.into()),
            pattern: Some(pattern.into()),
            scope: scope.into(),
        });
        self
    }

    /// The scope that this request requires, or `None` when no rule names it.
    #[must_use]
    pub fn required(&self, method: &Method, path: &str) -> Option<&str> {
        let path = canonical(path);
        let rule = self.rules.iter().find(|rule| rule.matches(method, &path))?;
        Some(&rule.scope)
    }

    pub(crate) fn authorize(
        &self,
        principal: &Principal,
        method: &Method,
        path: &str,
    ) -> Result<(), DenialKind> {
        if principal.granted().is_none() {
            return Ok(());
        }
        match self.required(method, path) {
            Some(scope) if principal.has_scope(scope) => Ok(()),
            _ => Err(DenialKind::InsufficientScope),
        }
    }
}

impl Rule {
    fn matches(&self, method: &Method, path: &str) -> bool {
        self.method
            .as_deref()
            .is_none_or(|own| own == method.as_str())
            && self
                .pattern
                .as_deref()
                .is_none_or(|own| pattern_matches(own, path))
    }
}

fn pattern_matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let mut wanted = pattern.split('/').peekable();
    while let Some(want) = wanted.next() {
        if want == "*" && wanted.peek().is_none() {
            return segments.next().is_some_and(|rest| !rest.is_empty());
        }
        let is_name = want.starts_with('{') && want.ends_with('}');
        match segments.next() {
            Some(segment) if segment == want || (is_name && !segment.is_empty()) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::Scope;

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, path, expected) in [
            ("/v1/rime-tts", "/v1/rime-tts", true),
            ("/v1/rime-tts", "/v1/rime-tts/", false),
            ("/v1/rime-tts", "/v1/Rime-TTS", false),
            ("/v1/{voice}/stream", "/v1/a/stream", true),
            ("/v1/{voice}/stream", "/v1//stream", false),
            ("/v1/{voice}", "/v1/a/b", false),
            ("/data/voices/*", "/data/voices/a.json", true),
            ("/data/voices/*", "/data/voices/a/b", true),
            ("/data/voices/*", "/data/voices/", false),
            ("/data/voices/*", "/data/voices", false),
            ("/*", "/", false),
            ("/", "/", true),
        ] {
            assert_eq!(pattern_matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_scoped_principal_may_only_what_a_rule_names() {
        let policy = Policy::default()
            .route("POST", "/v1/rime-tts", "tts:synthesize")
            .route("*", "/open", "other");
        let speaker = Principal::new("a").scopes(Scope::new("tts:synthesize"));
        let refused = Err(DenialKind::InsufficientScope);
        assert_eq!(
            policy.authorize(&speaker, &Method::POST, "/v1/rime-tts"),
            Ok(())
        );
        assert_eq!(
            policy.authorize(&speaker, &Method::POST, "/v1/rime%2Dtts"),
            Ok(())
        );
        assert_eq!(
            policy.authorize(&speaker, &Method::GET, "/v1/rime-tts"),
            refused
        );
        assert_eq!(policy.authorize(&speaker, &Method::GET, "/open"), refused);
        assert_eq!(
            policy.authorize(&speaker, &Method::GET, "/unnamed"),
            refused
        );
        assert_eq!(
            policy.authorize(&Principal::new("b"), &Method::GET, "/unnamed"),
            Ok(())
        );
    }

    #[test]
    fn an_empty_policy_denies_every_scoped_principal() {
        let speaker = Principal::new("a").scopes(Scope::new("tts:synthesize"));
        let decided = Policy::default().authorize(&speaker, &Method::GET, "/");
        assert_eq!(decided, Err(DenialKind::InsufficientScope));
    }

    #[test]
    fn one_scope_can_stand_for_the_whole_service() {
        let policy = Policy::default().require("tts:synthesize");
        let speaker = Principal::new("a").scopes(Scope::new("tts:synthesize"));
        let reader = Principal::new("b").scopes(Scope::new("voices:read"));
        assert_eq!(policy.authorize(&speaker, &Method::GET, "/any"), Ok(()));
        assert!(policy.authorize(&reader, &Method::GET, "/any").is_err());
    }
}
