//! Filters the lists in a JSON answer.

use serde_json::{Map, Value};

use crate::routes::List;

/// The answer with the entries that `may_use` allows. `None` if it is not JSON, or has no list in
/// any of its places.
pub(crate) fn filtered(
    list: &List,
    answer: &[u8],
    may_use: &dyn Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let answer = serde_json::from_slice(answer).ok()?;
    let places: Vec<Vec<&str>> = list.lists.iter().copied().map(steps).collect();
    let places: Vec<&[&str]> = places.iter().map(Vec::as_slice).collect();
    let filter = Filter {
        names: list.names,
        may_use,
    };
    let kept = filter.kept(answer, &places)?;
    serde_json::to_vec(&kept).ok()
}

fn steps(place: &str) -> Vec<&str> {
    place.split('/').filter(|step| !step.is_empty()).collect()
}

struct Filter<'a> {
    names: &'static [&'static str],
    may_use: &'a dyn Fn(&str) -> bool,
}

impl Filter<'_> {
    /// What is kept of a value with lists in these places. `None` if there is no list in it.
    fn kept(&self, value: Value, places: &[&[&str]]) -> Option<Value> {
        match value {
            Value::Array(mut entries) if places.contains(&[].as_slice()) => {
                entries.retain(|entry| self.is_allowed(entry));
                Some(Value::Array(entries))
            }
            Value::Object(fields) => {
                let mut found = false;
                let mut kept = Map::new();
                for (name, value) in fields {
                    if value.is_array() || value.is_object() {
                        let below: Vec<&[&str]> = places
                            .iter()
                            .filter_map(|place| place.split_first())
                            .filter(|(step, _)| **step == "*" || **step == name)
                            .map(|(_, rest)| rest)
                            .collect();
                        if let Some(value) = self.kept(value, &below) {
                            found = true;
                            kept.insert(name, value);
                        }
                    } else if is_plain(&name, &value) {
                        kept.insert(name, value);
                    }
                }
                found.then_some(Value::Object(kept))
            }
            _ => None,
        }
    }

    fn is_allowed(&self, entry: &Value) -> bool {
        let name = match entry {
            Value::Object(fields) => self.names.iter().find_map(|name| fields.get(*name)),
            plain => Some(plain),
        };
        match name {
            Some(Value::String(name)) => (self.may_use)(name),
            Some(Value::Number(name)) => (self.may_use)(&name.to_string()),
            _ => false,
        }
    }
}

/// Whether a plain value beside a list can stay: it does not name a voice or a model.
fn is_plain(name: &str, value: &Value) -> bool {
    let name = name.to_ascii_lowercase();
    !value.is_string()
        || !["voice", "speaker", "model"]
            .iter()
            .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::routes::{Asked, asked};
    use voxgate::Dialect;

    fn answer(dialect: Dialect, path: &str, text: &str) -> Option<String> {
        let Some((list, Asked::All)) = asked(dialect, path) else {
            panic!("{dialect} {path} is not a list");
        };
        let may_use = |name: &str| name == "cove" || name == "7" || name.starts_with("team-");
        let filtered = filtered(list, text.as_bytes(), &may_use)?;
        Some(String::from_utf8(filtered).expect("JSON is UTF-8"))
    }

    #[test]
    fn the_lists_of_each_vendor_are_filtered() {
        for (dialect, path, given, expected) in [
            (
                Dialect::ElevenLabs,
                "/v2/voices",
                r#"{"has_more":false,"next_page_token":"t","voices":[{"name":"A","voice_id":"cove"},{"name":"cove","voice_id":"x"}]}"#,
                r#"{"has_more":false,"next_page_token":"t","voices":[{"name":"A","voice_id":"cove"}]}"#,
            ),
            (
                Dialect::OpenAi,
                "/v1/audio/voices",
                r#"{"uploaded_voices":[{"name":"other"}],"voices":["cove","other","team-a"]}"#,
                r#"{"uploaded_voices":[],"voices":["cove","team-a"]}"#,
            ),
            (
                Dialect::OpenAi,
                "/v1/audio/voices",
                r#"[{"model_id":"m","voice_id":"other"},{"model_id":"m","voice_id":"cove"}]"#,
                r#"[{"model_id":"m","voice_id":"cove"}]"#,
            ),
            (
                Dialect::Kugel,
                "/v1/voices",
                r#"{"total":2,"voices":[{"id":7},{"id":8}]}"#,
                r#"{"total":2,"voices":[{"id":7}]}"#,
            ),
            (
                Dialect::Rime,
                "/data/voices/all-v2.json",
                r#"{"arcana":{"eng":["cove","other"]},"mist":["other"]}"#,
                r#"{"arcana":{"eng":["cove"]},"mist":[]}"#,
            ),
            (
                Dialect::Rime,
                "/data/voices/voice_details.json",
                r#"[{"speaker":"cove"},{"speaker":"other"}]"#,
                r#"[{"speaker":"cove"}]"#,
            ),
            (
                Dialect::Deepgram,
                "/v1/models",
                r#"{"stt":[{"canonical_name":"nova"}],"tts":[{"canonical_name":"cove"},{"canonical_name":"other"}]}"#,
                r#"{"tts":[{"canonical_name":"cove"}]}"#,
            ),
            (
                Dialect::OpenAi,
                "/v1/models",
                r#"{"data":[{"id":"team-a/b"},{"id":"other"}],"object":"list"}"#,
                r#"{"data":[{"id":"team-a/b"}],"object":"list"}"#,
            ),
            (
                Dialect::Azure,
                "/cognitiveservices/voices/list",
                r#"[{"Name":"cove","ShortName":"other"},{"Name":"x","ShortName":"cove"}]"#,
                r#"[{"Name":"x","ShortName":"cove"}]"#,
            ),
            (
                Dialect::Bearer,
                "/v1/audio/list_voices",
                r#"{"en-US":{"voices":["cove","other"]}}"#,
                r#"{"en-US":{"voices":["cove"]}}"#,
            ),
        ] {
            let shown = answer(dialect, path, given);
            assert_eq!(shown.as_deref(), Some(expected), "{dialect} {path}");
        }
    }

    #[test]
    fn what_is_not_understood_is_dropped_or_refused() {
        let openai = |text| answer(Dialect::OpenAi, "/v1/audio/voices", text);
        for refused in [
            "",
            "not JSON",
            "{\"voices\":[\"cove\"]} more",
            "\"cove\"",
            "{}",
            "{\"voices\":{\"cove\":{}}}",
            "{\"items\":[\"cove\",\"other\"]}",
            "{\"voices\":\"other\"}",
        ] {
            assert_eq!(openai(refused), None, "{refused}");
        }
        for (given, expected) in [
            // Another structure beside the list, and entries without a name.
            (
                r#"{"by_language":{"en":["other"]},"voices":["cove"]}"#,
                r#"{"voices":["cove"]}"#,
            ),
            (
                r#"{"default_voice":"other","voices":["cove"]}"#,
                r#"{"voices":["cove"]}"#,
            ),
            (
                r#"{"voices":[{"label":"other"},["other"],null,true,{"id":["cove"]},{"id":null,"name":"cove"}]}"#,
                r#"{"voices":[]}"#,
            ),
            // The last of two fields counts, here as with most servers.
            (
                r#"{"voices":["other"],"voices":["cove"]}"#,
                r#"{"voices":["cove"]}"#,
            ),
        ] {
            assert_eq!(openai(given).as_deref(), Some(expected), "{given}");
        }
    }
}
