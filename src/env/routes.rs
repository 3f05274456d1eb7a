//! Settings about the dialect and its routes.

use std::path::{Path, PathBuf};

use voxgate_core::error::{ConfigError, Problem};
use voxgate_core::files::Fingerprint;

use crate::dialect::Dialect;
use crate::policy::{self, Policy, SharedPolicy};

/// Parses the dialect. Returns `None` and adds a problem if it is unknown.
pub(super) fn dialect(given: Option<&str>, problems: &mut Vec<Problem>) -> Option<Dialect> {
    match given.map(str::parse::<Dialect>) {
        None => Some(Dialect::Rime),
        Some(Ok(dialect)) => Some(dialect),
        Some(Err(error)) => {
            problems.push(Problem::new("VOXGATE_DIALECT", error.to_string()));
            None
        }
    }
}

/// A policy file, what comes after its rules, and its state when it was read.
pub(super) struct PolicyFile {
    path: PathBuf,
    base: Policy,
    seen: Fingerprint,
}

impl PolicyFile {
    /// Lets keys ask for tokens, as [`Policy::with_minting`] says, also when the file has changed.
    pub(super) fn with_minting(mut self) -> Self {
        self.base = self.base.with_minting();
        self
    }

    /// Keeps `policy` as the file is.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(super) fn follow(self, policy: &SharedPolicy) -> Result<(), ConfigError> {
        policy.follow(&self.path, self.base, self.seen)
    }
}

/// The rules of the file, then those of the dialect, and the public routes; and the file, if there is
/// one.
pub(super) fn policy(
    dialect: Dialect,
    file: Option<&str>,
    public: Option<&str>,
    problems: &mut Vec<Problem>,
) -> (Policy, Option<PolicyFile>) {
    let mut of_public = Vec::new();
    let base = with_public(dialect.policy(), public, &mut of_public);
    let read = match file.map(Path::new) {
        Some(path) => read(path, base, problems),
        None => (base, None),
    };
    problems.extend(of_public);
    read
}

fn read(path: &Path, base: Policy, problems: &mut Vec<Problem>) -> (Policy, Option<PolicyFile>) {
    let seen = policy::seen(path);
    match policy::with_rules_of(path, base.clone()) {
        Ok(policy) => {
            let path = path.to_owned();
            (policy, Some(PolicyFile { path, base, seen }))
        }
        Err(error) => {
            problems.extend(error.into_problems().into_iter().map(|problem| {
                let place = format!("VOXGATE_POLICY_FILE: {}", problem.place());
                Problem::new(place, problem.message())
            }));
            (base, None)
        }
    }
}

fn with_public(mut policy: Policy, public: Option<&str>, problems: &mut Vec<Problem>) -> Policy {
    let entries = public.into_iter().flat_map(|public| public.split(','));
    for (index, entry) in entries.enumerate() {
        match entry.trim().split_once(' ') {
            Some((method, path)) if is_exact(method, path.trim_start()) => {
                policy = policy.public(method, path.trim_start());
            }
            _ => problems.push(Problem::new(
                format!("VOXGATE_PUBLIC, entry {}", index + 1),
                "must be a method and one exact path, such as GET /health; only a path for OPTIONS may end in /*",
            )),
        }
    }
    policy
}

fn is_exact(method: &str, path: &str) -> bool {
    let path = match method {
        // For preflights, which have no credential and change nothing.
        "OPTIONS" => path
            .strip_suffix('*')
            .filter(|path| path.ends_with('/'))
            .unwrap_or(path),
        _ => path,
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"*{}?#%;\\".contains(&byte);
    let strange = |segment: &str| matches!(segment, "." | "..");
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    is_method
        && path.starts_with('/')
        && !path.contains("//")
        && path.bytes().all(plain)
        && !path.split('/').any(strange)
}
