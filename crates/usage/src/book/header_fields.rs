//! The header fields that report quotas.

use std::fmt::Write as _;

use http::HeaderValue;
use voxgate::Principal;
use voxgate::rate_limit::{QuotaFields, QuotaUnit};

use super::{QuotaUse, UsageBook};
use crate::owner::scope_name;

impl UsageBook {
    /// The members of `RateLimit-Policy` and `RateLimit` for the quotas of a principal
    /// (draft-ietf-httpapi-ratelimit-headers-10).
    #[must_use]
    pub fn quota_fields(&self, principal: &Principal) -> Option<QuotaFields> {
        if !self.0.header_fields || !principal.has_quotas() {
            return None;
        }
        let (now, today) = (self.now(), self.today());
        let (mut policy, mut limit) = (String::new(), String::new());
        for quota in self.usage(principal).iter().flat_map(|it| &it.quotas) {
            if !policy.is_empty() {
                policy.push_str(", ");
                limit.push_str(", ");
            }
            let QuotaUse {
                scope,
                quota,
                used,
                resets,
            } = *quota;
            let (scope, unit) = (scope_name(scope), quota.unit().as_str());
            let name = format!("\"{scope}_{unit}_{}\"", quota.period().as_str());
            let left = quota.amount().saturating_sub(used);
            let (amount, left, unit) = match quota.unit() {
                QuotaUnit::Requests => (quota.amount(), left, ""),
                QuotaUnit::Characters => (quota.amount(), left, ";qu=\"characters\""),
                QuotaUnit::Audio => (quota.amount() / 1000, left / 1000, ";qu=\"audio-seconds\""),
            };
            let window = resets.duration_since(today.starts(quota.period()));
            let window = window.unwrap_or_default().as_secs();
            let reset = resets.duration_since(now).unwrap_or_default();
            // Rounded up, so that a caller does not retry too early.
            let reset = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
            // Writing to a string does not fail.
            let _ = write!(policy, "{name};q={amount};w={window}{unit}");
            let _ = write!(limit, "{name};r={left};t={reset}");
        }
        let policy = HeaderValue::try_from(policy).ok()?;
        let limit = HeaderValue::try_from(limit).ok()?;
        Some(QuotaFields { policy, limit })
    }
}
