//! Inworld has two kinds of tokens.
//!
//! - `POST /auth/v1/tokens` makes a token for one use
//!   ([create token](https://docs.inworld.ai/api-reference/authAPI/tokens/create-token)). The key is
//!   presented as Basic; bearer callers are refused.
//! - `GenerateToken` makes a session token, over JSON or gRPC. Its SDKs sign the request. The vendor
//!   does not document how long these tokens are valid; here it is an hour, because the SDKs stop to
//!   use one five minutes before its end.

use std::time::{Duration, SystemTime};

use http::{Response, StatusCode};
use serde_json::json;
use voxgate::{Dialect, RequestId};

use crate::answer::{self, AnswerBody};
use crate::endpoint::{Call, Content, Endpoint, KeyForm, Life, Made};
use crate::fields::{Fields, whole_seconds};
use crate::problem::{Problem, ProblemKind};
use crate::wish::{Ends, Wish};

/// The names of resources that a request may have.
const MAX_RESOURCES: usize = 16;
const MAX_TEXT: usize = 256;

const ONE_USE: Life = Life::seconds(900, 1, 3600);
const SESSION: Life = Life::fixed(3600);
const PRESENTED: &str = "`Authorization: Bearer`, or the subprotocol `bearer_TOKEN`";

pub(super) static ENDPOINTS: [Endpoint; 4] = [
    Endpoint {
        vendor: "Inworld",
        dialects: &[Dialect::Inworld],
        path: "/auth/v1/tokens",
        credential: KeyForm::Basic,
        content: Content::Json,
        max_body: 4096,
        life: ONE_USE,
        single_use: true,
        presented: PRESENTED,
        read: read_one_use,
        answer: answer_one_use,
        refuse,
    },
    session("/auth/v1/tokens/token:generate"),
    session("/v1/sessionTokens/token:generate"),
    Endpoint {
        content: Content::Grpc,
        read: read_grpc,
        answer: answer_grpc,
        refuse: refuse_grpc,
        ..session("/ai.inworld.engine.WorldEngine/GenerateToken")
    },
];

const fn session(path: &'static str) -> Endpoint {
    Endpoint {
        vendor: "Inworld",
        dialects: &[Dialect::Inworld],
        path,
        credential: KeyForm::BasicOrSigned,
        content: Content::Json,
        max_body: 4096,
        life: SESSION,
        single_use: false,
        presented: PRESENTED,
        read: read_session,
        answer: answer_session,
        refuse,
    }
}

/// Fields of protobuf may be written in either case in JSON.
fn text_of(fields: &mut Fields, snake: &str, camel: &str) -> Result<Option<String>, Problem> {
    match (fields.text(snake)?, fields.text(camel)?) {
        (Some(_), Some(_)) => {
            let message = format!("{snake} stands twice; send it once.");
            Err(Problem::new(
                ProblemKind::Conflict,
                snake.to_owned(),
                message,
            ))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn read_one_use(call: &Call<'_>) -> Result<Wish, Problem> {
    let mut fields = Fields::of(call.body)?;
    let single_use = match fields.boolean("single_use")? {
        None => fields.boolean("singleUse")?,
        given => given,
    };
    let ttl = fields.text("ttl")?;
    let expire_time = text_of(&mut fields, "expire_time", "expireTime")?;
    let reference = text_of(&mut fields, "client_reference_id", "clientReferenceId")?;
    fields.end()?;
    if single_use != Some(true) {
        let message = "single_use must be true; only single-use tokens are supported.";
        return Err(Problem::new(
            ProblemKind::InvalidValue,
            "single_use",
            message,
        ));
    }
    let mut wish = Wish::default().single_use();
    wish.ends = match (ttl, expire_time) {
        (Some(_), Some(_)) => {
            let message = "ttl and expire_time exclude each other; send one of them.";
            return Err(Problem::new(ProblemKind::Conflict, "ttl", message));
        }
        (Some(ttl), None) => Ends::After(duration(&ttl, call)?),
        (None, Some(time)) => Ends::At(moment(&time, call)?),
        (None, None) => Ends::Default,
    };
    if let Some(reference) = reference {
        if reference.len() > MAX_TEXT || reference.chars().any(char::is_control) {
            let message = format!(
                "client_reference_id must be at most {MAX_TEXT} bytes without control characters."
            );
            let field = "client_reference_id";
            return Err(Problem::new(ProblemKind::InvalidValue, field, message));
        }
        wish = wish.echo("clientReferenceId", reference);
    }
    Ok(wish)
}

/// A duration of protobuf's JSON: seconds with the suffix `s`.
fn duration(text: &str, call: &Call<'_>) -> Result<Duration, Problem> {
    let (least, most) = call.limits();
    let digits = text.strip_suffix('s').unwrap_or_default();
    let digits_of = digits.strip_prefix('-').unwrap_or(digits);
    let is_number = digits_of.starts_with(|first: char| first.is_ascii_digit())
        && digits_of
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = is_number.then(|| digits.parse::<f64>().ok()).flatten();
    let Some(number) = number else {
        let message = "ttl must be a duration in seconds, such as \"300s\".";
        return Err(Problem::new(ProblemKind::WrongType, "ttl", message));
    };
    whole_seconds("ttl", number, least, most).map(Duration::from_secs)
}

/// A time in the future, at most the longest life away.
fn moment(text: &str, call: &Call<'_>) -> Result<SystemTime, Problem> {
    let problem = |kind, message: &str| Err(Problem::new(kind, "expire_time", message));
    let Ok(time) = humantime::parse_rfc3339(text) else {
        let message = "expire_time must be a time such as \"2027-03-01T00:00:00Z\".";
        return problem(ProblemKind::WrongType, message);
    };
    let left = time.duration_since(call.now).unwrap_or_default();
    match left {
        left if left < call.life.shortest => {
            problem(ProblemKind::TooSmall, "expire_time must be in the future.")
        }
        left if left > call.life.longest => {
            let message = "expire_time must be at most one hour from now.";
            problem(ProblemKind::TooLarge, message)
        }
        _ => Ok(time),
    }
}

fn answer_one_use(made: &Made<'_>) -> Response<AnswerBody> {
    let mut body = json!({
        "name": format!("tokens/{}", made.token.id),
        "accessToken": made.token.token,
        "expireTime": made.expire_time(),
        "singleUse": true,
        "createTime": humantime::format_rfc3339_seconds(made.token.issued).to_string(),
        "apiKey": made.key_id.unwrap_or_default(),
    });
    if let Some(reference) = made.wish.echo.get("clientReferenceId") {
        body["clientReferenceId"] = reference.clone();
    }
    answer::json(StatusCode::OK, &body)
}

fn read_session(call: &Call<'_>) -> Result<Wish, Problem> {
    let mut fields = Fields::of(call.body)?;
    let key = fields.text("key")?.unwrap_or_default();
    let resources = fields.texts("resources")?.unwrap_or_default();
    fields.end()?;
    session_wish(&key, resources, call)
}

fn session_wish(key: &str, resources: Vec<String>, call: &Call<'_>) -> Result<Wish, Problem> {
    // The signature does not cover the body. A body for another key is refused.
    if call.key_id.is_none_or(|own| own != key) {
        let message = "key must be the id of the API key that the request is signed with.";
        return Err(Problem::new(ProblemKind::InvalidValue, "key", message));
    }
    let is_good = |name: &String| name.len() <= MAX_TEXT && !name.chars().any(char::is_control);
    if resources.len() > MAX_RESOURCES || !resources.iter().all(is_good) {
        let message = format!(
            "resources must be a list of at most {MAX_RESOURCES} names of {MAX_TEXT} bytes."
        );
        return Err(Problem::new(
            ProblemKind::InvalidValue,
            "resources",
            message,
        ));
    }
    let workspace = resources
        .first()
        .and_then(|name| name.strip_prefix("workspaces/"));
    Ok(Wish::default().echo("workspace", workspace.unwrap_or("default")))
}

fn session_id(made: &Made<'_>) -> String {
    let workspace = made
        .wish
        .echo
        .get("workspace")
        .and_then(|name| name.as_str());
    format!("{}:{}", workspace.unwrap_or("default"), made.token.id)
}

fn answer_session(made: &Made<'_>) -> Response<AnswerBody> {
    let body = json!({
        "token": made.token.token,
        "type": "Bearer",
        "expirationTime": made.expire_time(),
        "sessionId": session_id(made),
    });
    answer::json(StatusCode::OK, &body)
}

/// gRPC status codes in JSON, as all of its API.
fn refuse(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    let body = json!({ "code": code(problem), "message": problem.message, "details": [] });
    answer::json(problem.status(), &body)
}

/// `INVALID_ARGUMENT`, `DEADLINE_EXCEEDED` or `PERMISSION_DENIED`.
fn code(problem: &Problem) -> u32 {
    match problem.kind {
        ProblemKind::TooSlow => 4,
        ProblemKind::ForbiddenScope => 7,
        _ => 3,
    }
}

/// `ai.inworld.engine.GenerateTokenRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct GenerateTokenRequest {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, repeated, tag = "2")]
    resources: Vec<String>,
}

/// `ai.inworld.engine.AccessToken`.
#[derive(Clone, PartialEq, prost::Message)]
struct AccessToken {
    #[prost(string, tag = "1")]
    token: String,
    #[prost(string, tag = "2")]
    r#type: String,
    #[prost(message, optional, tag = "3")]
    expiration_time: Option<Timestamp>,
    #[prost(string, tag = "4")]
    session_id: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

fn read_grpc(call: &Call<'_>) -> Result<Wish, Problem> {
    let malformed = |message: &str| Problem::new(ProblemKind::Malformed, "", message);
    let (head, message) = call
        .body
        .split_first_chunk::<5>()
        .ok_or_else(|| malformed("The body must be one message of gRPC."))?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 {
        return Err(malformed("The message must not be compressed."));
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(malformed("The body must be one message of gRPC."));
    }
    let request = <GenerateTokenRequest as prost::Message>::decode(message)
        .map_err(|_| malformed("The message must be a GenerateTokenRequest."))?;
    session_wish(&request.key, request.resources, call)
}

fn answer_grpc(made: &Made<'_>) -> Response<AnswerBody> {
    let seconds = i64::try_from(made.expires_at()).unwrap_or(i64::MAX);
    answer::grpc(&AccessToken {
        token: made.token.token.clone(),
        r#type: "Bearer".to_owned(),
        expiration_time: Some(Timestamp { seconds }),
        session_id: session_id(made),
    })
}

fn refuse_grpc(problem: &Problem, _: RequestId) -> Response<AnswerBody> {
    answer::grpc_refusal(code(problem), &problem.message)
}
