//! Makes an acquire request from a principal.

use std::num::NonZeroU32;

use voxgate_limits::{AcquireRequest, Limits};

use crate::principal::Principal;

/// The request of a principal. The key's own limits come before `defaults`; `upstream` is the
/// concurrency limit of all callers together. `None` if the request has no limits.
pub(super) fn acquire_request(
    principal: &Principal,
    defaults: Limits,
    upstream: Option<NonZeroU32>,
) -> Option<AcquireRequest> {
    let own = principal.limits().or(defaults);
    let account = principal.account();
    let account = account.filter(|account| !account.limits().is_empty());
    if own.is_empty() && account.is_none() && upstream.is_none() {
        return None;
    }
    let mut request = AcquireRequest::new(principal.shared_id(), own);
    if let Some(account) = account {
        request = request.with_account(account.shared_id(), account.limits());
    }
    if let Some(most) = upstream {
        request = request.with_upstream_concurrency(most);
    }
    Some(request)
}
