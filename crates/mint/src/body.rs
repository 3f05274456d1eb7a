//! Reads the body of a request for a token, up to its limit.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;
use voxgate::DenialKind;

use crate::endpoint::{Content, Endpoint};
use crate::problem::{Problem, ProblemKind};

/// How long the body may take to arrive.
const WITHIN: Duration = Duration::from_secs(10);

/// Why there is no body to read.
#[derive(Debug)]
pub(crate) enum Unread {
    Denied(DenialKind),
    Problem(Problem),
    /// The client broke off.
    Abandoned,
}

/// The whole body, if it is of the endpoint's content type and size.
pub(crate) async fn read<B>(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: B,
) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = body.size_hint().lower() > endpoint.max_body as u64;
    if too_large {
        return Err(Unread::Denied(DenialKind::ContentTooLarge));
    }
    let collected = timeout(WITHIN, Limited::new(body, endpoint.max_body).collect()).await;
    let body = match collected {
        Err(_) => {
            let message = format!(
                "The body did not arrive within {} seconds; send the request again.",
                WITHIN.as_secs()
            );
            return Err(Unread::Problem(Problem::new(
                ProblemKind::TooSlow,
                "",
                message,
            )));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Unread::Denied(DenialKind::ContentTooLarge));
        }
        Ok(Err(_)) => return Err(Unread::Abandoned),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    check_type(endpoint.content, headers, &body).map_err(Unread::Problem)?;
    Ok(body)
}

fn check_type(content: Content, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (given, more) = (types.next(), types.next().is_some());
    let given = given.map(HeaderValue::as_bytes).unwrap_or_default();
    let media = given.split(|byte| *byte == b';').next().unwrap_or_default();
    let is = |expected: &str| !more && media.trim_ascii().eq_ignore_ascii_case(expected.as_bytes());
    let wrong = |message: &str| Err(Problem::new(ProblemKind::ContentType, "", message));
    match content {
        Content::Json if body.is_empty() || is("application/json") => Ok(()),
        Content::Json => wrong("The content type must be application/json."),
        Content::Nothing if body.is_empty() => Ok(()),
        Content::Nothing => Err(Problem::new(
            ProblemKind::Malformed,
            "",
            "This request has no body; send none.",
        )),
        Content::Grpc if is("application/grpc") || is("application/grpc+proto") => Ok(()),
        Content::Grpc => wrong("The content type must be application/grpc."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_must_have_the_type_of_its_endpoint() {
        let json = b"{}";
        for (content, given, body, accepted) in [
            (Content::Json, "application/json", &json[..], true),
            (Content::Json, "Application/JSON; charset=utf-8", json, true),
            (Content::Json, "", b"", true),
            (Content::Json, "text/plain", b"", true),
            (Content::Json, "", json, false),
            (Content::Json, "text/plain", json, false),
            (Content::Json, "application/jsonx", json, false),
            (Content::Json, "text/plain; application/json", json, false),
            (
                Content::Nothing,
                "application/x-www-form-urlencoded",
                b"",
                true,
            ),
            (Content::Nothing, "application/json", json, false),
            (Content::Grpc, "application/grpc", b"", true),
            (Content::Grpc, "application/grpc-web", b"", false),
            (Content::Grpc, "application/json", json, false),
        ] {
            let mut headers = HeaderMap::new();
            if !given.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(given));
            }
            let checked = check_type(content, &headers, body);
            assert_eq!(checked.is_ok(), accepted, "{content:?} {given:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        twice.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert!(check_type(Content::Json, &twice, json).is_err());
    }
}
