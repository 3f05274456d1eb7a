//! The keys file.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::ConfigError;
use crate::principal::{KeyKind, Principal, Scope};
use crate::secret::{Digest, Secret};
use crate::toml_file::TomlFile;

use super::ring::Key;

const MIN_SECRET_CHARACTERS: usize = 16;
const MAX_ID_BYTES: usize = 64;
/// Who is let in without a key is on record under these.
const RESERVED_IDS: [&str; 2] = ["public", "deployment"];

/// The digests under which a secret in the clear is known, or why it cannot be one.
pub(crate) type Forms<'a> = &'a dyn Fn(&Secret) -> Result<Vec<Digest>, &'static str>;

pub(crate) fn load(path: &Path, forms: Forms<'_>) -> Result<Vec<Key>, ConfigError> {
    TomlFile::load(path, "keys file", |file, table| keys(file, table, forms))
}

fn keys(file: &mut TomlFile, table: &DeTable<'_>, forms: Forms<'_>) -> Vec<Key> {
    let tables = file.tables(table, "key");
    tables
        .into_iter()
        .filter_map(|(at, fields)| key(file, at, fields, forms))
        .collect()
}

fn key(file: &mut TomlFile, start: usize, fields: &DeTable<'_>, forms: Forms<'_>) -> Option<Key> {
    let mut id = None;
    let mut digests = Vec::new();
    let mut shape: Vec<Box<dyn FnOnce(Principal) -> Principal>> = Vec::new();
    let mut disabled = false;
    for (field, value) in fields {
        let at = value.span().start;
        match field.get_ref().as_ref() {
            "id" => id = read_id(file, value),
            "sha256" => digests.push(sha256(file, value).map(|digest| vec![digest])),
            "secret" => digests.push(secret(file, value, forms)),
            "label" => {
                if let Some(label) = file.text(value, "label") {
                    shape.push(Box::new(move |principal| principal.label(&label)));
                }
            }
            "kind" => match value.get_ref().as_str() {
                Some("standard") => {}
                Some("realtime") => shape.push(Box::new(|is| is.kind(KeyKind::Realtime))),
                _ => file.problem(at, "kind must be \"standard\" or \"realtime\""),
            },
            "scopes" => {
                let wrong = "scopes must be a list of strings such as \"tts:synthesize\"";
                let scopes = file.list(value, wrong, Scope::new);
                shape.push(Box::new(|principal| principal.scopes(scopes)));
            }
            "voices" => {
                let wrong = "voices must be a list of voices such as \"cove\" or \"team-*\"";
                let voice = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let voices = file.list(value, wrong, voice);
                shape.push(Box::new(|principal| principal.voices(voices)));
            }
            "disabled" => match value.get_ref() {
                DeValue::Boolean(given) => disabled = *given,
                _ => file.problem(at, "disabled must be true or false"),
            },
            _ => file.problem(
                field.span().start,
                "unknown field; a key has id, sha256 or secret, label, kind, scopes, voices, disabled",
            ),
        }
    }
    if !fields.keys().any(|field| field.get_ref() == "id") {
        file.problem(start, "this key has no id; add id = \"…\"");
    }
    let [digests] = digests.as_slice() else {
        file.problem(start, "give each key exactly one of sha256 and secret");
        return None;
    };
    let principal = shape
        .into_iter()
        .fold(Principal::new(&id?), |principal, set| set(principal));
    let (first, more) = digests.as_ref()?.split_first()?;
    let key = Key::from_digest(*first, principal).disabled(disabled);
    Some(more.iter().fold(key, |key, digest| key.or_digest(*digest)))
}

fn read_id(file: &mut TomlFile, value: &Spanned<DeValue<'_>>) -> Option<String> {
    let id = file.text(value, "id")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@/-".contains(&byte);
    if id.is_empty() || id.len() > MAX_ID_BYTES || !id.bytes().all(plain) {
        let message =
            format!("id must be 1 to {MAX_ID_BYTES} characters of A-Z a-z 0-9 . _ : @ / -");
        file.problem(value.span().start, message);
        return None;
    }
    if RESERVED_IDS.contains(&id.as_str()) {
        file.problem(
            value.span().start,
            "id stands for callers without a key; choose another",
        );
        return None;
    }
    Some(id)
}

fn sha256(file: &mut TomlFile, value: &Spanned<DeValue<'_>>) -> Option<Digest> {
    let Some(digest) = Digest::from_hex(&file.text(value, "sha256")?) else {
        file.problem(value.span().start, "sha256 must be 64 hexadecimal digits");
        return None;
    };
    let nothing = [&b""[..], b"\n"].map(Digest::of);
    if nothing.iter().any(|nothing| nothing.matches(&digest)) {
        let message =
            "sha256 is the digest of an empty key; make it with: printf %s \"$KEY\" | sha256sum";
        file.problem(value.span().start, message);
        return None;
    }
    Some(digest)
}

fn secret(
    file: &mut TomlFile,
    value: &Spanned<DeValue<'_>>,
    forms: Forms<'_>,
) -> Option<Vec<Digest>> {
    let secret = Secret::new(&file.text(value, "secret")?);
    let wrong = match secret {
        Ok(secret) if secret.expose().len() < MIN_SECRET_CHARACTERS => format!(
            "secret is shorter than {MIN_SECRET_CHARACTERS} characters, which can be guessed; use \
             a longer one"
        ),
        Ok(secret) => match forms(&secret) {
            Ok(digests) => return Some(digests),
            Err(wrong) => format!("secret {wrong}"),
        },
        Err(error) => format!("secret {error}"),
    };
    file.problem(value.span().start, wrong);
    None
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
