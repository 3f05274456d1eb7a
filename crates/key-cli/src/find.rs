//! Finding keys by id.

use clap::ArgMatches;
use voxgate::{Key, Problem};

use super::edit::KeysText;
use super::ids;

const MAX_SUGGESTIONS: usize = 3;

/// An argument that is required or has a default, so that the parser guarantees its presence.
pub(super) fn argument<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

pub(super) fn key<'a>(file: &KeysText<'a>, id: &str) -> Option<&'a Key> {
    let mut keys = file.file.keys().iter();
    keys.find(|key| key.principal().id() == id)
}

/// The key with this id. If there is none, the problem suggests similar ids.
pub(super) fn existing<'a>(file: &KeysText<'a>, id: &str) -> Result<&'a Key, Problem> {
    key(file, id).ok_or_else(|| {
        let ids = file.file.keys().iter().map(|key| key.principal().id());
        let mut near: Vec<_> = ids
            .map(|other| (strsim::levenshtein(id, other), other))
            .collect();
        near.retain(|(distance, other)| *distance <= 2.max(id.len() / 3) || other.contains(id));
        near.sort_unstable();
        let near: Vec<String> = near
            .iter()
            .take(MAX_SUGGESTIONS)
            .map(|(_, other)| format!("`{other}`"))
            .collect();
        let fix = match near.as_slice() {
            [] => "`voxgate key list` shows all ids".to_owned(),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        Problem::new(
            "ID",
            format!("{} has no key with this id; {fix}", file.name),
        )
    })
}

/// Checks that a new key may have this id, which comes from `flag`.
pub(super) fn unused(file: &KeysText<'_>, flag: &str, id: &str) -> Result<(), Problem> {
    if let Some(wrong) = ids::wrong(id) {
        return Err(Problem::new(flag, wrong));
    }
    match key(file, id) {
        None => Ok(()),
        Some(_) => {
            let message = format!(
                "is already the id of a key in {}; choose another id, or replace that key: \
                voxgate key rotate {id}",
                file.name
            );
            Err(Problem::new(flag, message))
        }
    }
}
