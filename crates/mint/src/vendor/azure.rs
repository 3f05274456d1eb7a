//! Azure Speech: `POST /sts/v1.0/issueToken`
//! ([REST API](https://learn.microsoft.com/azure/ai-services/speech-service/rest-text-to-speech#how-to-get-an-access-token)).
//!
//! The answer is the token itself, and no JSON. A token has the rights of its key, for ten minutes,
//! and can be used until it ends.

use http::{Response, StatusCode};
use voxgate::{Dialect, RequestId};

use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::problem::Problem;
use crate::wish::Wish;

pub(super) static ENDPOINTS: [Endpoint; 1] = [Endpoint {
    vendor: "Azure Speech",
    dialects: &[Dialect::Azure],
    path: "/sts/v1.0/issueToken",
    credential: KeyForm::Any,
    content: Content::Nothing,
    max_body: 0,
    life: Life::fixed(600),
    single_use: false,
    presented: "`Authorization: Bearer`",
    read: |_: &Call<'_>| Ok(Wish::default()),
    answer,
    refuse,
}];

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    answer::text(StatusCode::OK, made.token.token.clone())
}

/// Its clients read the status.
fn refuse(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    answer::text(problem.status(), problem.message.clone())
}
