//! `POST /voxgate/v1/tokens`: for the clients of vendors that have no request for tokens, in every
//! dialect. Answers and errors have the form of OAuth (RFC 6749 §5).

use http::{Response, StatusCode};
use serde_json::json;
use voxgate::RequestId;

use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::fields::Fields;
use crate::problem::{Problem, ProblemKind};
use crate::wish::{WantedScopes, Wish};

/// The most scopes or voices that a caller may name.
const MAX_NAMES: usize = 64;
const MAX_NAME_BYTES: usize = 128;

pub(super) static ENDPOINTS: [Endpoint; 1] = [Endpoint {
    vendor: "any",
    dialects: &[],
    path: "/voxgate/v1/tokens",
    credential: KeyForm::Any,
    content: Content::Json,
    max_body: 16 * 1024,
    life: Life::seconds(300, 1, 3600),
    single_use: false,
    presented: "as the key, where the dialect reads it",
    read,
    answer,
    refuse,
}];

fn read(call: &Call<'_>) -> Result<Wish, Problem> {
    let (least, most) = call.limits();
    let mut fields = Fields::of(call.body)?;
    let mut wish = Wish::default().after(fields.seconds("ttl_seconds", least, most)?);
    if let Some(scopes) = fields.texts("scopes")? {
        check_names("scopes", &scopes)?;
        wish.scopes = WantedScopes::Exactly(scopes);
    }
    if let Some(voices) = fields.texts("voices")? {
        check_names("voices", &voices)?;
        wish.voices = Some(voices);
    }
    match fields.text("kind")?.as_deref() {
        None | Some("standard") => {}
        Some("realtime") => wish.realtime = true,
        Some(_) => {
            let message = "kind must be \"standard\" or \"realtime\".";
            return Err(Problem::new(ProblemKind::InvalidValue, "kind", message));
        }
    }
    wish.single_use = fields.boolean("single_use")?.unwrap_or_default();
    fields.end()?;
    Ok(wish)
}

fn check_names(field: &'static str, names: &[String]) -> Result<(), Problem> {
    let is_good = |name: &String| {
        (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    if names.len() <= MAX_NAMES && names.iter().all(is_good) {
        return Ok(());
    }
    let message = format!(
        "{field} must be a list of at most {MAX_NAMES} names of 1 to {MAX_NAME_BYTES} bytes."
    );
    Err(Problem::new(ProblemKind::InvalidValue, field, message))
}

fn answer(made: &Made<'_>) -> Response<AnswerBody> {
    let mut body = json!({
        "access_token": made.token.token,
        "token_type": "Bearer",
        "expires_in": made.seconds(),
        "expires_at": made.expire_time(),
        "token_id": made.token.id,
        "single_use": made.wish.single_use,
    });
    if let Some(scopes) = made.scopes {
        let scopes: Vec<&str> = scopes.iter().map(voxgate::Scope::as_str).collect();
        body["scope"] = scopes.join(" ").into();
    }
    answer::json(StatusCode::OK, &body)
}

fn refuse(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    let code = match problem.kind {
        ProblemKind::ForbiddenScope => "invalid_scope",
        _ => "invalid_request",
    };
    let body = json!({ "error": code, "error_description": problem.message });
    answer::json(problem.status(), &body)
}
