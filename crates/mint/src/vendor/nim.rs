//! NVIDIA NIM: `POST /v1/realtime/synthesis_sessions`
//! ([realtime TTS](https://docs.nvidia.com/nim/speech/latest/reference/api-references/tts/realtime-tts.html)).
//!
//! The vendor does not document how long its tokens are valid. Here it is ten minutes, and a token can
//! be used until it ends. The client takes `client_secret.value` out of the answer and ignores the
//! rest, which describes the server's default session.

use http::{Response, StatusCode};
use serde_json::json;
use voxgate::{Dialect, RequestId};

use super::SPEAK;
use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::fields::Fields;
use crate::problem::Problem;
use crate::wish::Wish;

pub(super) static ENDPOINTS: [Endpoint; 1] = [Endpoint {
    vendor: "NVIDIA NIM",
    dialects: &[Dialect::Bearer],
    path: "/v1/realtime/synthesis_sessions",
    credential: KeyForm::Any,
    content: Content::Json,
    max_body: 64 * 1024,
    life: Life::fixed(600),
    single_use: false,
    presented: "the subprotocols `realtime, realtime-token.TOKEN`",
    read,
    answer,
    refuse,
}];

/// The body may describe the session, which says nothing about the token.
fn read(call: &Call<'_>) -> Result<Wish, Problem> {
    let session = match call.body {
        [] => Ok(()),
        body => Fields::of(body).map(drop),
    };
    session?;
    Ok(Wish::default().among(&[SPEAK]).realtime())
}

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    let body = json!({
        "id": format!("sess_{}", made.token.id),
        "object": "realtime.synthesis_session",
        "client_secret": { "value": made.token.token, "expires_at": made.expires_at() },
    });
    answer::json(StatusCode::OK, &body)
}

fn refuse(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    answer::json(problem.status(), &json!({ "detail": problem.message }))
}
