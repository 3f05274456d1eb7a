//! Accepted paths are unambiguous, and a limited key is accepted only on paths that a rule names.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use voxgate::policy::Rule;
use voxgate::principal::KeyKind;
use voxgate::{Dialect, Policy, Principal, RequestValidation, Scope};

use super::door::{Door, KEY};
use super::draft::{Draft, vendors};
use super::model::percent_decoded;

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "DELETE", "HEAD"];

fn path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("/".to_owned()),
        6 => select(&[
            "/", ".", "..", "..;", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "\\", "%00", "%", "%25", ";", "/..;",
            "%3b", "//", "\u{e9}", "%c3%a9", "%7f", "%0a", "%20", "*", ":",
        ][..]).prop_map(str::to_owned),
        4 => "[a-z0-9._~-]{1,4}",
        1 => "%[0-9a-fA-F]{2}",
    ];
    vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn is_accepted(door: &Door, method: &'static str, path: &str) -> Option<bool> {
    let draft = Draft::new(method, path)
        .with("host", "tts.example")
        .with("authorization", format!("Bearer {KEY}"));
    let request = draft.request()?;
    // A fragment or a query is not part of the path.
    (request.uri().path() == path).then(|| door.ask(request).is_accepted())
}

fn door_with(request_validation: RequestValidation) -> Door {
    Door::build(Principal::new("key"), |layer| {
        layer.with_request_validation(request_validation)
    })
}

fn names(rule: &Rule, method: &str, path: &str) -> bool {
    let given: Vec<String> = path.split('/').map(percent_decoded).collect();
    let wanted: Vec<&str> = rule.pattern().split('/').collect();
    let (start, rest) = match wanted.as_slice() {
        ["*"] => (&wanted[..0], true),
        [start @ .., "*"] => (start, true),
        all => (all, false),
    };
    let segment = |(want, is): (&&str, &String)| match want.strip_prefix('{') {
        Some(name) => !is.is_empty() && (name.ends_with("%2F}") || !is.contains('/')),
        None => want == is,
    };
    let rest_is_plain = || {
        let mut rest = given.iter().skip(start.len());
        rest.all(|segment| !segment.contains('/'))
    };
    let long_enough = if rest {
        given.len() > start.len()
    } else {
        given.len() == start.len()
    };
    (rule.method() == "*" || rule.method() == method)
        && long_enough
        && start.iter().zip(&given).all(segment)
        && rest_is_plain()
}

/// Limited principals with all rights: every scope, every voice, or realtime sessions.
fn limited(policy: &Policy) -> [Principal; 3] {
    let scopes = policy
        .rules()
        .iter()
        .filter_map(Rule::scope)
        .filter_map(Scope::new);
    let key = || Principal::new("key");
    [
        key().with_scopes(scopes),
        key().with_voices(["*"]),
        key().with_kind(KeyKind::Realtime),
    ]
}

fn door(policy: &Policy, principal: Principal) -> Door {
    Door::build(principal, |layer| layer.with_policy(policy.clone()))
}

/// A path that the rule names.
fn example(rule: &Rule) -> String {
    let segments = rule.pattern().split('/').map(|segment| match segment {
        "*" => "some/rest",
        name if name.ends_with("%2F}") => "org%2Fcove",
        name if name.starts_with('{') => "cove",
        literal => literal,
    });
    segments.collect::<Vec<_>>().join("/")
}

fn rule() -> impl Strategy<Value = Rule> {
    let segment = select(&["a", "b.c", "{one}", "{two%2F}", "tts:x", "*"][..]);
    let pattern = vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
    let method = prop_oneof![Just("*"), select(&METHODS[..])];
    (method, pattern, any::<bool>(), any::<bool>()).prop_filter_map(
        "no request can match",
        |(method, pattern, scope, realtime)| {
            let rule = Rule::try_new(method, &pattern).ok()?;
            let rule = if scope {
                rule.with_scope("speak")
            } else {
                rule
            };
            Some(if realtime { rule.realtime() } else { rule })
        },
    )
}

/// A path similar to `path`: with a part inserted, removed, or spelt differently.
fn near(path: &str, at: Index, how: u8) -> String {
    let mut text: Vec<String> = path.chars().map(String::from).collect();
    let at = at.index(text.len());
    match how % 8 {
        6 => text.insert(at, "%2F".to_owned()),
        7 => text.insert(at, "%2f..%2F".to_owned()),
        0 => text[at] = format!("%{:02X}", path.as_bytes()[at]),
        1 => text[at].make_ascii_uppercase(),
        2 => text.insert(at, "/x".to_owned()),
        3 => _ = text.remove(at),
        4 => text.push("/".to_owned()),
        _ => {}
    }
    text.concat()
}

#[test]
fn a_scoped_key_is_accepted_on_every_route_of_a_vendor() {
    for dialect in vendors().filter(|dialect| !dialect.policy().rules().is_empty()) {
        let policy = dialect.policy();
        let [scoped, _, _] = limited(&policy);
        let door = door(&policy, scoped);
        for rule in policy.rules() {
            let method = METHODS.into_iter().find(|method| *method == rule.method());
            let path = example(rule);
            let accepted = is_accepted(&door, method.unwrap_or("PATCH"), &path);
            assert_eq!(accepted, Some(true), "{dialect}: {rule:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn accepted_paths_are_unambiguous(path in path()) {
        for validation in [RequestValidation::Server, RequestValidation::Proxy] {
            if is_accepted(&door_with(validation), "GET", &path) != Some(true) {
                continue;
            }
            let decoded = percent_decoded(&path);
            let segments: Vec<&str> = decoded.split('/').collect();
            prop_assert_eq!(segments.len(), path.split('/').count(), "an encoded slash: {}", path);
            let inner = &segments[1..segments.len() - 1];
            prop_assert!(!inner.contains(&""), "an empty segment: {}", path);
            prop_assert!(!segments.contains(&".") && !segments.contains(&".."), "{}", path);
            let with_parameters = |segment: &&str| segment.starts_with("..;");
            prop_assert!(!path.split('/').any(|part| with_parameters(&part)), "{}", path);
            let control = |character: char| character.is_ascii_control() || character == '\\';
            prop_assert!(!decoded.contains(control), "{}", path);
            prop_assert!(!decoded.contains('%'), "encoded twice: {}", path);
        }
    }

    /// A server may decode `%2F` before it splits the path, and then remove dot segments.
    #[test]
    fn an_encoded_slash_hides_no_other_path(path in path()) {
        let policy = Policy::default()
            .rule(Rule::new("GET", "/{one%2F}"))
            .rule(Rule::new("GET", "/{one%2F}/{two%2F}"))
            .rule(Rule::new("GET", "/{one}/{two}/{three%2F}"));
        for validation in [RequestValidation::Server, RequestValidation::Proxy] {
            let door = Door::build(Principal::new("key"), |layer| {
                layer.with_policy(policy.clone()).with_request_validation(validation)
            });
            let lower = path.to_ascii_lowercase();
            if !lower.contains("%2f") || is_accepted(&door, "GET", &path) != Some(true) {
                continue;
            }
            let decoded = percent_decoded(&path);
            let segments: Vec<&str> = decoded.split('/').skip(1).collect();
            prop_assert!(!segments.contains(&""), "an empty segment: {}", path);
            let is_dots = |segment: &&&str| matches!(segment.split(';').next(), Some("." | ".."));
            prop_assert!(!segments.iter().any(|segment| is_dots(&segment)), "{}", path);
            let control = |character: char| character.is_ascii_control() || character == '\\';
            prop_assert!(!decoded.contains(control) && !decoded.contains('%'), "{}", path);
            prop_assert!(!decoded.contains('\u{fffd}'), "not UTF-8: {}", path);
        }
    }

    #[test]
    fn plain_paths_are_accepted(segments in vec("[a-z0-9_~-]{1,5}[a-z0-9._~:-]{0,5}", 0..5)) {
        let path = format!("/{}", segments.join("/"));
        for validation in [RequestValidation::Server, RequestValidation::Proxy] {
            prop_assert_eq!(is_accepted(&door_with(validation), "GET", &path), Some(true));
        }
    }

    #[test]
    fn a_limited_key_is_accepted_only_on_paths_that_a_rule_names(
        rules in vec(rule(), 0..4),
        method in select(&METHODS[..]),
        (at, how) in (any::<Index>(), any::<u8>()),
        other in path(),
    ) {
        let policy = rules.iter().cloned().fold(Policy::default(), Policy::rule);
        let path = rules.first().map_or(other, |rule| near(&example(rule), at, how));
        check_policy(&policy, method, &path)?;
    }

    #[test]
    fn the_default_policies_accept_only_their_paths(
        dialect in select(&Dialect::ALL[..]),
        method in select(&METHODS[..]),
        (rule, at, how) in (any::<Index>(), any::<Index>(), any::<u8>()),
    ) {
        let policy = dialect.policy();
        if !policy.rules().is_empty() {
            let rule = rule.get(policy.rules());
            check_policy(&policy, method, &near(&example(rule), at, how))?;
        }
    }
}

fn check_policy(policy: &Policy, method: &'static str, path: &str) -> Result<(), TestCaseError> {
    let first = |path: &str| policy.rules().iter().find(|rule| names(rule, method, path));
    let named = first(path).is_some();
    let decoded = path.replace("%2F", "/").replace("%2f", "/");
    let needs = |rule: &Rule| (rule.scope().map(str::to_owned), rule.is_realtime());
    let is_other = decoded != path
        && first(&decoded).is_some_and(|other| first(path).map(needs) != Some(needs(other)));
    for principal in limited(policy) {
        let accepted = is_accepted(&door(policy, principal.clone()), method, path);
        prop_assert!(
            named && !is_other || accepted != Some(true),
            "{method} {path}: {policy:?} {principal:?}"
        );
    }
    Ok(())
}
