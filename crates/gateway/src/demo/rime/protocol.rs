//! The messages of the `/ws3` websocket: reading queries and frames, cutting
//! text into sentences, timing words.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::voice;
use super::DEFAULT_RATE;

/// Longest `contextId` accepted, in bytes.
const MAX_CONTEXT: usize = 256;

/// When buffered text is spoken without a `flush`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// As soon as it arrives.
    Immediate,
    /// When a sentence is complete.
    BySentence,
    /// Not at all.
    Never,
}

/// Reads the query parameters; those without a meaning here are ignored.
pub(super) fn read_query(query: &HashMap<String, String>) -> Result<(Segment, u32), String> {
    let value = |name: &str| query.get(name).map(String::as_str);
    if !matches!(value("audioFormat"), None | Some("pcm")) {
        return Err("audioFormat: this sample server sends pcm only".to_owned());
    }
    let segment = match value("segment") {
        Some("immediate") => Segment::Immediate,
        None | Some("bySentence") => Segment::BySentence,
        Some("never") => Segment::Never,
        Some(_) => return Err("segment: use immediate, bySentence or never".to_owned()),
    };
    let rate = value("samplingRate").map_or(Ok(DEFAULT_RATE), str::parse);
    let rate = rate.map_err(|_| "samplingRate: must be a whole number of hertz")?;
    // Any text will do: only the rate is checked here.
    voice::check("-", rate).map_err(|error| error.to_string())?;
    Ok((segment, rate))
}

/// What a client asks for in one frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// More text.
    Text(String),
    /// Speak what is buffered and say `done`.
    Flush,
    /// Forget what is buffered.
    Clear,
    /// Speak what is buffered and close.
    Eos,
}

/// Reads one frame and its `contextId`.
pub(super) fn read_frame(frame: &str) -> Result<(Frame, Option<String>), String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(frame) else {
        return Err("frame: must be a JSON object".to_owned());
    };
    let context = match fields.remove("contextId") {
        None | Some(Value::Null) => None,
        Some(Value::String(context)) if context.len() <= MAX_CONTEXT => Some(context),
        Some(_) => {
            return Err(format!(
                "contextId: must be a string of at most {MAX_CONTEXT} bytes"
            ));
        }
    };
    let frame = match (fields.remove("operation"), fields.remove("text")) {
        (Some(operation), None) => match operation.as_str() {
            Some("flush") => Frame::Flush,
            Some("clear") => Frame::Clear,
            Some("eos") => Frame::Eos,
            _ => return Err("operation: use flush, clear or eos".to_owned()),
        },
        (None, Some(Value::String(text))) => Frame::Text(text),
        (None, Some(_)) => return Err("text: must be a string".to_owned()),
        _ => return Err("frame: must have either text or operation".to_owned()),
    };
    Ok((frame, context))
}

/// Where the last complete sentence of `text` ends, in bytes.
pub(super) fn sentences_end(text: &str) -> usize {
    let ends = text.char_indices().zip(text.chars().skip(1));
    ends.filter(|((_, end), next)| ".!?…".contains(*end) && next.is_whitespace())
        .map(|((at, end), _)| at + end.len_utf8())
        .last()
        .unwrap_or_default()
}

/// Spreads the words of `text` over its audio in proportion to their length.
pub(super) fn word_timestamps(text: &str, offset: f64, seconds: f64) -> Value {
    let letters = text.split_whitespace().map(|word| word.chars().count());
    let whole = letters.sum::<usize>().max(1) as f64;
    let mut spoken = 0;
    let (mut words, mut start, mut end) = (Vec::new(), Vec::new(), Vec::new());
    for word in text.split_whitespace() {
        words.push(word);
        start.push(offset + seconds * f64::from(spoken) / whole);
        spoken += u32::try_from(word.chars().count()).unwrap_or_default();
        end.push(offset + seconds * f64::from(spoken) / whole);
    }
    json!({"words": words, "start": start, "end": end})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a query string the way the server does.
    fn query(pairs: &[(&str, &str)]) -> Result<(Segment, u32), String> {
        let pairs = pairs.iter();
        read_query(
            &pairs
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    #[test]
    fn queries_have_defaults_and_named_mistakes() {
        assert_eq!(query(&[]), Ok((Segment::BySentence, 22_050)));
        let full = [
            ("audioFormat", "pcm"),
            ("samplingRate", "8000"),
            ("segment", "never"),
        ];
        assert_eq!(query(&full), Ok((Segment::Never, 8_000)));
        assert_eq!(
            query(&[("segment", "immediate"), ("x", "y")]).map(|it| it.0),
            Ok(Segment::Immediate)
        );
        for (name, value) in [
            ("audioFormat", "mp3"),
            ("segment", "often"),
            ("samplingRate", "fast"),
            ("samplingRate", "7999"),
            ("samplingRate", "-1"),
        ] {
            let error = query(&[(name, value)]).err().unwrap_or_default();
            assert!(error.starts_with(name), "{name}={value}: {error}");
        }
    }

    #[test]
    fn frames_are_read_or_their_mistake_is_named() {
        let context = Some("c".to_owned());
        for (text, frame) in [
            (
                r#"{"text":"a b","contextId":"c"}"#,
                Frame::Text("a b".to_owned()),
            ),
            (r#"{"operation":"flush","contextId":"c"}"#, Frame::Flush),
            (
                r#"{"operation":"clear","contextId":"c","x":1}"#,
                Frame::Clear,
            ),
            (r#"{"operation":"eos","contextId":"c"}"#, Frame::Eos),
        ] {
            assert_eq!(read_frame(text), Ok((frame, context.clone())), "{text}");
        }
        let long = format!(
            r#"{{"text":"a","contextId":"{}"}}"#,
            "x".repeat(MAX_CONTEXT + 1)
        );
        let deep = "[".repeat(60_000);
        for (text, field) in [
            ("", "frame"),
            ("[]", "frame"),
            ("{}", "frame"),
            (&deep, "frame"),
            (r#"{"text":"a","operation":"eos"}"#, "frame"),
            (r#"{"text":1}"#, "text"),
            (r#"{"operation":"stop"}"#, "operation"),
            (r#"{"operation":null}"#, "operation"),
            (r#"{"text":"a","contextId":7}"#, "contextId"),
            (&long, "contextId"),
        ] {
            let error = read_frame(text).err().unwrap_or_default();
            assert!(error.starts_with(field), "{text:.40}: {error}");
        }
    }

    #[test]
    fn sentences_end_before_white_space() {
        for (text, end) in [
            ("", 0),
            ("no end", 0),
            ("half. ", 5),
            ("3.5 is one. Two", 11),
            ("so… yes! no", 10),
            ("end.", 0),
        ] {
            assert_eq!(sentences_end(text), end, "{text}");
        }
    }

    #[test]
    fn words_share_the_time_of_their_segment() {
        let times = word_timestamps(" aa  bbb ", 1.0, 5.0);
        let wanted = json!({"words": ["aa", "bbb"], "start": [1.0, 3.0], "end": [3.0, 6.0]});
        assert_eq!(times, wanted);
        assert_eq!(word_timestamps(" ", 0.0, 1.0)["words"], json!([]));
    }
}
