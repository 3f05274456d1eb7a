//! What is wrong with a request for a token.

use std::borrow::Cow;

use http::StatusCode;

/// What is wrong with a request for a token: for the caller, who must change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// The field of the body, as the vendor's API writes it; empty for the body as a whole.
    pub(crate) field: Cow<'static, str>,
    /// A sentence that names the field and the fix.
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// The body has another content type.
    ContentType,
    /// The body is not in the form that the content type promises.
    Malformed,
    /// The body did not arrive in time.
    TooSlow,
    /// There is no field of this name.
    UnknownField,
    /// The field is required.
    Missing,
    /// The value has the wrong type.
    WrongType,
    /// The value is not one of those that are allowed.
    InvalidValue,
    TooSmall,
    TooLarge,
    /// Two fields exclude each other.
    Conflict,
    /// The path names something that does not exist.
    UnknownPath,
    /// The key has no such right to give.
    ForbiddenScope,
}

impl Problem {
    pub(crate) fn new(
        kind: ProblemKind,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            field: field.into(),
            message: message.into(),
        }
    }

    /// The default status. A vendor may have another one.
    pub(crate) fn status(&self) -> StatusCode {
        match self.kind {
            ProblemKind::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ProblemKind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            ProblemKind::UnknownPath => StatusCode::NOT_FOUND,
            ProblemKind::ForbiddenScope => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
