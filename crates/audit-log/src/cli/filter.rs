//! Selects records and requests.

use std::net::IpAddr;

use super::glob::Glob;
use super::peer::{self, Network};
use super::record::Record;

/// What the line of a completion contains.
const COMPLETION: &str = "\"event\":\"complete\"";

/// Conditions that a record must meet. An empty filter selects every record.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Key ids. A record needs one of them, unless the list is empty.
    pub(super) keys: Vec<Glob>,
    /// Accounts. A record needs one of them, unless the list is empty.
    pub(super) accounts: Vec<Glob>,
    pub(super) outcome: Option<String>,
    /// Reasons. A record needs one of them, unless the list is empty.
    pub(super) reasons: Vec<String>,
    pub(super) status: Option<StatusFilter>,
    pub(super) path: Option<Pattern>,
    pub(super) method: Option<String>,
    /// Networks. The peer must be in one of them, unless the list is empty.
    pub(super) peers: Vec<Network>,
    /// Networks. The client must be in one of them, unless the list is empty.
    pub(super) clients: Vec<Network>,
    pub(super) request_id: Option<String>,
    pub(super) event: Option<String>,
    /// The start of the period, inclusive.
    pub(super) since: Option<String>,
    /// The end of the period, exclusive.
    pub(super) until: Option<String>,
}

/// One status, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusFilter {
    One(u16),
    /// `4xx`
    Class(u16),
}

impl StatusFilter {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        match class {
            Some(class) if class.len() == 1 => {
                let class = class.parse().ok()?;
                (1..=5).contains(&class).then_some(Self::Class(class))
            }
            _ => {
                let status = text.parse().ok()?;
                (100..=599).contains(&status).then_some(Self::One(status))
            }
        }
    }

    fn matches(self, status: u16) -> bool {
        match self {
            Self::One(wanted) => status == wanted,
            Self::Class(class) => status / 100 == class,
        }
    }
}

/// The start of a path. With `*` for any text, the whole path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) Glob);

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match self.0.0.contains('*') {
            true => self.0.matches(path),
            false => path.starts_with(&self.0.0),
        }
    }
}

impl Filter {
    /// Whether a line could contain a selected record. The check is cheap and never skips such a
    /// record.
    pub(super) fn may_match(&self, line: &str) -> bool {
        let missing = |text: &str| is_plain(text) && !line.contains(text);
        let none = |globs: &[Glob]| {
            let mut texts = globs.iter().map(Glob::literal);
            !globs.is_empty() && texts.all(missing)
        };
        // A completion has the key's id, and its decision has the account.
        let no_account = none(&self.accounts) && !line.contains(COMPLETION);
        let no_request = self.request_id.as_deref().is_some_and(missing);
        // The line may contain the text in escapes.
        !(none(&self.keys) || no_account || no_request) || line.contains('\\')
    }

    /// Whether the filter has a condition on a field that only decisions have.
    pub(super) fn asks_the_decision(&self) -> bool {
        self.path.is_some()
            || self.method.is_some()
            || !self.peers.is_empty()
            || !self.clients.is_empty()
            || !self.accounts.is_empty()
    }

    /// Whether a record is selected. A field that it lacks may be in `before`, its decision.
    pub(super) fn wants(&self, record: &Record<'_>, before: Option<&Record<'_>>) -> bool {
        self.event
            .as_deref()
            .is_none_or(|event| *record.event == *event)
            && self.wants_time(&record.ts)
            && self.wants_decided(before.unwrap_or(record), record)
            && self.wants_status(record)
    }

    /// Whether the decision, or a completion that follows it, could be selected. A request that
    /// began before the period may end within it.
    pub(super) fn may_want(&self, decision: &Record<'_>) -> bool {
        self.until
            .as_deref()
            .is_none_or(|until| &*decision.ts < until)
            && self.wants_decided(decision, decision)
    }

    /// Whether a request is selected. One or both of its records are known.
    pub(super) fn wants_request(
        &self,
        decision: Option<&Record<'_>>,
        completion: Option<&Record<'_>>,
    ) -> bool {
        let (Some(first), Some(last)) = (decision.or(completion), completion.or(decision)) else {
            return false;
        };
        self.wants_time(&first.ts) && self.wants_decided(first, last) && self.wants_status(last)
    }

    fn wants_time(&self, ts: &str) -> bool {
        self.since.as_deref().is_none_or(|since| ts >= since)
            && self.until.as_deref().is_none_or(|until| ts < until)
    }

    fn wants_status(&self, record: &Record<'_>) -> bool {
        let is = |status: StatusFilter| record.status.is_some_and(|found| status.matches(found));
        self.status.is_none_or(is)
    }

    /// Checks the fields of a decision. A completion implies that its request was accepted.
    fn wants_decided(&self, decision: &Record<'_>, last: &Record<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let implied = |found: Option<&'static str>| found.filter(|_| last.is_completion());
        let key = decision.key_id.as_deref();
        let path = |pattern: &Pattern| {
            decision
                .path
                .as_deref()
                .is_some_and(|path| pattern.matches(path))
        };
        let one_of = |globs: &[Glob], found: Option<&str>| {
            globs.is_empty()
                || globs
                    .iter()
                    .any(|glob| found.is_some_and(|it| glob.matches(it)))
        };
        let reason = decision.reason.as_deref().or(implied(Some("ok")));
        one_of(&self.keys, key)
            && one_of(&self.accounts, decision.account.as_deref())
            && (self.reasons.is_empty() || self.reasons.iter().any(|wanted| reason == Some(wanted)))
            && is(
                &self.outcome,
                decision.outcome.as_deref().or(implied(Some("accepted"))),
            )
            && is(&self.method, decision.method.as_deref())
            && is(&self.request_id, decision.request_id.as_deref())
            && self.path.as_ref().is_none_or(path)
            && is_in(&self.peers, || {
                decision.peer.as_deref().and_then(peer::address)
            })
            && is_in(&self.clients, || decision.client_address())
    }
}

/// Whether an address is in one of the networks, unless there are none.
fn is_in(networks: &[Network], address: impl FnOnce() -> Option<IpAddr>) -> bool {
    networks.is_empty()
        || address().is_some_and(|address| networks.iter().any(|wanted| wanted.contains(address)))
}

/// Whether JSON encoders usually write a text without escapes.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECISION: &str = r#"{"v":1,"ts":"2026-03-14T10:11:12.000000Z","event":"decision","outcome":"accepted","reason":"ok","request_id":"r1","key_id":"ivr","account":"acme","peer":"10.1.2.3:5","method":"POST","path":"/v1/rime-tts"}"#;
    const COMPLETION: &str = r#"{"v":1,"ts":"2026-04-01T00:00:00.000000Z","event":"complete","request_id":"r1","key_id":"ivr","status":200}"#;

    fn filter(change: impl FnOnce(&mut Filter)) -> Filter {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    }

    /// Whether the filter selects the decision, the completion alone, the completion with its
    /// decision, and the request.
    fn wants(filter: &Filter) -> [bool; 4] {
        let decision = Record::read(DECISION).expect("a record");
        let completion = Record::read(COMPLETION).expect("a record");
        [
            filter.wants(&decision, None),
            filter.wants(&completion, None),
            filter.wants(&completion, Some(&decision)),
            filter.wants_request(Some(&decision), Some(&completion)),
        ]
    }

    #[test]
    fn each_condition_is_checked_on_the_record_that_has_the_field() {
        let text = |text: &str| Some(text.to_owned());
        for (name, change, expected) in [
            ("none", filter(|_| ()), [true; 4]),
            (
                "key",
                filter(|f| f.keys = vec!["x".into(), "ivr".into()]),
                [true; 4],
            ),
            (
                "other key",
                filter(|f| f.keys = vec!["iv".into()]),
                [false; 4],
            ),
            (
                "key pattern",
                filter(|f| f.keys = vec!["i*".into()]),
                [true; 4],
            ),
            (
                "account",
                filter(|f| f.accounts = vec!["ac*".into()]),
                [true, false, true, true],
            ),
            (
                "accepted",
                filter(|f| f.outcome = text("accepted")),
                [true; 4],
            ),
            (
                "refused",
                filter(|f| f.outcome = text("refused")),
                [false; 4],
            ),
            (
                "reason",
                filter(|f| f.reasons = vec!["ok".into()]),
                [true; 4],
            ),
            (
                "status",
                filter(|f| f.status = StatusFilter::parse("2xx")),
                [false, true, true, true],
            ),
            (
                "other status",
                filter(|f| f.status = StatusFilter::parse("404")),
                [false; 4],
            ),
            (
                "path",
                filter(|f| f.path = Some(Pattern("/v1/".into()))),
                [true, false, true, true],
            ),
            (
                "method",
                filter(|f| f.method = text("POST")),
                [true, false, true, true],
            ),
            (
                "peer",
                filter(|f| f.peers = vec![Network::parse("10.0.0.0/8").expect("one")]),
                [true, false, true, true],
            ),
            (
                "client, which is the peer",
                filter(|f| f.clients = vec![Network::parse("10.0.0.0/8").expect("one")]),
                [true, false, true, true],
            ),
            (
                "other client",
                filter(|f| f.clients = vec![Network::parse("203.0.113.0/24").expect("one")]),
                [false; 4],
            ),
            ("request", filter(|f| f.request_id = text("r1")), [true; 4]),
            (
                "event",
                filter(|f| f.event = text("complete")),
                [false, true, true, true],
            ),
            (
                "since",
                filter(|f| f.since = text("2026-03-15T00:00:00.000000Z")),
                [false, true, true, false],
            ),
            (
                "until",
                filter(|f| f.until = text("2026-03-15T00:00:00.000000Z")),
                [true, false, false, true],
            ),
        ] {
            assert_eq!(wants(&change), expected, "{name}");
        }
    }

    #[test]
    fn behind_a_proxy_the_client_is_not_the_peer() {
        let line = DECISION.replace("\"method\"", "\"client\":\"203.0.113.7\",\"method\"");
        let decision = Record::read(&line).expect("a record");
        let networks = |text| vec![Network::parse(text).expect("one")];
        for (network, of_peer, of_client) in
            [("10.0.0.0/8", true, false), ("203.0.113.0/24", false, true)]
        {
            let by_peer = filter(|f| f.peers = networks(network));
            let by_client = filter(|f| f.clients = networks(network));
            let found = [by_peer, by_client].map(|filter| filter.wants(&decision, None));
            assert_eq!(found, [of_peer, of_client], "{network}");
        }
    }

    #[test]
    fn a_pattern_is_a_prefix_unless_it_has_a_star() {
        for (pattern, path, expected) in [
            ("/v1", "/v1/rime-tts", true),
            ("/v1", "/v2", false),
            ("", "", true),
            ("*", "/anything", true),
            ("/v1/*/stream", "/v1/a/b/stream", true),
            ("/v1/*/stream", "/v1/stream", false),
            ("*tts", "/v1/rime-tts", true),
            ("*tts", "/v1/rime-tts/x", false),
            ("/*a*b", "/aab", true),
            ("/a*a", "/a", false),
            ("/*x*", "/abc", false),
        ] {
            let found = Pattern(pattern.into()).matches(path);
            assert_eq!(found, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_cheap_check_keeps_every_line_that_could_match() {
        let by_key = |key: &str| filter(|f| f.keys = vec![key.into()]);
        assert!(by_key("ivr").may_match(DECISION));
        assert!(!by_key("other").may_match(DECISION));
        assert!(by_key("other").may_match(r#"{"key_id":"\u006fther"}"#));
        // A text that may be written in escapes cannot be searched for.
        assert!(by_key("é").may_match(DECISION));
        let by_request = |id: &str| filter(|f| f.request_id = Some(id.to_owned()));
        assert!(by_key("i*r").may_match(DECISION) && !by_key("i*x9").may_match(DECISION));
        let by_account = |account: &str| filter(|f| f.accounts = vec![account.into()]);
        assert!(by_account("acme").may_match(DECISION) && by_account("acme").may_match(COMPLETION));
        assert!(!by_account("other").may_match(DECISION));
        assert!(by_request("r1").may_match(DECISION) && !by_request("r2").may_match(DECISION));
    }

    #[test]
    fn statuses_are_single_or_a_class() {
        assert_eq!(StatusFilter::parse("404"), Some(StatusFilter::One(404)));
        assert_eq!(StatusFilter::parse("5XX"), Some(StatusFilter::Class(5)));
        for text in ["", "xx", "6xx", "44xx", "99", "600", "4x", "+4xx"] {
            assert_eq!(StatusFilter::parse(text), None, "{text}");
        }
    }
}
