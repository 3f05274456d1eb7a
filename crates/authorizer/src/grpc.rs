//! `Check` and the health check over gRPC.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use prost::Message as _;

use crate::answer::{AnswerBody, Refused};
use crate::changes::Changes;
use crate::check::{
    self, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest,
    HttpResponse, HttpStatus, OkHttpResponse, Status,
};
use crate::original::{PARTIAL_BODY, Unclear, is_whole, target};

/// The flags and the length before a message.
const PREFIX: usize = 5;

/// The request that Envoy asks about.
pub(crate) struct Checked {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) has_body: bool,
    /// The other end of Envoy's connection.
    pub(crate) source: SocketAddr,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its headers and body have credentials and text.
        f.write_str("Checked")
    }
}

/// Reads the message of a call.
pub(crate) fn read(message: &Bytes) -> Result<Checked, Unclear> {
    let malformed = Unclear::Malformed("CheckRequest");
    let (prefix, payload) = message.split_at_checked(PREFIX).ok_or(malformed)?;
    let [compressed, length @ ..] = prefix else {
        return Err(malformed);
    };
    let length = length
        .iter()
        .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    if *compressed != 0 || length != payload.len() {
        return Err(malformed);
    }
    let check = CheckRequest::decode(payload).map_err(|_| malformed)?;
    let attributes = check.attributes.ok_or(Unclear::Missing("attributes"))?;
    let source = attributes
        .source
        .and_then(|source| source.address?.socket_address);
    let source = source.ok_or(Unclear::Missing("attributes.source.address"))?;
    let ip: IpAddr = source
        .address
        .parse()
        .map_err(|_| Unclear::Malformed("attributes.source.address"))?;
    let source = SocketAddr::new(ip, u16::try_from(source.port).unwrap_or_default());
    let http = attributes.request.and_then(|request| request.http);
    let http = http.ok_or(Unclear::Missing("attributes.request.http"))?;
    let (head, has_body) = head(&http)?;
    let body = match http.raw_body.is_empty() {
        true => Bytes::from(http.body),
        false => http.raw_body,
    };
    Ok(Checked {
        head,
        body,
        has_body,
        source,
    })
}

fn head(http: &HttpRequest) -> Result<(Parts, bool), Unclear> {
    let raw = http
        .header_map
        .iter()
        .flat_map(|map| &map.headers)
        .map(|header| {
            let value = match header.raw_value.is_empty() {
                true => header.value.as_bytes(),
                false => &header.raw_value,
            };
            (&header.key, value)
        });
    let plain = http
        .headers
        .iter()
        .map(|(name, value)| (name, value.as_bytes()));
    if !http.headers.is_empty() && http.header_map.is_some() {
        return Err(Unclear::Repeated("headers"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in raw.chain(plain) {
        let field = match name.as_str() {
            ":path" => &http.path,
            ":method" => &http.method,
            ":authority" => &http.host,
            ":scheme" | ":protocol" => continue,
            _ => {
                let name = HeaderName::from_bytes(name.as_bytes());
                let name = name.map_err(|_| Unclear::Malformed("headers"))?;
                let value = HeaderValue::from_bytes(value);
                headers.append(name, value.map_err(|_| Unclear::Malformed("headers"))?);
                continue;
            }
        };
        if field.as_bytes() != value {
            return Err(Unclear::Differs("a pseudo-header"));
        }
    }
    let host = HeaderValue::from_str(&http.host).map_err(|_| Unclear::Malformed("host"))?;
    if headers.get_all(HOST).iter().any(|own| *own != host) {
        return Err(Unclear::Differs("Host"));
    }
    if host.is_empty() {
        return Err(Unclear::Missing("host"));
    }
    headers.insert(HOST, host);
    let has_body = is_whole(&headers)? && !headers.contains_key(UPGRADE);
    headers.remove(PARTIAL_BODY);
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(http.method.as_bytes()).map_err(|_| Unclear::Malformed("method"))?;
    *request.uri_mut() = target(http.path.as_bytes()).ok_or(Unclear::Malformed("path"))?;
    // Envoy has upgrades of every version in the form of HTTP/1.1.
    *request.version_mut() = match http.protocol.as_str() {
        "HTTP/2" | "HTTP/3" if !headers.contains_key(UPGRADE) => Version::HTTP_2,
        "HTTP/1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    *request.headers_mut() = headers;
    Ok((request.into_parts().0, has_body))
}

/// The answer about an accepted request.
pub(crate) fn accept(changes: &Changes) -> Response<AnswerBody> {
    let headers = changes.set.iter().map(|(name, value)| option(name, value));
    let remove = changes.remove.iter().map(|name| name.as_str().to_owned());
    message(&CheckResponse {
        status: Some(Status { code: 0 }),
        http_response: Some(HttpResponse::Ok(OkHttpResponse {
            headers: headers.collect(),
            headers_to_remove: remove.collect(),
            query_parameters_to_remove: changes.parameters.clone(),
        })),
    })
}

/// The answer about a refused request.
pub(crate) fn refuse(refused: &Refused) -> Response<AnswerBody> {
    let headers = refused
        .headers
        .iter()
        .map(|(name, value)| option(name, value));
    message(&CheckResponse {
        status: Some(Status {
            code: refused.grpc_code(),
        }),
        http_response: Some(HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: refused.status.as_u16().into(),
            }),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&refused.body).into_owned(),
        })),
    })
}

fn option(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(check::HeaderValue {
            key: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            raw_value: Bytes::new(),
        }),
        append_action: check::OVERWRITE,
    }
}

/// `SERVING` (`grpc/health/v1/health.proto`).
pub(crate) fn healthy() -> Response<AnswerBody> {
    framed(&[0x08, 0x01])
}

/// A call that failed.
pub(crate) fn failed(code: u16) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, GRPC);
    response.headers_mut().insert(GRPC_STATUS, code.into());
    response
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

fn message(answer: &CheckResponse) -> Response<AnswerBody> {
    framed(&answer.encode_to_vec())
}

fn framed(payload: &[u8]) -> Response<AnswerBody> {
    let mut data = BytesMut::with_capacity(PREFIX + payload.len());
    data.put_u8(0);
    data.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    data.put_slice(payload);
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, 0.into());
    let mut response = Response::new(AnswerBody::with_trailers(data.freeze(), trailers));
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, GRPC);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::check::{Address, AttributeContext, AttributeRequest, Peer, SocketAddress};

    fn question(http: HttpRequest) -> Bytes {
        let socket_address = Some(SocketAddress {
            address: "203.0.113.7".to_owned(),
            port: 4711,
        });
        let check = CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    address: Some(Address { socket_address }),
                }),
                request: Some(AttributeRequest { http: Some(http) }),
            }),
        };
        let payload = check.encode_to_vec();
        let mut data = BytesMut::new();
        data.put_u8(0);
        data.put_u32(u32::try_from(payload.len()).expect("a short message"));
        data.put_slice(&payload);
        data.freeze()
    }

    fn http() -> HttpRequest {
        HttpRequest {
            method: "POST".to_owned(),
            path: "/v1/tts?a=b".to_owned(),
            host: "tts.example".to_owned(),
            protocol: "HTTP/2".to_owned(),
            headers: [(":path", "/v1/tts?a=b"), ("authorization", "Bearer x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..HttpRequest::default()
        }
    }

    #[test]
    fn the_request_is_read_from_the_attributes() {
        let checked = read(&question(http())).expect("a request");
        assert_eq!(checked.head.method, "POST");
        assert_eq!(checked.head.uri, "/v1/tts?a=b");
        assert_eq!(checked.head.version, Version::HTTP_2);
        assert_eq!(checked.head.headers[HOST], "tts.example");
        assert_eq!(checked.source.to_string(), "203.0.113.7:4711");
        assert!(!checked.has_body);

        let mut with_body = http();
        with_body.body = "{}".to_owned();
        let partial = PARTIAL_BODY.as_str().to_owned();
        with_body.headers.insert(partial.clone(), "true".to_owned());
        assert!(
            !read(&question(with_body.clone()))
                .expect("a request")
                .has_body
        );
        with_body.headers.insert(partial, "false".to_owned());
        assert!(read(&question(with_body)).expect("a request").has_body);
    }

    #[test]
    fn what_contradicts_itself_or_cannot_be_read_is_refused() {
        let differs = |change: fn(&mut HttpRequest)| {
            let mut http = http();
            change(&mut http);
            read(&question(http)).err()
        };
        assert_eq!(
            differs(|http| http.path = "/other".into()),
            Some(Unclear::Differs("a pseudo-header"))
        );
        assert_eq!(
            differs(|http| _ = http.headers.insert("host".into(), "evil".into())),
            Some(Unclear::Differs("Host"))
        );
        assert_eq!(
            differs(|http| http.host.clear()),
            Some(Unclear::Missing("host"))
        );
        assert_eq!(
            differs(|http| http.method = "A B".into()),
            Some(Unclear::Malformed("method"))
        );
        let whole = question(http());
        for cut in 0..whole.len() {
            assert!(read(&whole.slice(..cut)).is_err(), "{cut}");
        }
    }
}
