//! An `[[account]]` table.

use toml::de::DeTable;
use voxgate_core::toml_file::{TomlFile, unknown_field};
use voxgate_limits::Limits;

use super::values;
use crate::principal::{Account, SpeechRights};

const FIELDS: &str =
    "id, voices, models, languages, max_active_keys, rate, burst, concurrency, quota";

/// Reads a table into an account, unless its id is wrong.
pub(super) fn read(file: &mut TomlFile<'_>, start: usize, fields: &DeTable<'_>) -> Option<Account> {
    let (mut id, mut most, mut limits) = (None, None, Limits::default());
    let mut quotas = Vec::new();
    let mut speech = SpeechRights::default();
    for (field, value) in fields {
        match field.get_ref().as_ref() {
            "id" => id = values::id(file, value),
            "voices" => speech = speech.with_voices(values::voices(file, value)),
            "models" => speech = speech.with_models(values::models(file, value)),
            "languages" => speech = speech.with_languages(values::languages(file, value)),
            name @ "max_active_keys" => most = values::count(file, value, name),
            "quota" => quotas = values::quotas(file, value),
            name if values::limit(file, name, value, &mut limits) => {}
            name => file.problem(
                field.span().start,
                format!("{}; an account has {FIELDS}", unknown_field(name)),
            ),
        }
    }
    if !fields.contains_key("id") {
        file.problem(start, "this account has no id; add id = \"…\"");
    }
    if limits.burst.is_some() && !fields.contains_key("rate") {
        file.problem(
            start,
            "burst has no effect without a rate; add rate = \"…\"",
        );
    }
    let account = Account::new(&id?, limits)
        .with_quotas(quotas)
        .with_speech(speech);
    Some(match most {
        Some(most) => account.with_max_active_keys(most),
        None => account,
    })
}
