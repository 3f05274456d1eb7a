//! The lists of voices of each dialect.

use percent_encoding::percent_decode_str;
use voxgate::Dialect;

/// A route whose answer lists voices.
pub(crate) struct VoiceList {
    /// A path, in which `{}` is one segment.
    path: &'static str,
    /// Where the answer has its lists: names of fields, separated by `/`; `*` is any field. Empty for
    /// an answer that is a list itself.
    pub(crate) lists: &'static [&'static str],
    /// The fields of an entry that can hold the voice's name. The first one that is there counts. An
    /// entry that is a text or a number is the name.
    pub(crate) names: &'static [&'static str],
}

const fn list(
    path: &'static str,
    lists: &'static [&'static str],
    names: &'static [&'static str],
) -> VoiceList {
    VoiceList { path, lists, names }
}

const RIME: &[VoiceList] = &[
    // `voice_details.json` is a list; `all-v2.json` has one for each model, or model and language.
    list("/data/voices/{}", &["", "*", "*/*"], &["speaker"]),
];
const SUPERTONE: &[VoiceList] = &[
    list("/v1/voices", &["items"], &["voice_id"]),
    list("/v1/voices/search", &["items"], &["voice_id"]),
    list("/v1/custom-voices", &["items"], &["voice_id"]),
];
const SMALLEST: &[VoiceList] = &[list("/waves/v1/{}/get_voices", &["voices"], &["voiceId"])];
const KUGEL: &[VoiceList] = &[list("/v1/voices", &["voices"], &["id", "voice_id"])];
const INWORLD: &[VoiceList] = &[
    list("/tts/v1/voices", &["voices"], &["voiceId"]),
    list("/voices/v1/voices", &["voices"], &["voiceId"]),
];
const OPENAI: &[VoiceList] = &[list(
    "/v1/audio/voices",
    &["", "voices", "uploaded_voices", "data"],
    &["voice_id", "id", "name"],
)];
const ELEVENLABS: &[VoiceList] = &[
    list("/v1/voices", &["voices"], &["voice_id"]),
    list("/v2/voices", &["voices"], &["voice_id"]),
    list("/11labs/v1/voices", &["voices"], &["voice_id"]),
];
/// A voice is a model.
const DEEPGRAM: &[VoiceList] = &[list("/v1/models", &["tts"], &["canonical_name"])];
const CARTESIA: &[VoiceList] = &[list("/voices", &["", "data"], &["id"])];
const AZURE: &[VoiceList] = &[
    list("/cognitiveservices/voices/list", &[""], &["ShortName"]),
    list("/tts/cognitiveservices/voices/list", &[""], &["ShortName"]),
];
const GOOGLE: &[VoiceList] = &[
    list("/v1/voices", &["voices"], &["name"]),
    list("/v1beta1/voices", &["voices"], &["name"]),
];
/// NVIDIA NIM: one list for each language.
const BEARER: &[VoiceList] = &[list("/v1/audio/list_voices", &["*/voices"], &[])];

/// What a request for a path asks for.
pub(crate) enum Asked {
    List(&'static VoiceList),
    /// One voice.
    Voice(String),
    /// Something below a list whose voice cannot be read.
    Unclear,
}

/// `None` if the path has nothing to do with lists of voices.
pub(crate) fn asked(dialect: Dialect, path: &str) -> Option<Asked> {
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
    let wanted = |list: &VoiceList| list.path.split('/').count();
    let begins = |list: &&VoiceList| {
        let pairs = list.path.split('/').zip(segments);
        wanted(list) <= segments.len()
            && pairs.into_iter().all(|(want, is)| match want {
                "{}" => true,
                want => is.as_deref() == Some(want),
            })
    };
    let is_whole = |list: &&VoiceList| wanted(list) == segments.len();
    if let Some(list) = lists.iter().find(|list| begins(list) && is_whole(list)) {
        return Some(Asked::List(list));
    }
    let list = lists.iter().find(begins)?;
    Some(match &segments[wanted(list)] {
        Some(voice) => Asked::Voice(voice.clone()),
        None => Asked::Unclear,
    })
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
            Some(Asked::List(list)) => format!("list {}", list.path),
            Some(Asked::Voice(voice)) => format!("voice {voice}"),
            Some(Asked::Unclear) => "unclear".to_owned(),
        };
        for (dialect, path, expected) in [
            (Dialect::ElevenLabs, "/v1/voices", "list /v1/voices"),
            (Dialect::ElevenLabs, "/v1/voices/", "list /v1/voices"),
            (Dialect::ElevenLabs, "/v1/v%6Fices", "list /v1/voices"),
            (Dialect::ElevenLabs, "/v1/voices/cove", "voice cove"),
            (
                Dialect::ElevenLabs,
                "/v1/voices/c%6Fve/settings",
                "voice cove",
            ),
            (Dialect::ElevenLabs, "/v1/voices/%ff", "unclear"),
            (Dialect::ElevenLabs, "/v1/voicesx", "nothing"),
            (Dialect::ElevenLabs, "/v1/models", "nothing"),
            (
                Dialect::Supertone,
                "/v1/voices/search",
                "list /v1/voices/search",
            ),
            (Dialect::Supertone, "/v1/voices/other", "voice other"),
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
