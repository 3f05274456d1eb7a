//! The header fields that tell callers of their limits.
//!
//! `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10, §3 and §4: a
//! policy names its quota `q`, its window `w` in seconds and, unless it counts requests, its unit
//! `qu`; a limit says what is left of it, `r`, and after how many seconds, `t`, all of it is there
//! again. The upstream's own limit is not told: it is nobody's quota.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limit::Limits;

use super::ask::{Ask, Hit, Holder};
use super::book::{Quota, Quotas};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The fields of one answer; none where nothing limits the caller.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    policy: Option<HeaderValue>,
    limit: Option<HeaderValue>,
}

impl Fields {
    /// Of a request that has begun.
    pub(super) fn accepted(quotas: &Quotas) -> Self {
        let mut texts = Texts::new();
        for holder in [Holder::Key, Holder::Account] {
            if let Some(quota) = &quotas.0[holder as usize] {
                texts.add(holder, quota);
            }
        }
        texts.into_fields()
    }

    /// Of a request that has not: nothing is left of the limit that was hit, and of the others
    /// nothing was asked.
    pub(super) fn refused(ask: &Ask, hit: Hit) -> Self {
        let mut texts = Texts::new();
        for (holder, limits) in ask.holders() {
            if holder == Holder::Upstream {
                continue;
            }
            texts.policies(holder, limits);
            if hit.limit == holder.concurrency() {
                texts.left(holder.concurrency().as_str(), 0, None);
            } else if hit.limit == holder.rate() {
                texts.left(holder.rate().as_str(), 0, hit.retry_after);
            }
        }
        texts.into_fields()
    }

    /// They take the place of the inner service's own: of both, since what is left of a limit
    /// means nothing without its policy.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let fields = [(POLICY, &self.policy), (LIMIT, &self.limit)];
        if fields.iter().all(|(_, value)| value.is_none()) {
            return;
        }
        for (name, value) in fields {
            match value {
                Some(value) => _ = headers.insert(name, value.clone()),
                None => _ = headers.remove(name),
            }
        }
    }
}

struct Texts {
    policy: String,
    limit: String,
}

impl Texts {
    fn new() -> Self {
        // Enough for all but the oddest numbers.
        let [policy, limit] = [160, 128].map(String::with_capacity);
        Self { policy, limit }
    }

    fn add(&mut self, holder: Holder, quota: &Quota) {
        self.policies(holder, quota.limits);
        if let Some(left) = quota.left {
            self.left(holder.rate().as_str(), left.requests, Some(left.full_after));
        }
        if let Some(slots) = quota.slots {
            self.left(holder.concurrency().as_str(), slots, None);
        }
    }

    fn policies(&mut self, holder: Holder, limits: Limits) {
        if let Some((rate, burst)) = limits.rate_and_burst() {
            let window = seconds(rate.interval().saturating_mul(burst.get())).max(1);
            let name = next(&mut self.policy, holder.rate().as_str());
            let _ = write!(name, ";q={burst};w={window}");
        }
        if let Some(most) = limits.concurrency {
            let name = next(&mut self.policy, holder.concurrency().as_str());
            let _ = write!(name, ";q={most};qu=\"concurrent-requests\"");
        }
    }

    fn left(&mut self, name: &str, left: u32, full_after: Option<Duration>) {
        let text = next(&mut self.limit, name);
        let _ = write!(text, ";r={left}");
        if let Some(after) = full_after {
            let _ = write!(text, ";t={}", seconds(after));
        }
    }

    fn into_fields(self) -> Fields {
        let value = |text: String| {
            let some = Some(text).filter(|text| !text.is_empty());
            some.and_then(|text| HeaderValue::try_from(text).ok())
        };
        Fields {
            policy: value(self.policy),
            limit: value(self.limit),
        }
    }
}

/// Goes on to the next member of a list (RFC 9651 §3.1), a string.
fn next<'a>(list: &'a mut String, name: &str) -> &'a mut String {
    if !list.is_empty() {
        list.push_str(", ");
    }
    let _ = write!(list, "\"{name}\"");
    list
}

/// Rounded up: whoever waits so long does not come too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::book::Book;
    use crate::limit::Rate;
    use crate::principal::{Account, Principal};
    use std::num::NonZeroU32;
    use std::sync::Arc;

    fn limits(rate: Option<&str>, burst: Option<u32>, concurrency: Option<u32>) -> Limits {
        Limits {
            rate: rate.map(|text| Rate::parse(text).expect("a rate")),
            burst: burst.and_then(NonZeroU32::new),
            concurrency: concurrency.and_then(NonZeroU32::new),
        }
    }

    fn shown(fields: &Fields) -> [String; 2] {
        let mut headers = HeaderMap::new();
        headers.insert(LIMIT, HeaderValue::from_static("\"upstream\";r=1"));
        fields.write(&mut headers);
        [POLICY, LIMIT].map(|name| {
            let value = headers.get(name).map(HeaderValue::as_bytes);
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        })
    }

    #[test]
    fn a_caller_is_told_of_its_own_limits_and_its_accounts() {
        let account = Account::new("acme", limits(Some("600/min"), Some(20), None));
        let principal = Principal::new("a")
            .with_limits(limits(Some("50/s"), None, Some(4)))
            .with_account(Arc::new(account));
        let ask = Ask::new(&principal, Limits::default(), NonZeroU32::new(9)).expect("limits");
        let mut book = Book::new();
        let now = Duration::from_secs(1);
        let quotas = book.begin(&ask, now).expect("the first");
        let policy = "\"key_rate\";q=50;w=1, \"key_concurrency\";q=4;qu=\"concurrent-requests\", \
                      \"account_rate\";q=20;w=2";
        let left = "\"key_rate\";r=49;t=1, \"key_concurrency\";r=3, \"account_rate\";r=19;t=1";
        assert_eq!(shown(&Fields::accepted(&quotas)), [policy, left]);
        for _ in 1..4 {
            book.begin(&ask, now).expect("one more");
        }
        let hit = book.begin(&ask, now).expect_err("too many");
        let left = "\"key_concurrency\";r=0";
        assert_eq!(shown(&Fields::refused(&ask, hit)), [policy, left]);
        let wait = Some(Duration::from_millis(1500));
        let hit = Hit {
            limit: crate::limit::Limit::AccountRate,
            retry_after: wait,
        };
        let left = "\"account_rate\";r=0;t=2";
        assert_eq!(shown(&Fields::refused(&ask, hit)), [policy, left]);
    }

    #[test]
    fn the_upstreams_limit_is_nobodys_business() {
        let ask = Ask::new(&Principal::new("a"), Limits::default(), NonZeroU32::new(1));
        let ask = ask.expect("a limit");
        let mut book = Book::new();
        let quotas = book.begin(&ask, Duration::ZERO).expect("the first");
        let untouched = ["", "\"upstream\";r=1"];
        assert_eq!(shown(&Fields::accepted(&quotas)), untouched);
        let hit = book.begin(&ask, Duration::ZERO).expect_err("too many");
        assert_eq!(shown(&Fields::refused(&ask, hit)), untouched);
    }

    /// What is left of slots is not told where replicas share them; the upstream's own `RateLimit`
    /// would name a policy that is not there.
    #[test]
    fn the_fields_take_the_place_of_the_upstreams_together() {
        let principal = Principal::new("a").with_limits(limits(None, None, Some(4)));
        let ask = Ask::new(&principal, Limits::default(), None).expect("a limit");
        let mut quotas = Book::new().begin(&ask, Duration::ZERO).expect("the first");
        for quota in quotas.0.iter_mut().flatten() {
            quota.slots = None;
        }
        let policy = "\"key_concurrency\";q=4;qu=\"concurrent-requests\"";
        assert_eq!(shown(&Fields::accepted(&quotas)), [policy, ""]);
    }
}
