//! The readers of bodies and messages.

use std::borrow::Cow;
use std::sync::LazyLock;

use voxgate_speech::{Counting, Field, MediaType, Message, Place, Reader, SpeechProfile};

static READERS: LazyLock<Vec<(Reader, MediaType)>> = LazyLock::new(|| {
    let json = |pointer| Place::Json(Cow::Borrowed(pointer));
    let form = |name| Place::Form(Cow::Borrowed(name));
    let proto = |numbers| Place::Proto(Cow::Borrowed(numbers));
    let of = |places: Vec<(Field, Place)>, media_type: &str| {
        let profile = SpeechProfile::of_places(places).with_counting(Counting::CodePoints);
        let media_type = MediaType::parse([media_type.as_bytes()]).ok()?;
        Some((Reader::new(profile), media_type))
    };
    let formed = || vec![(Field::Text, form("text")), (Field::Voice, form("voice"))];
    let readers = [
        of(
            vec![
                (Field::Text, json("/text")),
                (Field::Voice, json("/voice")),
                (Field::Ssml, json("/ssml")),
                (Field::Voice, json("/a/*/b")),
            ],
            "application/json",
        ),
        of(formed(), "application/x-www-form-urlencoded"),
        of(formed(), "multipart/form-data; boundary=X"),
        of(vec![(Field::Text, Place::Ssml)], "application/ssml+xml"),
        of(
            vec![
                (Field::Text, proto(&[1])),
                (Field::Voice, proto(&[2, 3])),
                (Field::SampleRate, proto(&[4])),
            ],
            "application/grpc",
        ),
    ];
    readers.into_iter().flatten().collect()
});

/// Bodies in every format. Without a fault, the reader of JSON says what `serde_json` says.
pub fn speech(input: &[u8]) {
    for (reader, media_type) in &*READERS {
        let _ = reader.read_body(media_type, input);
        let _ = reader.read_grpc(input);
        for message in [Message::Text(input), Message::Binary(input)] {
            let _ = reader.read_message(message);
        }
    }
    let (reader, media_type) = &READERS[0];
    let Ok(reading) = reader.read_body(media_type, input) else {
        return;
    };
    // The reader skips what it does not need, whatever its depth and the size of its numbers.
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(input) else {
        return;
    };
    if reading.fault(Field::Voice).is_none() && value.get("a").is_none() {
        let voice = value.get("voice").and_then(serde_json::Value::as_str);
        let voice = voice.filter(|voice| !voice.is_empty());
        let number = value
            .get("voice")
            .filter(|voice| voice.is_i64() || voice.is_u64());
        let voice = voice.map(str::to_owned).or(number.map(ToString::to_string));
        let read: Vec<&str> = reading.names(Field::Voice).collect();
        assert_eq!(read, voice.as_deref().into_iter().collect::<Vec<_>>());
    }
    if reading.fault(Field::Text).is_none() {
        let characters = |name| {
            let text = value.get(name).and_then(serde_json::Value::as_str);
            text.map_or(0, |text| text.chars().count() as u64)
        };
        assert_eq!(reading.characters, characters("text") + characters("ssml"));
    }
}
