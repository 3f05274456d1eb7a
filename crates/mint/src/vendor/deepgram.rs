//! Deepgram: `POST /v1/auth/grant`
//! ([grant](https://developers.deepgram.com/reference/auth/tokens/grant)).
//!
//! A token has the permission `usage::write` alone: it may use speech and nothing that manages an
//! account. It can be used until it ends.

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
    vendor: "Deepgram",
    dialects: &[Dialect::Deepgram],
    path: "/v1/auth/grant",
    credential: KeyForm::Any,
    content: Content::Json,
    max_body: 4096,
    life: Life::seconds(30, 1, 3600),
    single_use: false,
    presented: "`Authorization: Bearer`, or the subprotocols `bearer, TOKEN`",
    read,
    answer,
    refuse,
}];

fn read(call: &Call<'_>) -> Result<Wish, Problem> {
    let (least, most) = call.limits();
    let mut fields = Fields::of(call.body)?;
    let seconds = fields.seconds("ttl_seconds", least, most)?;
    fields.end()?;
    Ok(Wish::default().after(seconds).among(&[SPEAK]))
}

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    let body = json!({ "access_token": made.token.token, "expires_in": made.seconds() });
    answer::json(StatusCode::OK, &body)
}

fn refuse(problem: &Problem, request_id: RequestId) -> Response<AnswerBody> {
    let status = problem.status();
    let code = status.canonical_reason().unwrap_or("Bad Request");
    let body = json!({
        "err_code": code,
        "err_msg": problem.message,
        "request_id": request_id.to_string(),
    });
    answer::json(status, &body)
}
