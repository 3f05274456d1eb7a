//! Reading an HTTP synthesis request: its JSON body and its `Accept` header.

use axum::http::{HeaderMap, header};
use serde_json::Value;

use super::DEFAULT_RATE;

/// Reads the text and the sample rate from a request body.
///
/// Fields this server has no use for are checked for their type, others ignored.
pub(super) fn read_request(body: &[u8]) -> Result<(String, u32), String> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| format!("body: is not valid JSON ({error}); send a JSON object"))?;
    let Value::Object(mut fields) = body else {
        return Err("body: must be a JSON object with a text field".to_owned());
    };
    for name in ["speaker", "modelId", "lang"] {
        if !matches!(
            fields.get(name),
            None | Some(Value::Null | Value::String(_))
        ) {
            return Err(format!("{name}: must be a string"));
        }
    }
    let rate = match fields.get("samplingRate") {
        None | Some(Value::Null) => DEFAULT_RATE,
        Some(rate) => rate
            .as_u64()
            .and_then(|rate| u32::try_from(rate).ok())
            .ok_or("samplingRate: must be a whole number of hertz, such as 22050")?,
    };
    match fields.remove("text") {
        Some(Value::String(text)) => Ok((text, rate)),
        Some(_) => Err("text: must be a string".to_owned()),
        None => Err("text: is missing; send the text to speak".to_owned()),
    }
}

/// An audio format of the HTTP answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A WAV file.
    Wav,
    /// Bare little-endian 16-bit samples.
    Pcm,
}

impl Format {
    /// Picks the format a client prefers, or none if it wants neither.
    pub(super) fn accepted_by(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        let mut asked = false;
        for value in headers.get_all(header::ACCEPT) {
            asked = true;
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range
                    .split(';')
                    .map(|part| part.trim().to_ascii_lowercase());
                let format = match parts.next().as_deref() {
                    Some("audio/wav" | "audio/*" | "*/*") => Self::Wav,
                    Some("audio/pcm") => Self::Pcm,
                    _ => continue,
                };
                let weight = parts
                    .find_map(|part| part.strip_prefix("q=").map(str::parse::<f32>))
                    .map_or(1.0, Result::unwrap_or_default);
                if weight > best.map_or(0.0, |(most, _)| most) {
                    best = Some((weight, format));
                }
            }
        }
        match best {
            None if !asked => Some(Self::Wav),
            best => best.map(|(_, format)| format),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn bodies_are_read_or_their_mistake_is_named() {
        let plain = br#"{"text":"hi","lang":null,"speaker":"cove","modelId":"mistv2","x":[]}"#;
        assert_eq!(read_request(plain), Ok(("hi".to_owned(), DEFAULT_RATE)));
        let fast = br#"{"text":"hi","samplingRate":48000}"#;
        assert_eq!(read_request(fast), Ok(("hi".to_owned(), 48_000)));
        for (body, field) in [
            ("", "body"),
            ("\u{0}", "body"),
            ("[]", "body"),
            (&"[".repeat(60_000), "body"),
            ("{}", "text"),
            (r#"{"text":1}"#, "text"),
            (r#"{"text":"a","speaker":{}}"#, "speaker"),
            (r#"{"text":"a","modelId":1}"#, "modelId"),
            (r#"{"text":"a","lang":true}"#, "lang"),
            (r#"{"text":"a","samplingRate":"22050"}"#, "samplingRate"),
            (r#"{"text":"a","samplingRate":-1}"#, "samplingRate"),
            (r#"{"text":"a","samplingRate":1e99}"#, "samplingRate"),
        ] {
            let error = read_request(body.as_bytes()).err().unwrap_or_default();
            assert!(error.starts_with(field), "{body:.40}: {error}");
        }
    }

    #[test]
    fn the_preferred_format_wins() {
        for (accept, format) in [
            (&[][..], Some(Format::Wav)),
            (&["*/*"], Some(Format::Wav)),
            (&["audio/pcm"], Some(Format::Pcm)),
            (&["Audio/PCM; rate=8000"], Some(Format::Pcm)),
            (
                &["audio/mp3, audio/pcm;q=0.5, */*;q=0.1"],
                Some(Format::Pcm),
            ),
            (&["audio/pcm;q=0.5", "audio/wav;q=0.9"], Some(Format::Wav)),
            (&["audio/pcm;q=0"], None),
            (&["audio/pcm;q=NaN"], None),
            (&["audio/mp3"], None),
            (&[""], None),
            (&["\u{7f}\u{80}"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.append(header::ACCEPT, value);
                }
            }
            if headers.len() == accept.len() {
                assert_eq!(Format::accepted_by(&headers), format, "{accept:?}");
            }
        }
    }
}
