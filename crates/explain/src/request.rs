//! The request that the command line describes.

use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use bytes::Bytes;
use clap::ArgMatches;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;
use voxgate::{ClientAddr, Dialect, Secret};

use super::failure::ExplainError;

/// Stands for the caller's credential. The form of HTTP Basic requires a colon.
const PLACEHOLDER: &str = "explained:credential-without-a-secret";

/// A request that can be made several times.
#[derive(Clone, Debug)]
pub(crate) struct RequestSpec {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) websocket: bool,
    /// The address of the client.
    pub(crate) client: Option<IpAddr>,
}

impl RequestSpec {
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self, ExplainError> {
        let text = |name| matches.get_one::<String>(name).map_or("", String::as_str);
        let headers = matches.get_many::<String>("header").into_iter().flatten();
        let body = matches.get_one::<std::path::PathBuf>("body");
        Ok(Self {
            method: method(text("method"))?,
            target: target(text("target"))?,
            headers: headers.map(|text| header(text)).collect::<Result<_, _>>()?,
            body: body.map(|path| read(path)).transpose()?,
            websocket: matches.get_flag("websocket"),
            client: matches.get_one("client").copied(),
        })
    }

    /// A request without a body, as an audit record describes it.
    pub(crate) fn recorded(method: &str, path: &str) -> Result<Self, ExplainError> {
        Ok(Self {
            method: method_or(method, "the record's method")?,
            target: target_or(path, "the record's path")?,
            headers: Vec::new(),
            body: None,
            websocket: false,
            client: None,
        })
    }

    /// The request, with a credential in the form of `client`'s vendor if there is one.
    pub(crate) fn build(&self, dialect: Dialect, client: Option<Dialect>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        if let Some(client) = self.client {
            request.extensions_mut().insert(ClientAddr(client));
        }
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if self.websocket {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
            let key = HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==");
            headers.insert("sec-websocket-key", key);
        }
        let mut given: Vec<&HeaderName> = Vec::new();
        for (name, value) in &self.headers {
            if given.contains(&name) {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
                given.push(name);
            }
        }
        let is_grpc = headers.get(CONTENT_TYPE);
        if is_grpc.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            *request.version_mut() = Version::HTTP_2;
        }
        if let Some(client) = client
            && let Ok(placeholder) = Secret::new(PLACEHOLDER)
        {
            // The command needs no secret: one that it was given is replaced.
            dialect.strip_credential(&mut request);
            let path = self.target.path();
            client.add_deployment_key_for(path, &placeholder, request.headers_mut());
        }
        request
    }
}

fn method(text: &str) -> Result<Method, ExplainError> {
    method_or(text, "METHOD")
}

fn method_or(text: &str, place: &str) -> Result<Method, ExplainError> {
    let method = Method::from_bytes(text.as_bytes());
    method.map_err(|_| ExplainError::wrong(place, "is not a method; write one such as POST"))
}

fn target(text: &str) -> Result<Uri, ExplainError> {
    target_or(text, "PATH")
}

fn target_or(text: &str, place: &str) -> Result<Uri, ExplainError> {
    let target = text.parse::<Uri>().ok();
    target
        .filter(|target| target.path().starts_with('/') && target.scheme().is_none())
        .ok_or_else(|| {
            let message = "is not a path; begin with / and percent-encode what is not ASCII, such \
                           as '/v1/rime-tts' or '/ws2?speaker=cove'";
            ExplainError::wrong(place, message)
        })
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), ExplainError> {
    let parse = |text: &str| {
        let (name, value) = text.split_once(':')?;
        let value = HeaderValue::from_str(value.strip_prefix(' ').unwrap_or(value)).ok()?;
        Some((name.trim().parse().ok()?, value))
    };
    parse(text).ok_or_else(|| {
        let message = "is not a header; write a name and a value, such as 'Accept: audio/wav'";
        ExplainError::wrong("--header", message)
    })
}

fn read(path: &Path) -> Result<Bytes, ExplainError> {
    let read = match path == Path::new("-") {
        true => {
            let mut body = Vec::new();
            io::stdin().read_to_end(&mut body).map(|_| body)
        }
        false => fs::read(path),
    };
    read.map(Bytes::from).map_err(|error| {
        let message = format!("cannot read {} ({error}); name a file", path.display());
        ExplainError::wrong("--body", message)
    })
}
