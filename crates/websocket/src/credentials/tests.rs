use proptest::collection::vec;
use proptest::prelude::*;

use super::protobuf::write_field;
use super::*;

use CredentialFormat::{ElevenLabs, Rime};

fn text(format: CredentialFormat, sent: &str) -> Result<(String, Vec<String>), MalformedMessage> {
    let stripped = format.strip(Message::text(sent), None)?;
    let left = stripped.message.as_text().expect("text").to_owned();
    Ok((left, stripped.credentials))
}

#[test]
fn rimes_config_loses_its_authorization_and_nothing_else() {
    for (sent, left, credentials) in [
        (
            r#"{"config":{"authorization":"Api-Key k","license":"l","defaults":{"speaker":"astra"}}}"#,
            r#"{"config":{"license":"l","defaults":{"speaker":"astra"}}}"#,
            &["Api-Key k"][..],
        ),
        (
            " {\"conf\\u0069g\" : {\"Authorization\" : \"k\" , \"a\" : 1e400}, \"b\":[ ]}\n",
            r#"{"config":{"a":1e400},"b":[ ]}"#,
            &["k"],
        ),
        (
            r#"{"config":{"authorization":""}}"#,
            r#"{"config":{}}"#,
            &[""],
        ),
        (
            r#"{"config":{"authorization":7}}"#,
            r#"{"config":{}}"#,
            &[""],
        ),
        (
            r#"{"config":{"authorization":null}}"#,
            r#"{"config":{}}"#,
            &[],
        ),
        // The names repeat.
        (
            r#"{"config":{"authorization":"k","authorization":"k"},"config":{"AUTHORIZATION":"l"}}"#,
            r#"{"config":{},"config":{}}"#,
            &["k", "l"],
        ),
        // Nothing is to be changed.
        (r#" {"config" : {} }"#, r#" {"config" : {} }"#, &[]),
        (r#"{"config":null}"#, r#"{"config":null}"#, &[]),
        (
            r#"{"start":{"text":"the authorization"}}"#,
            r#"{"start":{"text":"the authorization"}}"#,
            &[],
        ),
        // The text of an older client.
        ("Your authorization.", "Your authorization.", &[]),
        ("{laugh} hello", "{laugh} hello", &[]),
        ("", "", &[]),
    ] {
        let (given_left, given) = text(Rime, sent).unwrap_or_else(|_| panic!("{sent}"));
        assert_eq!(
            (given_left.as_str(), given.as_slice()),
            (
                left,
                &*credentials
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            )
        );
    }
}

#[test]
fn what_a_lenient_server_might_read_is_malformed() {
    for sent in [
        r#"{"config":{"authorization":"k",}}"#,
        r#"{"config":{'authorization':'k'}}"#,
        r#"{"config":{"\u0061uthorization":"k",}}"#,
        r#"{"config":{"authorization":"k"}} x"#,
        "\u{feff}{\"config\":{\"authorization\":\"k\"}}",
        r#"{"config":"authorization"}"#,
        r#"{"config":[{"authorization":"k"}]}"#,
    ] {
        assert_eq!(text(Rime, sent), Err(MalformedMessage), "{sent}");
    }
    for sent in [
        "",
        "hello",
        "[]",
        "[{\"xi_api_key\":\"k\"}]",
        r#"{"xi_api_key":"k","a":NaN}"#,
        "{}{}",
        "\u{feff}{}",
    ] {
        assert_eq!(text(ElevenLabs, sent), Err(MalformedMessage), "{sent}");
    }
    let utf16 = Message::binary([0xff, 0xfe, b'{', 0]);
    assert!(ElevenLabs.strip(utf16, None).is_err());
}

#[test]
fn elevenlabs_messages_lose_each_member_that_holds_a_credential() {
    for (sent, left, credentials) in [
        (
            r#"{"text":" ","voice_settings":{"speed":1},"xi_api_key":"k"}"#,
            r#"{"text":" ","voice_settings":{"speed":1}}"#,
            &["k"][..],
        ),
        (
            r#"{"xi-api-key":"k","authorization":"Bearer l","text":"a"}"#,
            r#"{"text":"a"}"#,
            &["k", "Bearer l"],
        ),
        (r#"{"XI_API-KEY":"k","xi_api_key":"k"}"#, "{}", &["k"]),
        (r#"{"single_use_token":"t"}"#, "{}", &["t"]),
        (r#"{"xi_api_key":null}"#, "{}", &[]),
        (r#"{"xi_api_key":{}}"#, "{}", &[""]),
        // Not a member of the message.
        (r#"{"text":"xi_api_key"}"#, r#"{"text":"xi_api_key"}"#, &[]),
    ] {
        let (given_left, given) = text(ElevenLabs, sent).unwrap_or_else(|_| panic!("{sent}"));
        let credentials: Vec<String> = credentials.iter().map(ToString::to_string).collect();
        assert_eq!((given_left.as_str(), given), (left, credentials));
    }
    let binary = Message::binary(r#"{"xi_api_key":"k"}"#);
    let stripped = ElevenLabs.strip(binary, None).expect("JSON");
    assert_eq!(stripped.message, Message::binary("{}"));
    assert_eq!(
        format!("{stripped:?}"),
        "Stripped { message: Message(Binary, 2 bytes), credentials: 1 }"
    );
}

fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_field(number, content, &mut bytes);
    bytes
}

fn binary(sent: &[u8]) -> Result<(Vec<u8>, Vec<String>), MalformedMessage> {
    let stripped = Rime.strip(Message::binary(sent), None)?;
    Ok((stripped.message.payload().to_vec(), stripped.credentials))
}

#[test]
fn protobuf_is_stripped_as_json_is() {
    let other = [field(2, b"license"), field(3, &field(3, b"astra"))].concat();
    let config = [field(1, b"Api-Key k"), other.clone()].concat();
    // A context, a number, eight bytes and four bytes.
    let around = [
        field(1, &[b'c'; 200]),
        vec![0x40, 0x80, 0x01],
        [&[0x49][..], &[1; 8]].concat(),
        [&[0x55][..], &[1; 4]].concat(),
    ]
    .concat();
    let sent = [around.clone(), field(2, &config)].concat();
    let left = [around.clone(), field(2, &other)].concat();
    assert_eq!(binary(&sent), Ok((left, vec!["Api-Key k".to_owned()])));
    assert_eq!(binary(&around), Ok((around, vec![])));
    // A field that repeats is merged: all of them count.
    let twice = [
        field(2, &field(1, b"k")),
        field(2, &[field(1, b"l"), field(1, b"k")].concat()),
    ];
    let left = [field(2, b""), field(2, b"")].concat();
    let both = vec!["k".to_owned(), "l".to_owned()];
    assert_eq!(binary(&twice.concat()), Ok((left, both)));

    for malformed in [
        &[0x0a][..],
        &[0x0a, 2, 0],
        &[0x80],
        &[0x00, 0],
        // A group.
        &[0x13, 0x0a, 1, b'k', 0x14],
        b"{\"config\":{\"authorization\":\"k\"}}",
        // `config` as a number, and `authorization` as one.
        &[0x10, 1],
        &[0x12, 2, 0x08, 1],
        // A tag of more than 32 bits, whose lower bits are those of `config`.
        &[0x92, 0x80, 0x80, 0x80, 0x10, 0],
        &[
            0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ],
    ] {
        assert_eq!(binary(malformed), Err(MalformedMessage), "{malformed:x?}");
    }
    // The same field, its tag in a longer form.
    let (left, found) = binary(&[0x92, 0x00, 3, 0x8a, 0x00, 0]).expect("fields");
    assert_eq!((left, found), (field(2, b""), vec![String::new()]));
}

#[test]
fn a_text_can_stand_in_place_of_the_credential() {
    let sent = r#"{"config":{"authorization":"k","authorization":"l"}}"#;
    let stripped = Rime.strip(Message::text(sent), Some("")).expect("JSON");
    let left = r#"{"config":{"authorization":""}}"#;
    assert_eq!(stripped.message, Message::text(left));
    let sent = field(2, &[field(1, b"k"), field(2, b"l")].concat());
    let stripped = Rime.strip(Message::binary(sent), Some("")).expect("fields");
    let left = field(2, &[field(1, b""), field(2, b"l")].concat());
    assert_eq!(stripped.message, Message::binary(left));
}

#[test]
fn an_error_has_the_vendors_form() {
    let error = VendorError {
        kind: "unauthenticated",
        message: "The API key is invalid.",
        request_id: Some("r-1"),
        close_code: 1008,
    };
    assert_eq!(
        Rime.error(error, false).as_text(),
        Some(
            r#"{"error":{"kind":"unauthenticated","message":"The API key is invalid.","requestId":"r-1"}}"#
        )
    );
    let content = [
        field(1, b"unauthenticated"),
        field(2, b"The API key is invalid."),
        field(3, b"r-1"),
    ];
    let envelope = field(7, &content.concat());
    assert_eq!(Rime.error(error, true), Message::binary(envelope));
    assert_eq!(
        ElevenLabs.error(error, true).as_text(),
        Some(r#"{"code":1008,"error":"unauthenticated","message":"The API key is invalid."}"#)
    );
}

proptest! {
    #[test]
    fn no_message_makes_it_panic_or_grow(bytes in vec(any::<u8>(), 0..64)) {
        let length = bytes.len();
        if let Ok(stripped) = Rime.strip(Message::binary(bytes.clone()), None) {
            prop_assert!(stripped.message.payload().len() <= length);
        }
        let _ = ElevenLabs.strip(Message::binary(bytes), None);
    }

    #[test]
    fn no_credential_is_left(
        before in "[a-z]{0,8}", key in "[A-Za-z0-9]{20}", upper in any::<bool>(), escaped in any::<bool>(),
    ) {
        let name = if upper { "AUTHORIZATION" } else { "authorization" };
        let name = if escaped { name.replacen(['a', 'A'], "\\u0061", 1) } else { name.to_owned() };
        let sent = format!("{{\"{before}\":1,\"config\":{{\"{name}\":\"{key}\",\"x\":[2]}}}}");
        let (left, credentials) = text(Rime, &sent).expect("JSON");
        prop_assert!(!left.contains(&key));
        prop_assert_eq!(credentials, [key]);
    }
}
