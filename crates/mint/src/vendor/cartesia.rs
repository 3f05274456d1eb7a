//! Cartesia: `POST /access-token`
//! ([access token](https://docs.cartesia.ai/api-reference/auth/access-token)).
//!
//! The caller names what the token may do: `tts`, `stt`, `agent`. A token without any grant may do
//! nothing. It can be used until it ends. The vendor documents the longest life and no default; the
//! default here is the life in its example.

use http::{Response, StatusCode};
use serde_json::json;
use voxgate::{Dialect, RequestId};

use super::{SPEAK, TRANSCRIBE};
use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::fields::Fields;
use crate::problem::{Problem, ProblemKind};
use crate::wish::Wish;

const GRANTS: [(&str, &str); 3] = [
    ("tts", SPEAK),
    ("stt", TRANSCRIBE),
    ("agent", "agents:call"),
];

pub(super) static ENDPOINTS: [Endpoint; 1] = [Endpoint {
    vendor: "Cartesia",
    dialects: &[Dialect::Cartesia],
    path: "/access-token",
    credential: KeyForm::Any,
    content: Content::Json,
    max_body: 4096,
    life: Life::seconds(60, 1, 3600),
    single_use: false,
    presented: "`Authorization: Bearer`, or `?access_token=` on a WebSocket",
    read,
    answer,
    refuse,
}];

fn read(call: &Call<'_>) -> Result<Wish, Problem> {
    let (least, most) = call.limits();
    let mut fields = Fields::of(call.body)?;
    let seconds = fields.seconds("expires_in", least, most)?;
    let grants = fields.object("grants", "grants.")?;
    fields.end()?;
    let mut scopes = Vec::new();
    if let Some(mut grants) = grants {
        for (grant, scope) in GRANTS {
            if grants.boolean(grant)? == Some(true) {
                scopes.push(scope);
            }
        }
        grants.end()?;
    }
    if scopes.is_empty() {
        let message = "grants must allow at least one of tts, stt and agent, such as \
                       {\"tts\": true}; a token without a grant could be used for nothing.";
        return Err(Problem::new(ProblemKind::Missing, "grants", message));
    }
    Ok(Wish::default().after(seconds).among(&scopes))
}

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    answer::json(StatusCode::OK, &json!({ "token": made.token.token }))
}

fn refuse(problem: &Problem, request_id: RequestId) -> Response<AnswerBody> {
    let status = problem.status();
    let body = json!({
        "error_code": "bad_request",
        "title": status.canonical_reason(),
        "message": problem.message,
        "request_id": request_id.to_string(),
    });
    answer::json(status, &body)
}
