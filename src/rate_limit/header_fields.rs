//! The header fields that report limits to callers.
//!
//! `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10, §3 and §4: a
//! policy names its quota `q`, its window `w` in seconds and, unless it counts requests, its unit
//! `qu`; a limit names the remainder `r`, and the seconds `t` until all of it is available again.
//! The upstream's limit is not reported, because it is not a quota of the caller.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use voxgate_limits::{AcquireError, AcquireRequest, Limit, LimitScope, Limits, Remaining};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The fields of one response. Empty if the caller has no limits.
#[derive(Debug, Default)]
pub(crate) struct HeaderFields {
    policy: Option<HeaderValue>,
    limit: Option<HeaderValue>,
    /// The concurrency of the key or account that has fewer slots left: used and allowed.
    concurrency: Option<[u32; 2]>,
}

impl HeaderFields {
    /// The fields of a request that has started.
    pub(super) fn granted(request: &AcquireRequest, remaining: &Remaining) -> Self {
        let mut texts = Texts::new();
        let mut concurrency = None;
        for (scope, limits) in scopes(request) {
            let Some(left) = remaining.get(scope) else {
                continue;
            };
            texts.policies(scope, limits);
            if let (Some(limit), Some(rate)) = (scope.rate(), left.rate) {
                texts.left(limit, rate.requests, Some(rate.full_after));
            }
            if let Some(permits) = left.concurrency {
                texts.left(scope.concurrency(), permits, None);
                let most = limits.concurrency.map_or(permits, NonZeroU32::get);
                let used = [most.saturating_sub(permits), most];
                let is_scarcer = |[used, most]: &[u32; 2]| permits < most - used;
                if concurrency.as_ref().is_none_or(is_scarcer) {
                    concurrency = Some(used);
                }
            }
        }
        texts.into_fields(concurrency)
    }

    /// The fields of a refused request. The limit that refused it has no remainder. The remainders
    /// of other limits are unknown.
    pub(super) fn refused(request: &AcquireRequest, error: AcquireError) -> Self {
        let mut texts = Texts::new();
        let mut concurrency = None;
        for (scope, limits) in scopes(request) {
            texts.policies(scope, limits);
            if let AcquireError::Exceeded(exceeded) = error {
                if exceeded.limit == scope.concurrency() {
                    texts.left(exceeded.limit, 0, None);
                    concurrency = limits.concurrency.map(|most| [most.get(); 2]);
                } else if Some(exceeded.limit) == scope.rate() {
                    texts.left(exceeded.limit, 0, exceeded.retry_after);
                }
            }
        }
        texts.into_fields(concurrency)
    }

    /// Writes the concurrency into two fields of the vendor: used and allowed.
    pub(crate) fn write_concurrency(
        &self,
        [used, allowed]: &'static [HeaderName; 2],
        headers: &mut HeaderMap,
    ) {
        if let Some([in_use, most]) = self.concurrency {
            headers.insert(used, in_use.into());
            headers.insert(allowed, most.into());
        }
    }

    /// Replaces both fields of the inner service, because the remainder of a limit is useless
    /// without its policy. Returns whether there are fields.
    pub(crate) fn write(&self, headers: &mut HeaderMap) -> bool {
        let fields = [(POLICY, &self.policy), (LIMIT, &self.limit)];
        if fields.iter().all(|(_, value)| value.is_none()) {
            return false;
        }
        for (name, value) in fields {
            match value {
                Some(value) => _ = headers.insert(name, value.clone()),
                None => _ = headers.remove(name),
            }
        }
        true
    }
}

/// More members of `RateLimit-Policy` and `RateLimit`, in the extensions of a response: those of the
/// caller's quotas. The layer adds them to the members of the limits.
#[derive(Clone, Debug)]
pub struct QuotaFields {
    /// Members of `RateLimit-Policy`.
    pub policy: HeaderValue,
    /// Members of `RateLimit`.
    pub limit: HeaderValue,
}

impl QuotaFields {
    /// Adds the members to those of the limits. Without limits, they replace the fields of the inner
    /// service.
    pub(crate) fn add(self, headers: &mut HeaderMap, has_limits: bool) {
        for (name, value) in [(POLICY, self.policy), (LIMIT, self.limit)] {
            let limits = headers.get(&name).filter(|_| has_limits);
            let both = limits.map(|limits| [limits.as_bytes(), b", ", value.as_bytes()].concat());
            let both = both.and_then(|both| HeaderValue::from_bytes(&both).ok());
            headers.insert(name, both.unwrap_or(value));
        }
    }
}

struct Texts {
    policy: String,
    limit: String,
}

impl Texts {
    fn new() -> Self {
        // Large enough for usual numbers.
        let [policy, limit] = [160, 128].map(String::with_capacity);
        Self { policy, limit }
    }

    fn policies(&mut self, scope: LimitScope, limits: Limits) {
        if let (Some(limit), Some((rate, burst))) = (scope.rate(), limits.rate_and_burst()) {
            let window = seconds(rate.interval().saturating_mul(burst.get())).max(1);
            let name = next(&mut self.policy, limit);
            let _ = write!(name, ";q={burst};w={window}");
        }
        if let Some(most) = limits.concurrency {
            let name = next(&mut self.policy, scope.concurrency());
            let _ = write!(name, ";q={most};qu=\"concurrent-requests\"");
        }
    }

    fn left(&mut self, limit: Limit, left: u32, full_after: Option<Duration>) {
        let text = next(&mut self.limit, limit);
        let _ = write!(text, ";r={left}");
        if let Some(after) = full_after {
            let _ = write!(text, ";t={}", seconds(after));
        }
    }

    fn into_fields(self, concurrency: Option<[u32; 2]>) -> HeaderFields {
        let value = |text: String| {
            let some = Some(text).filter(|text| !text.is_empty());
            some.and_then(|text| HeaderValue::try_from(text).ok())
        };
        HeaderFields {
            policy: value(self.policy),
            limit: value(self.limit),
            concurrency,
        }
    }
}

/// Starts the next member of a list (RFC 9651 §3.1), a string.
fn next(list: &mut String, limit: Limit) -> &mut String {
    if !list.is_empty() {
        list.push_str(", ");
    }
    let _ = write!(list, "\"{}\"", limit.as_str());
    list
}

/// The scopes that are reported to callers.
fn scopes(request: &AcquireRequest) -> impl Iterator<Item = (LimitScope, Limits)> {
    let scopes = request.scopes();
    scopes.filter(|(scope, _)| *scope != LimitScope::Upstream)
}

/// Rounds up to whole seconds, so that a caller does not retry too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use voxgate_limits::{Lease, LimitExceeded, LimitStore as _, LocalStore, Rate, ScopeRemaining};

    fn limits(rate: Option<&str>, burst: Option<u32>, concurrency: Option<u32>) -> Limits {
        Limits {
            rate: rate.map(|text| Rate::parse(text).expect("a rate")),
            burst: burst.and_then(NonZeroU32::new),
            concurrency: concurrency.and_then(NonZeroU32::new),
        }
    }

    fn acquire(
        store: &LocalStore,
        request: &AcquireRequest,
    ) -> Result<(Lease, Remaining), AcquireError> {
        let decision = store.acquire(request, None).take_ready();
        let granted = decision.expect("without a wait queue").result?;
        Ok((granted.lease, granted.remaining))
    }

    fn shown(fields: &HeaderFields) -> [String; 2] {
        let mut headers = HeaderMap::new();
        headers.insert(LIMIT, HeaderValue::from_static("\"upstream\";r=1"));
        fields.write(&mut headers);
        [POLICY, LIMIT].map(|name| {
            let value = headers.get(name).map(HeaderValue::as_bytes);
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        })
    }

    #[test]
    fn the_limits_of_key_and_account_are_reported() {
        let request = AcquireRequest::new("a", limits(Some("50/s"), None, Some(4)))
            .with_account("acme", limits(Some("600/min"), Some(20), None))
            .with_upstream_concurrency(NonZeroU32::MAX);
        let store = LocalStore::new(true);
        let (first, remaining) = acquire(&store, &request).expect("the first");
        let policy = "\"key_rate\";q=50;w=1, \"key_concurrency\";q=4;qu=\"concurrent-requests\", \
                      \"account_rate\";q=20;w=2";
        let left = "\"key_rate\";r=49;t=1, \"key_concurrency\";r=3, \"account_rate\";r=19;t=1";
        assert_eq!(
            shown(&HeaderFields::granted(&request, &remaining)),
            [policy, left]
        );
        let more = [(); 3].map(|()| acquire(&store, &request).expect("one more"));
        let exceeded = acquire(&store, &request).expect_err("too many");
        let left = "\"key_concurrency\";r=0";
        assert_eq!(
            shown(&HeaderFields::refused(&request, exceeded)),
            [policy, left]
        );
        drop((first, more));
        let exceeded = LimitExceeded::rate(LimitScope::Account, Duration::from_millis(1500));
        let left = "\"account_rate\";r=0;t=2";
        assert_eq!(
            shown(&HeaderFields::refused(&request, exceeded.into())),
            [policy, left]
        );
    }

    #[test]
    fn the_scarcer_concurrency_is_told_in_the_fields_of_the_vendor() {
        static NAMES: [HeaderName; 2] = [
            HeaderName::from_static("used"),
            HeaderName::from_static("most"),
        ];
        let shown = |fields: &HeaderFields| {
            let mut headers = HeaderMap::new();
            fields.write_concurrency(&NAMES, &mut headers);
            let value = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
            value("used").zip(value("most"))
        };
        let told = |used: &str, most: &str| Some((used.to_owned(), most.to_owned()));
        let request = AcquireRequest::new("a", limits(None, None, Some(4)))
            .with_account("acme", limits(None, None, Some(2)));
        let store = LocalStore::new(true);
        let (_first, remaining) = acquire(&store, &request).expect("the first");
        let fields = HeaderFields::granted(&request, &remaining);
        assert_eq!(shown(&fields), told("1", "2"));
        let _second = acquire(&store, &request).expect("the second");
        let exceeded = acquire(&store, &request).expect_err("too many");
        let fields = HeaderFields::refused(&request, exceeded);
        assert_eq!(shown(&fields), told("2", "2"));
        let rate = LimitExceeded::rate(LimitScope::Key, Duration::from_secs(1));
        assert_eq!(shown(&HeaderFields::refused(&request, rate.into())), None);
    }

    #[test]
    fn the_limit_of_the_upstream_is_not_reported() {
        let request =
            AcquireRequest::new("a", Limits::default()).with_upstream_concurrency(NonZeroU32::MIN);
        let store = LocalStore::new(true);
        let (_first, remaining) = acquire(&store, &request).expect("the first");
        let untouched = ["", "\"upstream\";r=1"];
        assert_eq!(
            shown(&HeaderFields::granted(&request, &remaining)),
            untouched
        );
        let exceeded = acquire(&store, &request).expect_err("too many");
        assert_eq!(shown(&HeaderFields::refused(&request, exceeded)), untouched);
    }

    /// A shared store does not report the remainder of concurrency limits. The upstream's own
    /// `RateLimit` would then name a policy that does not exist.
    #[test]
    fn both_fields_of_the_upstream_are_replaced() {
        let request = AcquireRequest::new("a", limits(None, None, Some(4)));
        let mut remaining = Remaining::default();
        remaining.set(LimitScope::Key, ScopeRemaining::default());
        let policy = "\"key_concurrency\";q=4;qu=\"concurrent-requests\"";
        assert_eq!(
            shown(&HeaderFields::granted(&request, &remaining)),
            [policy, ""]
        );
    }
}
