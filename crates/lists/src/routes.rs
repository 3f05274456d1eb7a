//! The lists of voices and models of each dialect.

use percent_encoding::percent_decode_str;
use voxgate::{Dialect, Principal};

/// What the entries of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    Voices,
    Models,
    /// A voice is a model.
    VoicesAsModels,
}

impl Listed {
    /// Whether there are entries that the principal may not use.
    pub(crate) fn is_limited(self, principal: &Principal) -> bool {
        let [voices, models] = self.kinds();
        voices && principal.is_limited_to_voices() || models && principal.is_limited_to_models()
    }

    pub(crate) fn allows(self, principal: &Principal, name: &str) -> bool {
        let [voices, models] = self.kinds();
        (!voices || principal.has_voice(name)) && (!models || principal.has_model(name))
    }

    fn kinds(self) -> [bool; 2] {
        [self != Self::Models, self != Self::Voices]
    }
}

/// A route whose answer lists voices or models.
pub(crate) struct List {
    pub(crate) listed: Listed,
    /// A path, in which `{}` is one segment.
    path: &'static str,
    /// Where the answer has its lists: names of fields, separated by `/`; `*` is any field. Empty for
    /// an answer that is a list itself.
    pub(crate) lists: &'static [&'static str],
    /// The fields of an entry that can hold its name. The first one that is there counts. An
    /// entry that is a text or a number is the name.
    pub(crate) names: &'static [&'static str],
}

const fn list(
    path: &'static str,
    lists: &'static [&'static str],
    names: &'static [&'static str],
) -> List {
    List {
        listed: Listed::Voices,
        path,
        lists,
        names,
    }
}

const fn models(
    path: &'static str,
    lists: &'static [&'static str],
    names: &'static [&'static str],
) -> List {
    List {
        listed: Listed::Models,
        ..list(path, lists, names)
    }
}

const RIME: &[List] = &[
    // `voice_details.json` is a list; `all-v2.json` has one for each model, or model and language.
    list("/data/voices/{}", &["", "*", "*/*"], &["speaker"]),
];
const SUPERTONE: &[List] = &[
    list("/v1/voices", &["items"], &["voice_id"]),
    list("/v1/voices/search", &["items"], &["voice_id"]),
    list("/v1/custom-voices", &["items"], &["voice_id"]),
];
const SMALLEST: &[List] = &[list("/waves/v1/{}/get_voices", &["voices"], &["voiceId"])];
const KUGEL: &[List] = &[
    list("/v1/voices", &["voices"], &["id", "voice_id"]),
    models("/v1/models", &["", "models", "data"], &["model_id", "id"]),
];
const INWORLD: &[List] = &[
    list("/tts/v1/voices", &["voices"], &["voiceId"]),
    list("/voices/v1/voices", &["voices"], &["voiceId"]),
];
const OPENAI: &[List] = &[
    list(
        "/v1/audio/voices",
        &["", "voices", "uploaded_voices", "data"],
        &["voice_id", "id", "name"],
    ),
    models("/v1/models", &["data"], &["id"]),
    // Speaches.
    models("/v1/audio/models", &["", "data", "models"], &["id"]),
];
const ELEVENLABS: &[List] = &[
    list("/v1/voices", &["voices"], &["voice_id"]),
    list("/v2/voices", &["voices"], &["voice_id"]),
    list("/11labs/v1/voices", &["voices"], &["voice_id"]),
    models("/v1/models", &[""], &["model_id"]),
    models("/11labs/v1/models", &[""], &["model_id"]),
];
const DEEPGRAM: &[List] = &[List {
    listed: Listed::VoicesAsModels,
    ..list("/v1/models", &["tts"], &["canonical_name"])
}];
const CARTESIA: &[List] = &[list("/voices", &["", "data"], &["id"])];
const AZURE: &[List] = &[
    list("/cognitiveservices/voices/list", &[""], &["ShortName"]),
    list("/tts/cognitiveservices/voices/list", &[""], &["ShortName"]),
];
const GOOGLE: &[List] = &[
    list("/v1/voices", &["voices"], &["name"]),
    list("/v1beta1/voices", &["voices"], &["name"]),
];
/// NVIDIA NIM: one list for each language.
const BEARER: &[List] = &[list("/v1/audio/list_voices", &["*/voices"], &[])];

/// What a request for a path asks for.
pub(crate) enum Asked {
    All,
    /// What has this name.
    One(String),
    /// Something below a list whose name cannot be read.
    Unclear,
}

/// The list that a request for a path is about, and what it asks for. `None` if it is about none.
pub(crate) fn asked(dialect: Dialect, path: &str) -> Option<(&'static List, Asked)> {
    let lists = match dialect {
        Dialect::Rime => RIME,
        Dialect::Supertone => SUPERTONE,
        Dialect::Smallest => SMALLEST,
        Dialect::Kugel => KUGEL,
        Dialect::Inworld => INWORLD,
        Dialect::OpenAi => OPENAI,
        Dialect::ElevenLabs => ELEVENLABS,
        Dialect::Deepgram => DEEPGRAM,
        Dialect::Cartesia => CARTESIA,
        Dialect::Azure => AZURE,
        Dialect::Google => GOOGLE,
        Dialect::Bearer => BEARER,
        _ => &[],
    };
    let segments: Vec<Option<String>> = path.split('/').map(decoded).collect();
    // A server may ignore a slash at the end.
    let segments = match segments.as_slice() {
        [start @ .., Some(last)] if last.is_empty() => start,
        all => all,
    };
    let wanted = |list: &List| list.path.split('/').count();
    let begins = |list: &&List| {
        let pairs = list.path.split('/').zip(segments);
        wanted(list) <= segments.len()
            && pairs.into_iter().all(|(want, is)| match want {
                "{}" => true,
                want => is.as_deref() == Some(want),
            })
    };
    let is_whole = |list: &&List| wanted(list) == segments.len();
    if let Some(list) = lists.iter().find(|list| begins(list) && is_whole(list)) {
        return Some((list, Asked::All));
    }
    let list = lists.iter().find(begins)?;
    let below = segments[wanted(list)..].iter().cloned();
    let asked = match list.listed {
        Listed::Voices => below.take(1).collect::<Option<String>>(),
        // Names of models have a slash, encoded or not.
        _ => below
            .collect::<Option<Vec<String>>>()
            .map(|name| name.join("/")),
    };
    Some((list, asked.map_or(Asked::Unclear, Asked::One)))
}

fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_voices_are_told_apart() {
        let shown = |dialect, path| match asked(dialect, path) {
            None => "nothing".to_owned(),
            Some((list, Asked::All)) => format!("list {}", list.path),
            Some((_, Asked::One(name))) => format!("one {name}"),
            Some((_, Asked::Unclear)) => "unclear".to_owned(),
        };
        for (dialect, path, expected) in [
            (Dialect::ElevenLabs, "/v1/voices", "list /v1/voices"),
            (Dialect::ElevenLabs, "/v1/voices/", "list /v1/voices"),
            (Dialect::ElevenLabs, "/v1/v%6Fices", "list /v1/voices"),
            (Dialect::ElevenLabs, "/v1/voices/cove", "one cove"),
            (
                Dialect::ElevenLabs,
                "/v1/voices/c%6Fve/settings",
                "one cove",
            ),
            (Dialect::ElevenLabs, "/v1/voices/%ff", "unclear"),
            (Dialect::ElevenLabs, "/v1/voicesx", "nothing"),
            (Dialect::ElevenLabs, "/v1/models", "list /v1/models"),
            (Dialect::OpenAi, "/v1/models/org%2Fmodel", "one org/model"),
            (Dialect::OpenAi, "/v1/models/org/model", "one org/model"),
            (
                Dialect::Supertone,
                "/v1/voices/search",
                "list /v1/voices/search",
            ),
            (Dialect::Supertone, "/v1/voices/other", "one other"),
            (
                Dialect::Smallest,
                "/waves/v1/lightning/get_voices",
                "list /waves/v1/{}/get_voices",
            ),
            (
                Dialect::Rime,
                "/data/voices/all-v2.json",
                "list /data/voices/{}",
            ),
            (Dialect::OpenAi, "/v1/voices", "nothing"),
            (Dialect::Auto, "/v1/voices", "nothing"),
        ] {
            assert_eq!(shown(dialect, path), expected, "{dialect} {path}");
        }
    }
}
