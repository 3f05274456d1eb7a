//! The target for what the gateway forwards: an upstream must read the request that was judged.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tower::{Layer, ServiceExt, service_fn};
use voxgate::{AuthLayer, Caller, Dialect, Key, KeyRing, Principal, RequestValidation, Secret};
use voxgate_forwarding::{HeaderRules, Identity};

use crate::door::KEY;

static LAYER: LazyLock<AuthLayer<KeyRing>> = LazyLock::new(|| {
    let secret = Secret::new(KEY).expect("a valid secret");
    let ring = KeyRing::new([Key::from_secret(&secret, Principal::new("key"))]);
    AuthLayer::new(ring.expect("one key"))
        .with_dialect(Dialect::Bearer)
        .with_request_validation(RequestValidation::Proxy)
});

/// The method and the target in the first line, and one header a line, `name: value`. The key is
/// added, and stands for `KEY` in the input.
pub fn forwarding(input: &[u8]) {
    let input = String::from_utf8_lossy(input).replace("KEY", KEY);
    let Some(request) = request(input.as_bytes()) else {
        return;
    };
    let judged = (request.method().clone(), target(request.uri()));
    let key_in_path = request.uri().path().contains(KEY);
    let Some(forwarded) = forward(request) else {
        return;
    };

    // The upstream reads the bytes, with a parser of its own.
    let bytes = written(&forwarded);
    let (line, fields) = parsed(&bytes).expect("a request in HTTP/1.1");
    let (path, query) = split(&judged.1);
    let is_plain = judged.1.is_ascii() && !judged.1.contains('%');
    // These parameters are always removed, whatever the case of their letters.
    let names = judged.1.to_ascii_lowercase();
    let keys = ["api_key", "access_token", "single_use_token"];
    let names_no_key = !keys.iter().any(|key| names.contains(key));
    let (read_path, read_query) = split(&line.1);
    assert_eq!((&line.0, read_path), (&judged.0.to_string(), path));
    // Parameters that repeat the key are removed, and no other.
    let without_key = |query: &str| {
        let parameters = query.split('&').filter(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name != KEY && value != KEY
        });
        parameters.collect::<Vec<_>>().join("&")
    };
    if is_plain && names_no_key {
        assert_eq!(without_key(read_query), without_key(query));
    }

    // A CGI-like server folds the names. Each must be one header, and ours must be ours.
    let mut folded: HashMap<String, &str> = HashMap::new();
    for (name, value) in &fields {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        assert!(name.bytes().all(plain), "{name:?}");
        assert_eq!(value.trim_matches([' ', '\t']), value, "{name:?}");
        let variable = name.to_ascii_uppercase().replace('-', "_");
        let other = folded.insert(variable, name);
        assert!(
            other.is_none_or(|other| other == name),
            "{name:?} and {other:?}"
        );
        let stays = ["accept", "content-", "sec-websocket-"];
        if !stays.iter().any(|stays| name.starts_with(stays)) {
            assert!(!value.contains(KEY), "the key is in {name:?}");
        }
    }
    let of = |name: &str| {
        let of = fields.iter().filter(|(own, _)| own == name);
        of.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("x-voxgate-key-id"), ["key"]);
    assert_eq!(of("x-request-id").len(), 1);
    assert!(of("x-request-id")[0] != "forged");
    for name in [
        "x-forwarded-for",
        "x-original-url",
        "script-name",
        "transfer-encoding",
        "host",
    ] {
        assert_eq!(of(name), [""; 0], "{name}");
    }
    assert!(of("content-length").len() < 2);
    assert!(
        !key_in_path || read_path.contains(KEY),
        "the path stays as it was judged"
    );
}

fn target(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(String::new, |target| target.as_str().to_owned())
}

fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

fn request(input: &[u8]) -> Option<Request<()>> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let method = Method::from_bytes(first.next()?).ok()?;
    let uri = Uri::try_from(first.next().unwrap_or(b"/")).ok()?;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let headers = request.headers_mut();
    headers.insert("host", HeaderValue::from_static("a"));
    for line in lines.take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii_start());
        if let (Ok(name), Ok(value)) = (name, value)
            && name != "host"
            && name != "authorization"
        {
            headers.append(name, value);
        }
    }
    let key = HeaderValue::try_from(format!("Bearer {KEY}")).ok()?;
    headers.insert("authorization", key);
    Some(request)
}

/// What is forwarded for a request that the authentication layer accepted.
fn as_forwarded(mut request: Request<()>) -> Request<()> {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>().expect("a caller").clone();
    let identity = Identity {
        caller: &caller,
        dialect: *extensions.get().expect("a dialect"),
        trace: None,
        deployment_key: None,
    };
    HeaderRules::default().to_upstream(&mut request, identity);
    request
}

/// What the gateway sends upstream, if it accepts the request.
fn forward(request: Request<()>) -> Option<Request<()>> {
    let forwarded = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&forwarded);
    let server = service_fn(move |request: Request<()>| {
        *keep.lock().expect("no panic") = Some(as_forwarded(request));
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    });
    let answer = pin!(LAYER.layer(server).oneshot(request));
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => drop(answer),
        Poll::Pending => panic!("there is nothing to wait for"),
    }
    forwarded.lock().expect("no panic").take()
}

fn written(request: &Request<()>) -> Vec<u8> {
    let mut bytes = format!(
        "{} {} HTTP/1.1\r\n",
        request.method(),
        target(request.uri())
    )
    .into_bytes();
    let headers: &HeaderMap = request.headers();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

type Parsed = ((String, String), Vec<(String, String)>);

fn parsed(bytes: &[u8]) -> Option<Parsed> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let head = text.strip_suffix("\r\n\r\n")?;
    assert!(!head.contains("\r\n\r\n"), "the head ends twice");
    let mut lines = head.split("\r\n");
    let mut line = lines.next()?.splitn(3, ' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?.to_owned());
    (line.next()? == "HTTP/1.1").then_some(())?;
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    Some(((method, target), lines.map(field).collect::<Option<_>>()?))
}
