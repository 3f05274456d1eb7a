//! The targets. None of them returns anything: a panic is a finding.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Uri};
use voxgate::Dialect;

pub use crate::client_address::{client_address, proxy_protocol};
use crate::door::{Answer, Door, KEY, PAIR};
pub use crate::forwarding::forwarding;
pub use crate::screen::screen;
pub use crate::speech::speech;
pub use crate::token::token;
use crate::{model, strip};

static DOORS: LazyLock<HashMap<Dialect, Door>> = LazyLock::new(|| {
    let all = Dialect::ALL.into_iter();
    all.map(|dialect| (dialect, Door::new(dialect))).collect()
});

/// A dialect, and the path of an upgrade in it. `Auto` has no parsers of its own.
type Place = (Dialect, &'static str);

/// `Authorization` headers, one a line.
pub fn authorization(input: &[u8]) {
    let input = text(input);
    const PLACES: [Place; 5] = [
        (Dialect::Bearer, "/any"),
        (Dialect::Rime, "/ws"),
        (Dialect::Kugel, "/ws/tts"),
        (Dialect::Inworld, "/tts/v1/voice:streamBidirectional"),
        (Dialect::Deepgram, "/v1/speak"),
    ];
    let lines = || headers(AUTHORIZATION, input);
    each(&PLACES, input, |path| with(path, lines()));
}

/// What stands behind `Basic`, as it is and encoded.
pub fn basic(input: &[u8]) {
    let input = text(input);
    const PLACES: [Place; 1] = [(Dialect::Inworld, "/tts/v1/voice:streamBidirectional")];
    let encoded = model::base64(input).into_bytes();
    for value in [input, &encoded] {
        let value = [b"Basic ", value].concat();
        each(&PLACES, input, |path| {
            with(path, header(AUTHORIZATION, &value))
        });
    }
}

/// The query of a URL.
pub fn query(input: &[u8]) {
    let input = text(input);
    const PLACES: [Place; 3] = [
        (Dialect::Kugel, "/ws/tts"),
        (Dialect::Google, "/v1/text:synthesize"),
        (Dialect::Cartesia, "/tts/websocket"),
    ];
    each(&PLACES, input, |path| {
        let target = [path.as_bytes(), b"?", input].concat();
        let mut request = with(path, [])?;
        *request.uri_mut() = Uri::try_from(target).ok()?;
        Some(request)
    });
}

/// `Sec-WebSocket-Protocol` headers, one a line.
pub fn subprotocol(input: &[u8]) {
    let input = text(input);
    const PLACES: [Place; 3] = [
        (Dialect::Deepgram, "/v1/speak"),
        (Dialect::Inworld, "/tts/v1/voice:streamBidirectional"),
        (Dialect::Azure, "/cognitiveservices/websocket/v1"),
    ];
    let lines = || headers(SEC_WEBSOCKET_PROTOCOL, input);
    each(&PLACES, input, |path| with(path, lines()));
}

/// Seeds are text files, and those end in a line end.
fn text(input: &[u8]) -> &[u8] {
    input.strip_suffix(b"\n").unwrap_or(input)
}

/// One header a line, without the lines that are no header: they never reach a layer.
fn headers(name: HeaderName, input: &[u8]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let lines = input.split(|byte| *byte == b'\n').take(8);
    lines.flat_map(move |line| header(name.clone(), line))
}

fn header(name: HeaderName, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

fn with(
    path: &str,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) -> Option<Request<()>> {
    let mut request = Request::get(path).body(()).ok()?;
    request.headers_mut().extend(headers);
    Some(request)
}

/// Checks the request in every place: without an upgrade, and with one.
fn each(places: &[Place], input: &[u8], make: impl Fn(&str) -> Option<Request<()>>) {
    for (dialect, path) in places {
        let Some(mut request) = make(path) else {
            continue;
        };
        check(*dialect, input, &request);
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        check(*dialect, input, &request);
        // Every carrier is stripped, whether or not it counts.
        strip::check(*dialect, &DOORS[dialect], &request);
    }
}

fn check(dialect: Dialect, input: &[u8], request: &Request<()>) {
    let answer = DOORS[&dialect].ask(request.clone());
    assert!(
        !answer.is_accepted() || holds_a_key(input),
        "{dialect}: {request:?}"
    );
    let expected = Answer::to(model::presented(dialect, request));
    assert_eq!(answer, expected, "{dialect}: {request:?}");
}

/// Whatever the place and the form.
fn holds_a_key(input: &[u8]) -> bool {
    let text = model::percent_decoded(&model::latin(input));
    let forms = [
        KEY.to_owned(),
        PAIR.to_owned(),
        model::base64(PAIR.as_bytes()),
    ];
    forms.iter().any(|form| text.contains(form))
}
