//! The principal of an accepted request, as a handler sees it.

use super::Principal;
use crate::request_id::RequestId;

/// How a caller came to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The caller presented a credential, and it was verified.
    ApiKey,
    /// A deployment key is preconfigured, and the caller's credential was not looked at.
    DeploymentKey,
    /// The operator made this method and path public.
    Public,
}

impl AuthMethod {
    /// The name that stands in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::DeploymentKey => "deployment_key",
            Self::Public => "public",
        }
    }
}

/// The principal of an accepted request, as a handler sees it.
///
/// Only the layer makes one, so a `Caller` proves that the layer ran and let
/// the request in. It travels in the request's extensions; with the `axum` feature it is an
/// extractor.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    method: AuthMethod,
    request_id: RequestId,
}

impl Caller {
    pub(crate) fn new(principal: Principal, method: AuthMethod, request_id: RequestId) -> Self {
        Self {
            principal,
            method,
            request_id,
        }
    }

    /// The key id; `deployment` when a deployment key is preconfigured, `public` on a public route.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.principal.id()
    }

    /// Who the caller is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// How the caller came to be accepted.
    #[must_use]
    pub fn auth_method(&self) -> AuthMethod {
        self.method
    }

    /// The identifier of this request in the audit trail.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }
}
