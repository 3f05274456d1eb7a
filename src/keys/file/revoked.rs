//! The `[revoked]` table.

use toml::de::DeValue;
use voxgate_core::toml_file::{TomlFile, unknown_field};

use super::values::{Value, is_id};

/// Reads the ids of keys that are refused, whether or not they are in the file.
pub(super) fn read(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<String> {
    let DeValue::Table(fields) = value.get_ref() else {
        file.problem(
            value.span().start,
            "write revoked as a [revoked] table with ids = […]",
        );
        return Vec::new();
    };
    let mut ids = Vec::new();
    for (field, value) in fields {
        match field.get_ref().as_ref() {
            "ids" => {
                let wrong = "ids must be a list of the ids of keys, such as [\"ivr-prod\"]";
                let id = |text: &str| is_id(text).then(|| text.to_owned());
                ids = file.list(value, wrong, id);
            }
            name => file.problem(
                field.span().start,
                format!("{}; [revoked] has ids = […] only", unknown_field(name)),
            ),
        }
    }
    ids
}
