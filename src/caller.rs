//! The principal of an accepted request, as a handler sees it.

use voxgate_core::principal::Principal;
use voxgate_core::request_id::RequestId;
use voxgate_core::trace::{TraceContext, TraceId};

/// The method by which a caller was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The caller presented a credential, and it was verified.
    ApiKey,
    /// The caller presented a token (JWT), and it was verified.
    Jwt,
    /// The caller has proved to have the certificate of a key, and presented no other credential.
    Certificate,
    /// A deployment key is preconfigured, and the caller's credential was not read.
    DeploymentKey,
    /// The operator made this method and path public.
    Public,
}

impl AuthMethod {
    /// The name in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Certificate => "certificate",
            Self::DeploymentKey => "deployment_key",
            Self::Public => "public",
        }
    }
}

/// The principal of an accepted request, as a handler sees it.
///
/// Only the layer can create a `Caller`, which therefore proves that the layer accepted the
/// request. It is in the request's extensions. With the `axum` feature, it is an extractor.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    method: AuthMethod,
    request_id: RequestId,
    trace: Option<TraceContext>,
}

impl Caller {
    pub(crate) fn new(
        principal: Principal,
        method: AuthMethod,
        request_id: RequestId,
        trace: Option<TraceContext>,
    ) -> Self {
        Self {
            principal,
            method,
            request_id,
            trace,
        }
    }

    /// The caller of an accepted request, for a test of a handler. A program must not use it: a
    /// `Caller` proves that the layer accepted the request.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn for_test(principal: Principal) -> Self {
        let request_id = RequestId::new(std::time::Duration::ZERO);
        Self::new(principal, AuthMethod::ApiKey, request_id, None)
    }

    /// The key id; `deployment` when a deployment key is preconfigured, `public` on a public route.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.principal.id()
    }

    /// The principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The method by which the caller was accepted.
    #[must_use]
    pub fn auth_method(&self) -> AuthMethod {
        self.method
    }

    /// The identifier of this request in the audit trail.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The trace that this request belongs to, if the server put a [`TraceContext`] into the request's
    /// extensions.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace.map(|trace| trace.trace_id())
    }
}
