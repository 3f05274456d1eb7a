//! What is known about a request while it is decided.

use crate::dialect::Dialect;
use crate::policy::PolicyInForce;
use crate::principal::{AuthMethod, Principal};

use super::super::request_start::RequestStart;

/// What is known about a request, for its audit record and its refusal.
pub(in super::super) struct DecisionContext {
    pub(in super::super) start: RequestStart,
    /// The dialect of the request; the layer's own if `auto` could not tell.
    pub(in super::super) dialect: Dialect,
    pub(in super::super) method: AuthMethod,
    /// The policy that judges the request.
    pub(in super::super) policy: PolicyInForce,
    /// The owner of the credential of a request that is denied. Of one that is not, its stage has it.
    pub(in super::super) principal: Option<Principal>,
}
