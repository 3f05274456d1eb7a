//! ElevenLabs: `POST /v1/single-use-token/{type}`
//! ([single use token](https://elevenlabs.io/docs/api-reference/tokens/create)).
//!
//! The type of a token is the only thing that it may do. It is consumed by its first use. The server
//! of the vendor answers a type that it does not know as FastAPI does, with 422.

use http::{Response, StatusCode};
use serde_json::json;
use voxgate::{Dialect, RequestId};

use super::{SPEAK, TRANSCRIBE};
use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::problem::{Problem, ProblemKind};
use crate::wish::Wish;

pub(super) static ENDPOINTS: [Endpoint; 1] = [Endpoint {
    vendor: "ElevenLabs",
    dialects: &[Dialect::ElevenLabs],
    path: "/v1/single-use-token/{type}",
    credential: KeyForm::Any,
    content: Content::Nothing,
    max_body: 0,
    life: Life::fixed(900),
    single_use: true,
    presented: "`?single_use_token=` on a WebSocket",
    read,
    answer,
    refuse,
}];

fn read(call: &Call<'_>) -> Result<Wish, Problem> {
    let scope = match call.segment {
        "tts_websocket" => SPEAK,
        "realtime_scribe" | "batch_scribe" => TRANSCRIBE,
        _ => {
            let message = "Input should be 'realtime_scribe', 'batch_scribe' or 'tts_websocket'";
            return Err(Problem::new(
                ProblemKind::UnknownPath,
                "token_type",
                message,
            ));
        }
    };
    Ok(Wish::default().among(&[scope]).single_use())
}

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    answer::json(StatusCode::OK, &json!({ "token": made.token.token }))
}

fn refuse(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    if problem.kind == ProblemKind::UnknownPath {
        let detail = json!({
            "type": "enum",
            "loc": ["path", problem.field],
            "msg": problem.message,
        });
        let body = json!({ "detail": [detail] });
        return answer::json(StatusCode::UNPROCESSABLE_ENTITY, &body);
    }
    let detail = json!({ "status": "invalid_request", "message": problem.message });
    answer::json(problem.status(), &json!({ "detail": detail }))
}
