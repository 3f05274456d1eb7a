//! Attacks on the readers: what a server could read in two ways is a fault.

use std::borrow::Cow;

use proptest::prelude::*;
use voxgate_speech::{
    Counting, Fault, Field, MediaType, Message, Place, Reader, Reading, SpeechProfile, Unreadable,
};

const fn json(pointer: &'static str) -> Place {
    Place::Json(Cow::Borrowed(pointer))
}

const fn form(name: &'static str) -> Place {
    Place::Form(Cow::Borrowed(name))
}

fn tts() -> Reader {
    Reader::new(SpeechProfile::new(
        const {
            &[
                (Field::Text, json("/text")),
                (Field::Text, json("/inputs/*/text")),
                (Field::Voice, json("/voice")),
                (Field::Voice, json("/voice/id")),
                (Field::Voice, json("/inputs/*/voice_id")),
                (Field::Voice, json("/deep/*/*/v~1x")),
                (Field::Model, json("/model")),
                (Field::Language, json("/language")),
                (Field::SampleRate, json("/rate")),
                (Field::Fetch, json("/url")),
                (Field::Fetch, json("/voice/embedding")),
            ]
        },
    ))
}

fn media(text: &str) -> MediaType {
    MediaType::parse([text.as_bytes()]).expect("a media type")
}

fn read(body: &str) -> Result<Reading<'_>, Unreadable> {
    tts().read_json(body)
}

/// Reads JSON, with a reader that outlives the reading.
trait ReadStatic {
    fn read_json<'a>(&self, body: &'a str) -> Result<Reading<'a>, Unreadable>;
}

impl ReadStatic for Reader {
    fn read_json<'a>(&self, body: &'a str) -> Result<Reading<'a>, Unreadable> {
        self.read_body(&media("application/json; charset=UTF-8"), body.as_bytes())
    }
}

fn names<'r>(reading: &'r Reading<'_>, field: Field) -> Vec<&'r str> {
    reading.names(field).collect()
}

#[test]
fn a_repeated_member_is_found_whatever_the_size_of_the_profile() {
    let places: Vec<_> = (0..70)
        .map(|number| (Field::Voice, Place::Json(format!("/v{number}").into())))
        .collect();
    let reader = Reader::new(SpeechProfile::of_places(places));
    let json = media("application/json");
    let fault = |body: &str| {
        let reading = reader.read_body(&json, body.as_bytes()).expect("JSON");
        reading.fault(Field::Voice)
    };
    assert_eq!(
        fault(r#"{"v0":"a","v62":"b","v63":"c","v64":"d","v69":"e"}"#),
        None
    );
    for number in [0, 1, 62, 63, 64, 69] {
        let twice = format!(r#"{{"v{number}":"a","v68":"b","v{number}":"a"}}"#);
        assert_eq!(fault(&twice), Some(Fault::Ambiguous), "{twice}");
    }
}

#[test]
fn json_is_read_by_its_pointers() {
    let body = r#"{"text":"Hé\n\ud83d\ude00","voice":"c\u006fve","model":"m","rate":24000,
        "inputs":[{"text":"ab","voice_id":"x"},{"voice_id":1071,"other":{"voice":"no"}}],
        "deep":{"a":[{"v/x":"deep"}]},"language":"en"}"#;
    let reading = read(body).expect("JSON");
    assert_eq!(reading.characters, 6);
    assert_eq!(names(&reading, Field::Voice), ["cove", "x", "1071", "deep"]);
    assert_eq!(names(&reading, Field::Model), ["m"]);
    assert_eq!(names(&reading, Field::Language), ["en"]);
    assert_eq!(reading.sample_rate, Some(24_000));
    assert!(!reading.has_fetch);
    for field in [Field::Text, Field::Voice, Field::Model, Field::Language] {
        assert_eq!(reading.fault(field), None, "{field:?}");
    }
}

#[test]
fn two_readings_of_a_voice_are_a_fault() {
    for (body, fault) in [
        (r#"{"voice":"a","voice":"b"}"#, Fault::Ambiguous),
        (r#"{"voice":"a","vo\u0069ce":"b"}"#, Fault::Ambiguous),
        (r#"{"voice":"a","Voice":"b"}"#, Fault::Ambiguous),
        (r#"{"voice":"a","VOICE":{"id":"b"}}"#, Fault::Ambiguous),
        (r#"{"voice":"a","voice\u0000":"b"}"#, Fault::Ambiguous),
        (r#"{"voice":"a"," voice":"b"}"#, Fault::Ambiguous),
        (r#"{"voice":{"id":"a","id":"b"}}"#, Fault::Ambiguous),
        (r#"{"voice":{"id":"a"},"voice":"b"}"#, Fault::Ambiguous),
        (
            r#"{"inputs":[{"voice_id":"a"}],"Inputs":[]}"#,
            Fault::Ambiguous,
        ),
        (
            r#"{"inputs":[{"voice_id":"a","voice_\u0069d":"b"}]}"#,
            Fault::Ambiguous,
        ),
        (r#"{"voice":null}"#, Fault::WrongType),
        (r#"{"voice":true}"#, Fault::WrongType),
        (r#"{"voice":1.5}"#, Fault::WrongType),
        (r#"{"voice":1e3}"#, Fault::WrongType),
        (r#"{"voice":["a"]}"#, Fault::WrongType),
        (r#"{"voice":{"id":["a"]}}"#, Fault::WrongType),
        (r#"{"inputs":"a"}"#, Fault::WrongType),
        (r#"["a"]"#, Fault::WrongType),
        (r#""a""#, Fault::WrongType),
        ("7", Fault::WrongType),
    ] {
        let reading = read(body).expect("JSON");
        assert_eq!(reading.fault(Field::Voice), Some(fault), "{body}");
    }
    // Every voice is seen, in whichever place.
    let both = read(r#"{"voice":{"id":"a"},"inputs":[{"voice_id":"b"}]}"#).expect("JSON");
    assert_eq!(names(&both, Field::Voice), ["a", "b"]);
    // A fault of one field is none of another.
    let model = read(r#"{"voice":"a","model":1,"text":null}"#).expect("JSON");
    assert_eq!(model.fault(Field::Voice), None);
    assert_eq!(model.fault(Field::Model), Some(Fault::WrongType));
    assert_eq!(model.fault(Field::Text), Some(Fault::WrongType));
}

#[test]
fn what_is_not_one_json_document_is_not_read() {
    let deep = "[".repeat(5_000);
    for (body, expected) in [
        ("", Unreadable::Syntax),
        ("{", Unreadable::Syntax),
        (r#"{"voice":"a"} {"voice":"b"}"#, Unreadable::Syntax),
        (r#"{"voice":"a"}x"#, Unreadable::Syntax),
        (r#"{"voice":"a",}"#, Unreadable::Syntax),
        (r#"{"voice":'a'}"#, Unreadable::Syntax),
        (r#"{/**/"voice":"a"}"#, Unreadable::Syntax),
        (r#"{"voice":NaN}"#, Unreadable::Syntax),
        (r#"{"voice":"\ud800"}"#, Unreadable::Syntax),
        ("{\"voice\":\"a\nb\"}", Unreadable::Syntax),
        ("\u{feff}{\"voice\":\"a\"}", Unreadable::NotUtf8),
        (&deep, Unreadable::Syntax),
        ("v\0o\0", Unreadable::Syntax),
    ] {
        assert_eq!(read(body), Err(expected), "{body}");
    }
    let json = media("application/json");
    assert_eq!(
        tts().read_body(&json, b"\"\xff\""),
        Err(Unreadable::NotUtf8)
    );
}

#[test]
fn a_fetch_is_seen_whatever_its_type() {
    for (body, expected) in [
        (r#"{"url":"http://x"}"#, true),
        (r#"{"url":{"a":1}}"#, true),
        (r#"{"url":[1]}"#, true),
        (r#"{"url":false}"#, true),
        (r#"{"URL":"http://x"}"#, true),
        (r#"{"voice":{"embedding":[0.1]}}"#, true),
        (r#"{"url":null}"#, false),
        (r#"{"url":""}"#, false),
        (r#"{"x":{"url":"http://x"}}"#, false),
    ] {
        assert_eq!(read(body).expect("JSON").has_fetch, expected, "{body}");
    }
}

#[test]
fn the_content_type_must_fit_the_route() {
    for (values, expected) in [
        (&["application/json"][..], Ok(())),
        (&["Application/JSON;charset=\"utf-8\""], Ok(())),
        (&["application/vnd.x+json"], Ok(())),
        (&[], Ok(())),
        (
            &["application/json;charset=utf-16"],
            Err(Unreadable::Encoding),
        ),
        (
            &["application/json; charset=utf-7"],
            Err(Unreadable::Encoding),
        ),
        (&["text/plain"], Err(Unreadable::MediaType)),
        (
            &["application/x-www-form-urlencoded"],
            Err(Unreadable::MediaType),
        ),
        (
            &["multipart/form-data; boundary=x"],
            Err(Unreadable::MediaType),
        ),
        (&["multipart/form-data"], Err(Unreadable::MediaType)),
        (&["application/msgpack"], Err(Unreadable::MediaType)),
        (
            &["application/json, text/plain"],
            Err(Unreadable::MediaType),
        ),
        (
            &["application/json", "application/json"],
            Err(Unreadable::MediaType),
        ),
        (&["application/json; charset"], Err(Unreadable::MediaType)),
    ] {
        let media_type = MediaType::parse(values.iter().map(|value| value.as_bytes()));
        let found =
            media_type.and_then(|media_type| tts().read_body(&media_type, b"{}").map(|_| ()));
        assert_eq!(found, expected, "{values:?}");
    }
}

fn nim() -> Reader {
    Reader::new(SpeechProfile::new(
        const {
            &[
                (Field::Text, form("text")),
                (Field::Voice, form("voice")),
                (Field::SampleRate, form("sample_rate_hz")),
            ]
        },
    ))
}

#[test]
fn forms_are_read_and_a_field_that_occurs_twice_is_a_fault() {
    let reader = nim();
    let urlencoded = media("application/x-www-form-urlencoded");
    let read = |body: &'static [u8]| reader.read_body(&urlencoded, body);
    let reading = read(b"text=H%C3%A9+llo&voice=c%6Fve&sample_rate_hz=8000").expect("a form");
    assert_eq!(reading.characters, 6);
    assert_eq!(names(&reading, Field::Voice), ["cove"]);
    assert_eq!(reading.sample_rate, Some(8_000));
    for body in [
        &b"voice=a&voice=b"[..],
        b"voice=a&v%6Fice=b",
        b"voice=a&Voice=b",
        b"voice[]=a",
    ] {
        let fault = read(body).expect("a form").fault(Field::Voice);
        assert_eq!(fault, Some(Fault::Ambiguous));
    }
    assert_eq!(read(b"voice=a;voice=b"), Err(Unreadable::Syntax));
    assert_eq!(read(b"voice=%ff"), Err(Unreadable::NotUtf8));
}

#[test]
fn multipart_is_read_in_its_plain_form_only() {
    let reader = nim();
    let multipart = media("multipart/form-data; boundary=XX");
    let part = |disposition: &str, content: &str| {
        format!("--XX\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n")
    };
    let voice = |content| part("form-data; name=\"voice\"", content);
    let read = |parts: &[String]| {
        let body = parts.concat() + "--XX--\r\n";
        let reading = reader.read_body(&multipart, body.as_bytes())?;
        let voices: Vec<String> = reading.names(Field::Voice).map(str::to_owned).collect();
        Ok((voices, reading.fault(Field::Voice), reading.characters))
    };
    let text = part("form-data; name=\"text\"", "Hé\r\n--X llo");
    let both = read(&[text, voice("cove")]);
    assert_eq!(both, Ok((vec!["cove".to_owned()], None, 11)));
    let twice = read(&[voice("a"), voice("b")]).expect("a form");
    assert_eq!(twice.1, Some(Fault::Ambiguous));
    let file = part(
        "form-data; name=\"audio\"; filename=\"a.wav\"",
        "\u{1}\u{2}",
    );
    assert_eq!(
        read(&[file, voice("a")]),
        Ok((vec!["a".to_owned()], None, 0))
    );
    for wrong in [
        part("form-data; name=\"voice\"; name=\"x\"", "a"),
        part("form-data; name=voice", "a"),
        part("form-data; name*=utf-8''voice", "a"),
        part("form-data; name=\"vo%69ce\"", "a"),
        part("form-data; name=\"vo\\\"ice\"", "a"),
        part("attachment; name=\"voice\"", "a"),
        "--XX\r\n\r\na\r\n".to_owned(),
        "--XX\r\nContent-Disposition: form-data;\r\n name=\"voice\"\r\n\r\na\r\n".to_owned(),
        "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"voice\"\r\n\r\na\r\n"
            .to_owned(),
        "--XX\nContent-Disposition: form-data; name=\"voice\"\n\na\n".to_owned(),
        "--XX \r\nContent-Disposition: form-data; name=\"voice\"\r\n\r\na\r\n".to_owned(),
    ] {
        assert_eq!(
            read(std::slice::from_ref(&wrong)),
            Err(Unreadable::Syntax),
            "{wrong}"
        );
    }
    let cut = voice("a");
    let cut = reader.read_body(&multipart, cut.as_bytes());
    assert_eq!(cut, Err(Unreadable::Syntax));
    let after = format!("{}--XX--\r\n{}", voice("a"), voice("b"));
    assert_eq!(
        reader.read_body(&multipart, after.as_bytes()),
        Err(Unreadable::Syntax)
    );
}

#[test]
fn ssml_names_its_voices_and_counts_as_azure_counts() {
    let reader = Reader::new(
        SpeechProfile::new(&[(Field::Text, Place::Ssml)]).with_counting(Counting::Azure),
    );
    let ssml = media("application/ssml+xml");
    let read = |body: &str| {
        let reading = reader.read_body(&ssml, body.as_bytes())?;
        let voices: Vec<String> = reading
            .markup_voices
            .iter()
            .map(ToString::to_string)
            .collect();
        Ok((voices, reading.has_unvoiced_text, reading.characters))
    };
    let one = |name: &str| vec![name.to_owned()];
    let hello =
        read("<speak version='1.0' xml:lang='en-US'><voice name='Ava'>Hello</voice></speak>");
    assert_eq!(hello, Ok((one("Ava"), false, 5)));
    // White space and markup count, the tags `speak` and `voice` do not, ideographs count twice.
    let marked = read("<speak><voice name=\"A\"> a<break/>\u{6f22} &amp;<!--x--></voice></speak>");
    assert_eq!(marked, Ok((one("A"), false, 2 + 8 + 2 + 1 + 5 + 8)));
    let two = read("<speak><voice name='A'>a</voice><voice name='&#x42;'>b</voice></speak>");
    assert_eq!(two, Ok((vec!["A".to_owned(), "B".to_owned()], false, 2)));
    let prefixed = read("<s:speak xmlns:s='x'><s:voice name='A'>a</s:voice></s:speak>");
    assert_eq!(prefixed, Ok((one("A"), false, 1)));
    assert_eq!(
        read("<speak>a<voice name='A'/></speak>"),
        Ok((one("A"), true, 1))
    );
    assert_eq!(
        read("<speak><voice gender='f'>a</voice></speak>"),
        Ok((vec![], true, 1))
    );
    for wrong in [
        "",
        "a",
        "<speak>",
        "<speak></voice>",
        "<speak/><speak/>",
        "<speak></speak><speak></speak>",
        "<!DOCTYPE speak [<!ENTITY v 'B'>]><speak><voice name='&v;'>a</voice></speak>",
        "<speak><voice name='&v;'>a</voice></speak>",
        "<speak>&v;</speak>",
        "<speak><voice name='A' name='B'>a</voice></speak>",
        "<?xml-stylesheet href='x'?><speak>a</speak>",
    ] {
        assert_eq!(read(wrong), Err(Unreadable::Syntax), "{wrong}");
    }
    let utf16 = read("<?xml version='1.0' encoding='utf-16'?><speak>a</speak>");
    assert_eq!(utf16, Err(Unreadable::Encoding));
    let fetched = "<speak><voice name='A'><audio src='http://x/a.wav'/></voice></speak>";
    assert!(
        reader
            .read_body(&ssml, fetched.as_bytes())
            .expect("SSML")
            .has_fetch
    );
}

/// A protobuf field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(content.len()).expect("short")];
    field.extend(content);
    field
}

fn riva() -> Reader {
    Reader::new(SpeechProfile::new(&[
        (Field::Text, Place::Proto(Cow::Borrowed(&[1]))),
        (Field::Voice, Place::Proto(Cow::Borrowed(&[5]))),
        (Field::SampleRate, Place::Proto(Cow::Borrowed(&[4]))),
        (Field::Fetch, Place::Proto(Cow::Borrowed(&[6]))),
        (Field::Language, Place::Proto(Cow::Borrowed(&[7, 2]))),
    ]))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, message].concat()
}

#[test]
fn protobuf_is_read_by_its_field_numbers() {
    let reader = riva();
    let grpc = media("application/grpc");
    // Field 9 is unknown and packed, field 10 is fixed32.
    let message = [
        field(1, "Hé".as_bytes()),
        field(5, b"cove"),
        vec![4 << 3, 0xc0, 0x3e],
        field(7, &field(2, b"en")),
        field(9, &[1, 2, 3]),
        vec![10 << 3 | 5, 0, 0, 0, 0],
    ]
    .concat();
    let body = framed(&message);
    let reading = reader.read_body(&grpc, &body).expect("a message");
    assert_eq!(reading.characters, 2);
    assert_eq!(names(&reading, Field::Voice), ["cove"]);
    assert_eq!(names(&reading, Field::Language), ["en"]);
    assert_eq!(reading.sample_rate, Some(8_000));
    assert!(!reading.has_fetch && reading.fault(Field::Voice).is_none());

    // The last value counts for a server, so that two are a fault.
    let twice = framed(&[field(5, b"a"), field(1, b"x"), field(5, b"b")].concat());
    let twice = reader.read_body(&grpc, &twice).expect("a message");
    assert_eq!(names(&twice, Field::Voice), ["a", "b"]);
    assert_eq!(twice.fault(Field::Voice), Some(Fault::Ambiguous));
    // Servers skip a field of another wire type.
    let number = framed(&[5 << 3, 1]);
    let number = reader.read_body(&grpc, &number).expect("a message");
    assert_eq!(number.fault(Field::Voice), Some(Fault::WrongType));
    let merged = framed(&[field(7, &field(2, b"a")), field(7, b"")].concat());
    let merged = reader.read_body(&grpc, &merged).expect("a message");
    assert_eq!(merged.fault(Field::Language), Some(Fault::Ambiguous));
    let cloned = framed(&field(6, &field(1, b"audio")));
    assert!(
        reader
            .read_body(&grpc, &cloned)
            .expect("a message")
            .has_fetch
    );

    let compressed = [&[1][..], &framed(&message)[1..]].concat();
    assert_eq!(
        reader.read_body(&grpc, &compressed),
        Err(Unreadable::Encoding)
    );
    for wrong in [
        &framed(&field(5, b"cove"))[..8],
        &framed(&field(5, b"cove")[..3]),
        &framed(&[0]),
        &framed(&[0x80; 12]),
    ] {
        assert_eq!(
            reader.read_body(&grpc, wrong),
            Err(Unreadable::Syntax),
            "{wrong:?}"
        );
    }
    let invalid = framed(&field(5, b"\xff"));
    assert_eq!(reader.read_body(&grpc, &invalid), Err(Unreadable::NotUtf8));
}

#[test]
fn azure_messages_are_read_by_their_path() {
    const MESSAGES: &[(Field, Place)] = &[
        (Field::Text, Place::Ssml),
        (Field::Voice, json("/synthesis/input/voiceName")),
    ];
    let profile = SpeechProfile::new(&[]).with_counting(Counting::Azure);
    let reader = Reader::new(profile.with_messages(Default::default(), MESSAGES));
    let read = |text: &'static str| reader.read_message(Message::Text(text.as_bytes()));
    let ssml = read("X-RequestId:1\r\nPath: SSML\r\n\r\n<speak><voice name='A'>ab</voice></speak>");
    let ssml = ssml.expect("a message");
    assert_eq!((ssml.markup_voices, ssml.characters), (vec!["A".into()], 2));
    let context =
        read("Path:synthesis.context\r\n\r\n{\"synthesis\":{\"input\":{\"voiceName\":\"B\"}}}");
    let context = context.expect("a message");
    assert_eq!(names(&context, Field::Voice), ["B"]);
    let piece = read("path:text.piece\r\n\r\nabc").expect("a message");
    assert_eq!((piece.characters, piece.has_text), (3, true));
    assert!(
        !read("Path:speech.config\r\n\r\n{}")
            .expect("a message")
            .has_text
    );
    assert_eq!(read("Path:ssml\r\nPath:x\r\n\r\n"), Err(Unreadable::Syntax));
    assert_eq!(read("<speak/>"), Err(Unreadable::Syntax));
}

proptest! {
    #[test]
    fn any_text_is_counted_in_any_spelling(text in any::<String>(), escape in any::<bool>()) {
        let mut body = String::from("{\"text\":\"");
        for unit in text.encode_utf16().collect::<Vec<_>>() {
            match char::from_u32(unit.into()) {
                Some(plain) if !escape && plain.is_ascii_alphanumeric() => body.push(plain),
                _ => body.push_str(&format!("\\u{unit:04x}")),
            }
        }
        body.push_str("\"}");
        let reading = read(&body).expect("JSON");
        prop_assert_eq!(reading.characters, text.chars().count() as u64);
    }

    #[test]
    fn no_input_makes_a_reader_panic(bytes in any::<Vec<u8>>(), which in 0..6) {
        let types = [
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=X",
            "application/ssml+xml",
            "application/grpc",
            "text/plain",
        ];
        let media_type = media(types[usize::try_from(which).expect("small")]);
        for reader in [tts(), nim(), riva(), Reader::new(SpeechProfile::new(&[(Field::Text, Place::Ssml)]))] {
            let _ = reader.read_body(&media_type, &bytes);
            let _ = reader.read_grpc(&bytes);
        }
    }
}
