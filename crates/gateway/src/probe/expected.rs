//! The expected answer and the actual answer of a probe.

use std::fmt;

use http::header::WWW_AUTHENTICATE;
use http::{Response, StatusCode};

/// The expected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// An answer of the server behind the gateway, to which the gateway forwarded the request.
    Success,
    Status(StatusCode),
}

impl Expected {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "success" {
            return Ok(Self::Success);
        }
        let status = text.parse().ok();
        status
            .map(Self::Status)
            .ok_or("must be a status, such as 401, or `success`")
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Status(status) => f.write_str(status.as_str()),
        }
    }
}

/// The parts of an answer that a probe checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    /// Whether the answer challenges for a credential (RFC 9110 §11.6.1).
    is_challenge: bool,
}

impl Answer {
    pub(super) fn of<B>(response: &Response<B>) -> Self {
        Self {
            status: response.status(),
            is_challenge: response.headers().contains_key(WWW_AUTHENTICATE),
        }
    }

    pub(super) fn meets(self, expected: Expected) -> bool {
        match expected {
            Expected::Status(status) => self.status == status,
            Expected::Success => self.refusal_reason().is_none(),
        }
    }

    /// Why the request was not served by the server behind the gateway.
    fn refusal_reason(self) -> Option<&'static str> {
        match self.status {
            StatusCode::UNAUTHORIZED => Some("no valid key was presented"),
            StatusCode::FORBIDDEN => Some("the key is unknown, or not allowed to do this"),
            StatusCode::TOO_MANY_REQUESTS => Some("a rate limit was exceeded"),
            status if status.is_server_error() => Some("the server could not serve the request"),
            // RFC 6750 §3.1: a credential in a form that the dialect does not have gets a 400.
            _ if self.is_challenge => {
                Some("the key was presented in a form that the gateway does not accept")
            }
            _ => None,
        }
    }

    /// Describes the answer and the expectation.
    pub(super) fn compare(self, expected: Expected) -> String {
        let status = self.status;
        match self.refusal_reason() {
            _ if self.meets(expected) => format!("{status}, as expected ({expected})"),
            Some(why) if expected == Expected::Success => {
                format!("{status} instead of success: {why}")
            }
            _ => format!("{status} instead of {expected}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_every_answer_of_the_server_behind_the_gateway() {
        let answer = |code: u16| {
            let response = Response::builder().status(code).body(());
            Answer::of(&response.expect("a status"))
        };
        for code in [200, 204, 302, 400, 404, 405, 415, 422, 426] {
            assert!(answer(code).meets(Expected::Success), "{code}");
        }
        for code in [401, 403, 429, 500, 502, 503, 504, 599] {
            assert!(!answer(code).meets(Expected::Success), "{code}");
        }
        let challenge = Response::builder()
            .status(400)
            .header("WWW-Authenticate", "Bearer error=\"invalid_request\"")
            .body(());
        let challenge = Answer::of(&challenge.expect("a status"));
        assert!(!challenge.meets(Expected::Success), "{challenge:?}");
    }

    #[test]
    fn a_status_has_three_digits() {
        let status = Expected::Status(StatusCode::UNAUTHORIZED);
        assert_eq!(Expected::parse("401"), Ok(status));
        for wrong in ["", "ok", "Success", "99", "1000", "+40", " 401", "4xx"] {
            assert!(Expected::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
