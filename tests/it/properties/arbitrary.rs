//! Generates requests that are nearly valid. Random bytes never are.

use http::Version;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::door::{KEY, PAIR};
use super::draft::Draft;
use super::model::base64;

/// Headers that hold a credential in some dialect, and two that never do.
pub(crate) const HEADERS: [&str; 9] = [
    "authorization",
    "x-sup-api-key",
    "x-api-key",
    "xi-api-key",
    "ocp-apim-subscription-key",
    "x-goog-api-key",
    "sec-websocket-protocol",
    "cookie",
    "x-other",
];

/// Paths of one vendor, of several vendors, and of no vendor.
pub(crate) const PATHS: [&str; 17] = [
    "/any",
    "/v1/rime-tts",
    "/ws",
    "/waves/v1/tts/live",
    "/ws/tts",
    "/v1/tts/generate",
    "/tts/v1/voice",
    "/tts/v1/voice:streamBidirectional",
    "/v1/audio/speech",
    "/v1/text-to-speech/cove",
    "/v1/speak",
    "/tts/bytes",
    "/tts/websocket",
    "/cognitiveservices/v1",
    "/v1/voices",
    "/v1/models",
    "/v1/text:synthesize",
];

/// A complete request: an upgrade, no upgrade, or an incomplete upgrade.
pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    let headers = vec((header_name(), header_value()), 0..4);
    let (query, line) = (prop::option::of(query()), request_line());
    (line, query, headers).prop_map(|(mut draft, query, headers)| {
        draft.query = query;
        draft.headers.extend(headers);
        draft
    })
}

fn header_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just("authorization"), 2 => select(&HEADERS[..])]
}

fn request_line() -> impl Strategy<Value = Draft> {
    let path = select(&PATHS[..]);
    let nearly = vec(
        prop_oneof![
            (
                Just("connection"),
                select(&["upgrade", "keep-alive,  UPGRADE", "xupgrade", ""][..])
            ),
            (
                Just("upgrade"),
                select(&["websocket", "WebSocket", "h2c", "websocket, h2c"][..])
            ),
        ],
        0..4,
    );
    let version = select(&[Version::HTTP_10, Version::HTTP_11, Version::HTTP_2][..]);
    prop_oneof![
        3 => path.clone().prop_map(Draft::upgrade),
        1 => path.clone().prop_map(|path| Draft::upgrade(path).with("upgrade", "h2c")),
        1 => (select(&["GET", "POST"][..]), path.clone())
            .prop_map(|(method, path)| Draft::new(method, path)),
        1 => (path, version, nearly).prop_map(|(path, version, headers)| {
            let draft = Draft { version, ..Draft::new("GET", path) };
            headers.into_iter().fold(draft, |draft, (name, value)| draft.with(name, value))
        }),
    ]
}

pub(crate) fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let scheme = select(
        &[
            "Bearer", "bearer", "BEARER", "Token", "tOKEN", "Basic", "basic", "",
        ][..],
    );
    let space = prop_oneof![4 => Just(" ".to_owned()), 1 => "[ \t]{0,3}"];
    let usual = (
        scheme,
        space,
        credential(),
        prop_oneof![9 => Just(""), 1 => Just(" ")],
    )
        .prop_map(|(scheme, space, key, behind)| format!("{scheme}{space}{key}{behind}"));
    let offers = vec(offer(), 0..5).prop_map(|offers| offers.join(","));
    prop_oneof![
        4 => usual.prop_map(String::into_bytes),
        3 => offers.prop_map(String::into_bytes),
        2 => credential().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..24),
    ]
}

fn offer() -> impl Strategy<Value = String> {
    let name = select(
        &[
            "token",
            "bearer",
            "Token",
            "bearer_",
            "realtime-token.",
            "json",
            "USP",
            "",
        ][..],
    );
    let prefix = select(&["bearer_", "realtime-token.", "openai-insecure-api-key."][..]);
    let glued = (prefix, credential()).prop_map(|(prefix, key)| format!("{prefix}{key}"));
    let text = prop_oneof![
        3 => name.prop_map(str::to_owned),
        2 => credential(),
        2 => glued,
    ];
    ("[ \t]{0,2}", text, "[ \t]?").prop_map(|(before, text, behind)| before + &text + &behind)
}

/// Known keys, similar texts, and other texts.
pub(crate) fn credential() -> impl Strategy<Value = String> {
    let pair = base64(PAIR.as_bytes());
    let unpadded = pair.trim_end_matches('=').to_owned();
    let known = [PAIR, &pair, &unpadded, "k", "", "eu-", "id:", ":s"].map(str::to_owned);
    prop_oneof![
        4 => Just(KEY.to_owned()),
        4 => select(known.to_vec()),
        1 => "(eu-|us-|global-|EU-){1,2}".prop_map(|region| region + KEY),
        1 => vec(any::<u8>(), 0..12).prop_map(|text| base64(&text)),
        1 => "[a:]{0,4}".prop_map(|text| base64(text.as_bytes())),
        1 => "[A-Za-z0-9+/_=:-]{0,20}",
        1 => "[ -~]{0,12}",
    ]
}

/// A query that is nearly always valid.
pub(crate) fn query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => select(&["api_key", "access_token", "single_use_token", "key"][..]).prop_map(str::to_owned),
        1 => select(&["api%5Fkey", "%61pi_key", "access%5ftoken", "API_KEY", "api_key%"][..])
            .prop_map(str::to_owned),
        2 => "[a-z%_+]{0,4}",
    ];
    let value = prop_oneof![
        3 => select(&[KEY, "k", "eu-k", ""][..]).prop_map(str::to_owned),
        1 => "(%[0-9A-Fa-f]{2}|%|[a-z+=;/?:@]){0,8}",
    ];
    let equals = prop_oneof![5 => Just("="), 1 => Just(""), 1 => Just("==")];
    let parameter = prop_oneof![
        6 => (name, equals, value).prop_map(|(name, equals, value)| name + equals + &value),
        1 => Just(String::new()),
    ];
    vec(parameter, 0..4).prop_map(|parameters| parameters.join("&"))
}
