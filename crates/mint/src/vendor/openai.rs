//! OpenAI: `POST /v1/realtime/client_secrets`
//! ([client secrets](https://platform.openai.com/docs/api-reference/realtime-sessions/create-realtime-client-secret)).
//!
//! A client secret opens realtime sessions, any number of them until it ends. The vendor keeps the
//! configuration of the session with the secret. The gateway does not: it repeats the configuration
//! in its answer, and the client sends it in `session.update`.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use voxgate::{Dialect, RequestId};

use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::fields::Fields;
use crate::problem::{Problem, ProblemKind};
use crate::wish::Wish;

pub(super) static ENDPOINTS: [Endpoint; 1] = [Endpoint {
    vendor: "OpenAI",
    dialects: &[Dialect::OpenAi],
    path: "/v1/realtime/client_secrets",
    credential: KeyForm::Any,
    content: Content::Json,
    // A session has instructions and descriptions of tools.
    max_body: 256 * 1024,
    life: Life::seconds(600, 10, 7200),
    single_use: false,
    presented: "`Authorization: Bearer`, or the subprotocols `realtime, openai-insecure-api-key.TOKEN`",
    read,
    answer,
    refuse,
}];

fn read(call: &Call<'_>) -> Result<Wish, Problem> {
    let (least, most) = call.limits();
    let mut fields = Fields::of(call.body)?;
    let mut seconds = None;
    if let Some(mut after) = fields.object("expires_after", "expires_after.")? {
        let anchor = after.text("anchor")?;
        if anchor.is_some_and(|anchor| anchor != "created_at") {
            let message = "expires_after.anchor must be \"created_at\".";
            let field = "expires_after.anchor";
            return Err(Problem::new(ProblemKind::InvalidValue, field, message));
        }
        seconds = after.seconds("seconds", least, most)?;
        after.end()?;
    }
    let mut session = fields.any_object("session")?.unwrap_or_default();
    fields.end()?;
    let kind = session.entry("type").or_insert_with(|| "realtime".into());
    let object = match kind.as_str() {
        Some("realtime") => "realtime.session",
        Some("transcription") => "realtime.transcription_session",
        _ => {
            let message = "session.type must be \"realtime\" or \"transcription\".";
            return Err(Problem::new(
                ProblemKind::InvalidValue,
                "session.type",
                message,
            ));
        }
    };
    session.insert("object".to_owned(), object.into());
    let wish = Wish::default()
        .after(seconds)
        .among(&["realtime"])
        .realtime();
    Ok(wish.echo("session", session))
}

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    let mut session = made.wish.echo.get("session").cloned().unwrap_or_default();
    if let Value::Object(session) = &mut session {
        let id = format!("sess_{}", made.token.id);
        session.insert("id".to_owned(), id.into());
    }
    let body = json!({
        "value": made.token.token,
        "expires_at": made.expires_at(),
        "session": session,
    });
    answer::json(StatusCode::OK, &body)
}

fn refuse(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    let code = match problem.kind {
        ProblemKind::TooSmall => "integer_below_min_value",
        ProblemKind::TooLarge => "integer_above_max_value",
        ProblemKind::WrongType => "invalid_type",
        ProblemKind::UnknownField => "unknown_parameter",
        ProblemKind::InvalidValue => "invalid_value",
        ProblemKind::ContentType => "unsupported_content_type",
        _ => "invalid_request",
    };
    let param = (!problem.field.is_empty()).then_some(&problem.field);
    let error = json!({
        "message": problem.message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    });
    answer::json(problem.status(), &json!({ "error": error }))
}
