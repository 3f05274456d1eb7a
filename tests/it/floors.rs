//! Each module belongs to a floor, and imports only from lower floors (`docs/DESIGN.md`, §3).
//!
//! The sources are read as tokens, so that comments and strings do not count as imports, and paths
//! count everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Every module of the library and its floor. Add new modules here.
const FLOORS: [(&str, usize); 17] = [
    ("secret", 0),
    ("caller", 0),
    ("principal", 0),
    ("websocket", 0),
    ("verify", 1),
    ("request_validation", 1),
    ("policy", 1),
    ("audit", 1),
    ("speech", 0),
    ("rate_limit", 1),
    ("dialect", 2),
    ("keys", 2),
    ("auth", 3),
    ("guide", 4),
    ("extract", 4),
    ("env", 4),
    ("gateway", 4),
];

/// Allowed imports within a floor: the importing module, the imported module, and the reason.
const NEIGHBOURS: [(&str, &str, &str); 2] = [
    (
        "principal",
        "caller",
        "the module of principals is where a server looks for `Caller`",
    ),
    (
        "keys",
        "dialect",
        "a plain key is stored under the forms that its vendor's clients present",
    ),
];

#[test]
fn every_module_imports_only_from_lower_floors() {
    let mut violations = Vec::new();
    for (path, text) in sources("src") {
        if !is_test(&path) {
            violations.extend(check(&path, &text));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_module_has_a_floor_and_every_floor_its_modules() {
    let modules: BTreeSet<String> = sources("src")
        .into_iter()
        .filter_map(|(path, _)| module_path(&path).into_iter().next())
        .collect();
    let known: BTreeSet<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, known, "give every module a floor in this table");
}

#[test]
fn every_exception_is_between_neighbours_and_still_needed() {
    for (from, to, reason) in NEIGHBOURS {
        assert_eq!(floor(from), floor(to), "{from} -> {to}");
        assert!(!reason.is_empty(), "{from} -> {to}");
        let used = sources("src").into_iter().any(|(path, text)| {
            module_path(&path).first().is_some_and(|own| own == from)
                && imports(&path, production(&text)).contains(to)
        });
        assert!(used, "{from} does not import {to}; remove the exception");
    }
}

#[test]
fn the_checker_finds_forbidden_imports() {
    for (path, text, expected) in [
        ("src/verify.rs", "use crate::auth::AuthLayer;", "auth"),
        (
            "src/verify.rs",
            "use crate::{denial::Denial, keys};",
            "keys",
        ),
        (
            "src/verify.rs",
            "use crate::{denial::{Denial, self}, auth};",
            "auth",
        ),
        (
            "src/verify.rs",
            "fn f() -> crate::auth::Auth { g() }",
            "auth",
        ),
        ("src/verify.rs", "fn f() { m!(a, crate::env::Mode) }", "env"),
        ("src/verify.rs", "use super::auth::AuthLayer;", "auth"),
        ("src/verify.rs", "use super::*;", "*"),
        ("src/verify.rs", "use crate::*;", "*"),
        ("src/verify.rs", "use crate::KeyRing;", "KeyRing"),
        ("src/verify.rs", "use crate::{Caller as C};", "Caller"),
        ("src/verify.rs", "use crate as root;", "crate"),
        ("src/verify.rs", "use super as root;", "super"),
        ("src/verify.rs", "use crate::audit::AuditSink;", "audit"),
        ("src/verify.rs", "use voxgate::AuthLayer;", "voxgate"),
        ("src/verify.rs", "include!(\"auth/mod.rs\");", "include"),
        (
            "src/verify.rs",
            "#[path = \"bin/voxgate/main.rs\"] mod m;",
            "path",
        ),
        ("src/auth/body.rs", "use super::super::env::Mode;", "env"),
        (
            "src/auth/body.rs",
            "use super::{exchange, super::env::Mode};",
            "env",
        ),
        ("src/auth/mod.rs", "use super::env::Mode;", "env"),
        ("src/dialect/auto.rs", "use crate::keys::KeyRing;", "keys"),
        ("src/lib.rs", "use crate::bin::main;", "bin"),
        (
            "src/lib.rs",
            "#[cfg(test)] mod t {} use crate::bin::main;",
            "bin",
        ),
    ] {
        let found = check(path, text);
        let named = found
            .iter()
            .any(|violation| violation.ends_with(&format!(" {expected}")));
        assert!(named, "{path}: {text}: {found:?}");
    }
}

#[test]
fn the_checker_accepts_allowed_imports() {
    for (path, text) in [
        (
            "src/auth/body.rs",
            "use crate::audit::Ended; use super::exchange::Exchange;",
        ),
        (
            "src/auth/body.rs",
            "use super::{exchange::Exchange, super::audit::Ended};",
        ),
        (
            "src/auth/mod.rs",
            "pub(crate) mod body; pub(super) fn f() {} pub(in crate::auth) fn g() {}",
        ),
        ("src/principal.rs", "pub use crate::caller::Caller;"),
        (
            "src/verify.rs",
            "//! [x](crate::auth)\n// use crate::auth;\n/* crate::auth */ /// crate::auth\nfn f() {}",
        ),
        (
            "src/verify.rs",
            "const A: &str = \"use crate::auth;\"; const B: &str = r#\"crate::auth\"#;",
        ),
        (
            "src/verify.rs",
            "#[cfg(test)] mod tests { use super::*; use crate::auth::Auth; }",
        ),
        ("src/verify.rs", "#[cfg(test)] use crate::auth::Auth;"),
        (
            "src/verify.rs",
            "#[cfg(test)] #[path = \"file_tests.rs\"] mod tests;",
        ),
        ("src/lib.rs", "pub use self::auth::AuthLayer;"),
    ] {
        assert_eq!(check(path, text), [""; 0], "{text}");
    }
}

/// Returns the forbidden references in `text`, the library's file at `path`.
fn check(path: &str, text: &str) -> Vec<String> {
    let tokens = production(text);
    let own = module_path(path).into_iter().next();
    let mut violations = foreign_files(path, tokens.clone());
    for target in imports(path, tokens) {
        let allowed = match (&own, floor(&target)) {
            // The root declares the modules, so that it may name all of them.
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(_)) if *own == target => true,
            (Some(own), Some(there)) => {
                floor(own).is_some_and(|here| there < here) || is_neighbour(own, &target)
            }
        };
        if !allowed {
            violations.push(format!("{path} must not refer to {target}"));
        }
    }
    violations
}

fn floor(module: &str) -> Option<usize> {
    let row = FLOORS.iter().find(|(name, _)| *name == module);
    row.map(|(_, floor)| *floor)
}

fn is_neighbour(from: &str, to: &str) -> bool {
    NEIGHBOURS.iter().any(|(a, b, _)| *a == from && *b == to)
}

/// Returns attributes and macros that could include a file in two modules.
fn foreign_files(path: &str, tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for_each_tail(tokens, &mut |tail| {
        let what = match tail {
            [TokenTree::Ident(word), TokenTree::Punct(next), ..]
                if word == "include" && next.as_char() == '!' =>
            {
                "include"
            }
            [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
                if hash.as_char() == '#' && first_word(attribute) == Some("path".to_owned()) =>
            {
                "path"
            }
            _ => return,
        };
        found.push(format!("{path} must not use {what}"));
    });
    found
}

fn first_word(group: &Group) -> Option<String> {
    match group.stream().into_iter().next() {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

/// Returns the crate's modules that a file refers to. A name that is not a module is a re-export
/// of the root, which would hide its floor.
fn imports(path: &str, tokens: TokenStream) -> BTreeSet<String> {
    let own = module_path(path);
    let parent = &own[..own.len().saturating_sub(1)];
    let mut found = BTreeSet::new();
    for_each_tail(tokens, &mut |tail| {
        let TokenTree::Ident(head) = &tail[0] else {
            return;
        };
        let head = head.to_string();
        match (head.as_str(), after_colons(&tail[1..])) {
            ("voxgate", Some(_)) => _ = found.insert(head),
            ("crate", Some(rest)) => resolve(&[], rest, &mut found),
            ("super", Some(rest)) => resolve(parent, rest, &mut found),
            // A renamed root or parent module would not be found.
            ("crate" | "super", None) if is_word(tail.get(1), "as") => _ = found.insert(head),
            _ => {}
        }
    });
    found
}

/// Adds the modules that a path, or a tree of paths, leads to from the module `base`.
fn resolve(base: &[String], path: &[TokenTree], found: &mut BTreeSet<String>) {
    let module_or = |name: String| base.first().cloned().unwrap_or(name);
    match path {
        [TokenTree::Ident(word), rest @ ..] => {
            match (word.to_string().as_str(), after_colons(rest)) {
                ("super", Some(rest)) => {
                    resolve(&base[..base.len().saturating_sub(1)], rest, found)
                }
                ("self", Some(rest)) => resolve(base, rest, found),
                (name, _) => _ = found.insert(module_or(name.to_owned())),
            }
        }
        [TokenTree::Group(branches), ..] if branches.delimiter() == Delimiter::Brace => {
            let branches: Vec<TokenTree> = branches.stream().into_iter().collect();
            for branch in branches.split(|token| is_punct(Some(token), ',')) {
                resolve(base, branch, found);
            }
        }
        [token, ..] => _ = found.insert(module_or(token.to_string())),
        [] => {}
    }
}

fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    let colons = is_punct(tokens.first(), ':') && is_punct(tokens.get(1), ':');
    colons.then(|| &tokens[2..])
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_word(token: Option<&TokenTree>, text: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(word)) if word == text)
}

/// Calls `visit` with every token and what follows it, within every group.
fn for_each_tail(tokens: TokenStream, visit: &mut impl FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for at in 0..tokens.len() {
        visit(&tokens[at..]);
        if let TokenTree::Group(group) = &tokens[at] {
            for_each_tail(group.stream(), visit);
        }
    }
}

/// The tokens of a file without its `#[cfg(test)]` items.
fn production(text: &str) -> TokenStream {
    without_tests(text.parse().expect("Rust source"))
}

fn without_tests(tokens: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = is_punct(tokens.get(at), '#')
            && tokens
                .get(at + 1)
                .is_some_and(|token| token.to_string().replace(' ', "") == "[cfg(test)]");
        if is_test {
            let ends = |token: &TokenTree| match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                token => is_punct(Some(token), ';'),
            };
            let item = tokens[at..].iter().position(ends);
            at += item.map_or(tokens.len(), |length| length + 1);
            continue;
        }
        kept.push(match &tokens[at] {
            TokenTree::Group(group) => {
                Group::new(group.delimiter(), without_tests(group.stream())).into()
            }
            token => token.clone(),
        });
        at += 1;
    }
    kept.into_iter().collect()
}

/// Returns `["auth", "body"]` for `src/auth/body.rs`, `["auth"]` for `src/auth/mod.rs`, and an
/// empty list for the root.
fn module_path(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

/// Returns every Rust file in `directory`, with its path from the repository's root.
fn sources(directory: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut directories = vec![root.join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of sources") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let short = path.strip_prefix(root).expect("a path below the root");
                let parts: Vec<_> = short.iter().map(|part| part.to_string_lossy()).collect();
                found.push((parts.join("/"), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {directory}");
    found
}
