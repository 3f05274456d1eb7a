//! A `[[key]]` table.

use std::num::NonZeroU32;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};
use voxgate_core::toml_file::{TomlFile, unknown_field};
use voxgate_limits::Limits;

use super::Reading;
use super::values::{self, Value};
use crate::keys::certificate;
use crate::keys::key::Key;
use crate::keys::plain::PlainKey;
use crate::keys::signing::SigningFile;
use crate::principal::{KeyKind, Principal, Scope, Validity};
use crate::secret::{Digest, Secret};

const FIELDS: &str = "id, sha256 or secret or certificate, label, kind, scopes, voices, models, languages, \
                      allow_from, created, not_before, expires, disabled, account, rate, burst, \
                      concurrency, quota, labels, signing_secret_file, changed_by, changed_reason";

/// Reads a table into a key, unless something is wrong with it. The account that it names comes
/// beside it: the table of that may be further below.
pub(super) fn read(
    reading: &mut Reading,
    file: &mut TomlFile<'_>,
    start: usize,
    fields: &DeTable<'_>,
) -> Option<(Key, Option<String>)> {
    let line = file.line(start);
    let mut secrets = Vec::new();
    let (mut disabled, mut account, mut created, mut signing) = (false, None, None, None);
    let (mut changed_by, mut changed_reason) = (None, None);
    let (mut validity, mut limits) = (Validity::default(), Limits::default());
    let id = match fields.get("id") {
        Some(id) => values::id(file, id),
        None => {
            file.problem(start, "this key has no id; add id = \"…\"");
            None
        }
    };
    let mut principal = Principal::new(id.as_deref().unwrap_or_default());
    for (field, value) in fields {
        let name = field.get_ref().as_ref();
        match name {
            "id" => {}
            "sha256" => secrets.push(sha256(file, value)),
            "certificate" => secrets.push(certificate(file, value)),
            "secret" => secrets.push(secret(reading, file, value)),
            "label" => {
                if let Some(label) = values::label(file, value) {
                    principal = principal.with_label(&label);
                }
            }
            "kind" => match value.get_ref().as_str() {
                Some("standard") => {}
                Some("realtime") => principal = principal.with_kind(KeyKind::Realtime),
                _ => file.problem(
                    value.span().start,
                    "kind must be \"standard\" or \"realtime\"",
                ),
            },
            "scopes" => {
                let wrong = "scopes must be a list of strings such as \"tts:synthesize\"";
                principal = principal.with_scopes(values::names(file, value, wrong, Scope::new));
            }
            "voices" => {
                principal = principal.with_voices(values::voices(file, value));
            }
            "quota" => {
                let quotas = values::quotas(file, value);
                if !quotas.is_empty() {
                    principal = principal.with_quotas(quotas);
                }
            }
            "models" => principal = principal.with_models(values::models(file, value)),
            "languages" => principal = principal.with_languages(values::languages(file, value)),
            "labels" => principal = principal.with_labels(values::labels(file, value)),
            "allow_from" => principal = principal.with_allow_from(values::networks(file, value)),
            "created" => created = values::moment(file, value, name),
            "not_before" => validity.not_before = values::moment(file, value, name),
            "expires" => validity.expires = values::moment(file, value, name),
            "disabled" => disabled = values::boolean(file, value, name),
            "account" => account = file.text(value, name),
            "changed_by" => changed_by = values::note(file, value, name),
            "changed_reason" => changed_reason = values::note(file, value, name),
            "signing_secret_file" => signing = signing_file(file, value),
            _ if values::limit(file, name, value, &mut limits) => {}
            _ => file.problem(
                field.span().start,
                format!("{}; a key has {FIELDS}", unknown_field(name)),
            ),
        }
    }
    if changed_by.is_some() || changed_reason.is_some() {
        principal = principal.with_change_note(changed_by.as_deref(), changed_reason.as_deref());
    }
    if let (Some(from), Some(until)) = (validity.not_before, validity.expires)
        && until <= from
    {
        file.problem(
            start,
            "expires is not after not_before; the key would never count",
        );
    }
    if limits.burst.is_some() && !fields.contains_key("rate") {
        file.problem(
            start,
            "burst has no effect without a rate; add rate = \"…\"",
        );
    }
    let found = match <[Option<Found>; 1]>::try_from(secrets) {
        Ok([found]) => found,
        Err(_) => {
            file.problem(
                start,
                "give each key exactly one of sha256, secret and certificate",
            );
            None
        }
    };
    let (Some(found), Some(_)) = (found, &id) else {
        reading.unusable.extend(id.map(|id| (line, id)));
        return None;
    };
    if !limits.is_empty() {
        principal = principal.with_limits(limits);
    }
    principal = principal.with_validity(validity);
    let mut key = match found {
        Found::Digest(digest) => Key::from_digest(digest, principal),
        Found::Secret(secret, more) => {
            let key = Key::from_secret(&secret, principal);
            more.into_iter().fold(key, Key::or_digest)
        }
    };
    key.line = NonZeroU32::new(line);
    key.created = created;
    key.signing = signing;
    Some((key.disabled(disabled), account))
}

fn signing_file(file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<SigningFile> {
    let path = PathBuf::from(file.text(value, "signing_secret_file")?);
    if !path.is_absolute() {
        let message = "signing_secret_file must be an absolute path, such as \
                       \"/run/secrets/ivr-key\"";
        file.problem(value.span().start, message);
        return None;
    }
    let secret = None;
    Some(SigningFile { path, secret })
}

enum Found {
    Digest(Digest),
    /// With the other digests under which it is known.
    Secret(Secret, Vec<Digest>),
}

fn sha256(file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<Found> {
    let text = value.get_ref().as_str().unwrap_or_default();
    let Some(digest) = Digest::from_hex(text) else {
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
    Some(Found::Digest(digest))
}

fn certificate(file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<Found> {
    let name = value.get_ref().as_str().unwrap_or_default();
    if !certificate::is_name(name) {
        let message = "certificate must be a name in the certificate of the client: a URI such as \
                       \"spiffe://example.org/ivr\", or a DNS name in lower case";
        file.problem(value.span().start, message);
        return None;
    }
    Some(Found::Digest(certificate::digest(name)))
}

fn secret(reading: &mut Reading, file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<Found> {
    let at = value.span().start;
    let DeValue::String(text) = value.get_ref() else {
        file.problem(at, "secret must be a string");
        return None;
    };
    match PlainKey::new(text, reading.dialect) {
        Ok(key) => {
            let line = file.line(at);
            if key.is_weak() {
                reading.weak(file.place(line));
            }
            if key.is_quoted() {
                reading.quoted(file.place(line));
            }
            let (secret, digests) = key.into_parts();
            Some(Found::Secret(secret, digests.into_iter().skip(1).collect()))
        }
        Err(wrong) => {
            file.problem(at, format!("secret {wrong}"));
            None
        }
    }
}
