//! The request of a probe.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Uri};
use ureq::Timeout;
use ureq::tls::TlsConfig;
use voxgate::{Dialect, Secret};

use super::expected::Answer;
use crate::http_client;

/// The pause between two attempts while the connection fails.
const PAUSE: Duration = Duration::from_millis(250);

/// One request, and how long it may take.
pub(super) struct Probe {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) key: Option<(Secret, Dialect)>,
    pub(super) wait: Duration,
    pub(super) timeout: Duration,
}

impl Probe {
    /// Sends the request and returns the answer.
    ///
    /// # Errors
    ///
    /// A description of why there is no answer.
    pub(super) fn answer(&self) -> Result<Answer, String> {
        self.ask().map_err(|error| match error {
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(_) => "no answer before the timeout".to_owned(),
            error => error.to_string(),
        })
    }

    fn ask(&self) -> Result<Answer, ureq::Error> {
        let agent = http_client::agent(TlsConfig::default(), self.timeout);
        let begun = Instant::now();
        loop {
            match agent.run(self.request()?) {
                Ok(response) => return Ok(Answer::of(&response)),
                Err(error) if !is_not_connected(&error) => return Err(error),
                Err(error) if begun.elapsed() + PAUSE > self.wait => return Err(error),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn request(&self) -> Result<Request<()>, http::Error> {
        let request = Request::builder().method(&self.method).uri(&self.url);
        let mut request = request.body(())?;
        if self.method == Method::POST {
            // RFC 9110 §8.6. Without it, an empty body would be sent in chunks.
            let headers = request.headers_mut();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some((key, dialect)) = &self.key {
            // To its upstream, a gateway is a client of the vendor.
            dialect.add_deployment_key(key, request.headers_mut());
        }
        Ok(request)
    }
}

/// Shows the request without its query, which may contain a key.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self
            .url
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{} http://{host}{}", self.method, self.url.path())?;
        match &self.key {
            Some((_, dialect)) => write!(f, " with a key ({dialect})"),
            None => f.write_str(" without a key"),
        }
    }
}

/// Whether to try again: a gateway that is starting does not listen yet.
fn is_not_connected(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
    )
}
