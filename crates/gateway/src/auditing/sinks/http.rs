//! The HTTP sink: posts JSON lines to a collector.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};
use ureq::Agent;

use voxgate::env::read_text;

use super::queue::Delivery;
use super::worker::{DeliveryError, Sink};
use crate::http_client;
use crate::tls::{Roots, ureq_client};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The collector's URL and credential.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    pub(super) url: Uri,
    /// Read again for each batch, so that a new token needs no restart.
    pub(super) token_file: Option<PathBuf>,
}

/// Sends batches of lines with `POST`.
pub(super) struct HttpSink {
    collector: Collector,
    delivery: Delivery,
    agent: Agent,
    /// The refusal of batches has been logged.
    is_refusing: bool,
}

impl HttpSink {
    pub(super) fn new(collector: Collector, delivery: Delivery, roots: &Roots) -> Self {
        Self {
            collector,
            delivery,
            agent: http_client::agent(ureq_client(roots), ANSWER_WITHIN),
            is_refusing: false,
        }
    }

    fn authorization(&self) -> io::Result<Option<HeaderValue>> {
        let Some(path) = &self.collector.token_file else {
            return Ok(None);
        };
        let token = read_text(path)?;
        bearer(&token).map(Some).ok_or_else(|| {
            let message = "the file in VOXGATE_AUDIT_HTTP_TOKEN_FILE holds no token; write one word of ASCII to it";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }
}

/// The `Authorization` value for a token (RFC 6750 §2.1).
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let token = token.trim();
    let plain = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().all(plain) {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Sink for HttpSink {
    fn deliver(&mut self, lines: &str) -> Result<u64, DeliveryError> {
        let mut request = self
            .agent
            .post(&self.collector.url)
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(authorization) = self.authorization()? {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut response = request.send(lines).map_err(ureq::Error::into_io)?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // A body that is read to its end leaves the connection open for the next batch.
        let _ = response
            .body_mut()
            .with_config()
            .limit(64 * 1024)
            .read_to_vec();
        match BatchVerdict::of(status) {
            BatchVerdict::Taken => {
                self.is_refusing = false;
                Ok(0)
            }
            // A required sink retries a refused batch: it may not lose records.
            BatchVerdict::Refused if self.delivery == Delivery::BestEffort => {
                if !self.is_refusing {
                    let status = status.as_u16();
                    tracing::error!(
                        status,
                        "the collector of VOXGATE_AUDIT_HTTP refuses audit records; they are not sent again"
                    );
                }
                self.is_refusing = true;
                Ok(super::chunk::Chunk::new(lines).records)
            }
            BatchVerdict::Refused | BatchVerdict::Later => Err(DeliveryError {
                error: io::Error::other(format!(
                    "the collector answered with status {}",
                    status.as_u16()
                )),
                retry_after,
            }),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum BatchVerdict {
    Taken,
    /// The collector will never take this batch.
    Refused,
    /// The collector may take this batch later.
    Later,
}

impl BatchVerdict {
    fn of(status: StatusCode) -> Self {
        match status {
            _ if status.is_success() => Self::Taken,
            // Causes outside of the batch: token, URL, load.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS => Self::Later,
            _ if status.is_client_error() => Self::Refused,
            _ => Self::Later,
        }
    }
}

/// `Retry-After` in seconds. A date is ignored, since the two clocks can differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_batch_is_at_fault_for_is_lost() {
        let verdict = |code| BatchVerdict::of(StatusCode::from_u16(code).expect("a status"));
        for code in [200, 202, 204] {
            assert_eq!(verdict(code), BatchVerdict::Taken, "{code}");
        }
        for code in [400, 405, 413, 415, 422] {
            assert_eq!(verdict(code), BatchVerdict::Refused, "{code}");
        }
        for code in [301, 302, 307, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(code), BatchVerdict::Later, "{code}");
        }
    }

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let header = bearer("hunter2\n").expect("a token");
        assert_eq!(header, "Bearer hunter2");
        assert!(!format!("{header:?}").contains("hunter2"));
        for wrong in ["", " \n", "two words", "two\nlines", "\u{e9}"] {
            assert_eq!(bearer(wrong), None, "{wrong:?}");
        }
    }
}
