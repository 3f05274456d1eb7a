//! The HTTP client of the exporter.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use ureq::Agent;

/// Longest answer that is read. A collector's is empty, or names what it refused.
const MAX_ANSWER: u64 = 64 * 1024;

/// Sends exports on the thread of the exporter, which may block.
#[derive(Debug)]
pub(crate) struct BlockingClient(pub(crate) Agent);

#[async_trait]
impl HttpClient for BlockingClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.to_vec());
        let (parts, mut body) = self.0.run(request)?.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}
