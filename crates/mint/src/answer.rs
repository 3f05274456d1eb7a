//! The answers to requests for a token.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

/// A few bytes, and the trailers of gRPC.
#[derive(Debug, Default)]
pub struct AnswerBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}

impl From<Bytes> for AnswerBody {
    fn from(data: Bytes) -> Self {
        Self {
            data: Some(data).filter(|data| !data.is_empty()),
            trailers: None,
        }
    }
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: AnswerBody,
) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A token is for its caller alone (RFC 6749 §5.1).
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<AnswerBody> {
    respond(
        status,
        "application/json",
        Bytes::from(body.to_string()).into(),
    )
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, body: String) -> Response<AnswerBody> {
    respond(status, "text/plain", Bytes::from(body).into())
}

/// One message of gRPC, and its status.
pub(crate) fn grpc(message: &impl prost::Message) -> Response<AnswerBody> {
    let length = message.encoded_len();
    let mut data = BytesMut::with_capacity(5 + length);
    // Not compressed.
    data.put_u8(0);
    data.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows, so that there is always room.
    let _ = message.encode(&mut data);
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = AnswerBody {
        data: Some(data.freeze()),
        trailers: Some(trailers),
    };
    respond(StatusCode::OK, "application/grpc", body)
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const NOT_IN_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// A refusal of gRPC, without a message (gRPC over HTTP/2, "Trailers-Only").
pub(crate) fn grpc_refusal(status: u32, message: &str) -> Response<AnswerBody> {
    let mut response = respond(StatusCode::OK, "application/grpc", AnswerBody::default());
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(status));
    let message = utf8_percent_encode(message, NOT_IN_MESSAGE).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}
