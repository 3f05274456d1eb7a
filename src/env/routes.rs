//! Settings about the dialect and its routes.

use std::path::Path;

use voxgate_core::error::Problem;

use crate::dialect::Dialect;
use crate::policy::Policy;

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

/// The rules of the file, then those of the dialect, and the public routes.
pub(super) fn policy(
    dialect: Dialect,
    file: Option<&str>,
    public: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Policy {
    let mut policy = dialect.policy();
    if let Some(file) = file {
        match policy.clone().load(Path::new(file)) {
            Ok(with_file) => policy = with_file,
            Err(error) => problems.extend(error.into_problems().into_iter().map(|problem| {
                let place = format!("VOXGATE_POLICY_FILE: {}", problem.place());
                Problem::new(place, problem.message())
            })),
        }
    }
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
