//! Follows requests from their decision to their end, for spans and for the access log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Version;
use voxgate::audit::{Completion, Decision, Ended};
use voxgate::{AuditRecord, Principal, RequestId};
use voxgate_core::trace::TraceContext;

use super::access_log;
use super::span::{Attributes, Span, SpanKind, SpanSink, Value, method_name, span_name};

const MAX_PATH_BYTES: usize = 512;
const MAX_HOST_BYTES: usize = 255;
const MAX_USER_AGENT_BYTES: usize = 256;
const MAX_REQUEST_ID_BYTES: usize = 128;
const MAX_METHOD_BYTES: usize = 32;

/// What is known of each request in progress that has a span or a line in the access log.
///
/// All of it comes from audit records, in which credentials are masked, so that no span and no line
/// says more than they do.
#[derive(Debug, Default)]
pub struct RequestLog {
    spans: Option<Arc<dyn SpanSink>>,
    scheme: &'static str,
    open: Mutex<HashMap<RequestId, Open>>,
    /// The number of those, which is read without the lock.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Open {
    decision: DecisionFacts,
    spans: bool,
    line: bool,
}

/// The facts of a decision.
#[derive(Debug)]
pub(crate) struct DecisionFacts {
    pub(crate) time: SystemTime,
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<TraceContext>,
    /// The context that the client sent, if its trace is not continued.
    linked: Option<TraceContext>,
    pub(crate) outcome: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) limit: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) queued: Option<Duration>,
    pub(crate) dialect: &'static str,
    pub(crate) auth_method: Option<&'static str>,
    pub(crate) principal: Option<Principal>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) client_request_id: Option<String>,
    pub(crate) host: Option<String>,
    method_name: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query_names: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) protocol: &'static str,
    route: Option<String>,
}

/// The facts of the end of an accepted request.
pub(crate) struct CompletionFacts {
    pub(crate) status: Option<u16>,
    pub(crate) failure: Option<&'static str>,
    pub(crate) ended: &'static str,
    pub(crate) queued: Option<Duration>,
    pub(crate) duration: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: Option<u64>,
    pub(crate) characters: Option<u64>,
    pub(crate) audio_ms: Option<u64>,
    is_fault: bool,
}

impl RequestLog {
    /// Sends spans to this sink. `scheme` is the scheme that clients use.
    #[must_use]
    pub fn new(spans: Option<Arc<dyn SpanSink>>, scheme: &'static str) -> Self {
        Self {
            spans,
            scheme,
            ..Self::default()
        }
    }

    /// Takes note of a record.
    pub fn note(&self, record: &AuditRecord<'_>) {
        match record {
            AuditRecord::Decision(decision) => self.decided(decision),
            AuditRecord::Completion(completion) => self.completed(completion),
            _ => {}
        }
    }

    fn decided(&self, decision: &Decision<'_>) {
        let is_sampled = decision.trace.is_some_and(|trace| trace.is_sampled());
        let spans = self.spans.is_some() && is_sampled;
        let line = access_log::is_on();
        if !spans && !line {
            return;
        }
        let open = Open {
            decision: DecisionFacts::of(decision),
            spans,
            line,
        };
        if decision.denial.is_some() {
            return self.emit(&open, None);
        }
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(decision.request_id, open);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    fn completed(&self, completion: &Completion<'_>) {
        // A request whose decision was noted is ended after it, by whatever thread.
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.remove(&completion.request_id);
        self.count.store(all.len(), Ordering::Relaxed);
        drop(all);
        if let Some(open) = open {
            self.emit(&open, Some(&CompletionFacts::of(completion)));
        }
    }

    fn emit(&self, open: &Open, end: Option<&CompletionFacts>) {
        if open.line {
            access_log::write(&open.decision, end);
        }
        if let Some(sink) = self.spans.as_ref().filter(|_| open.spans)
            && let Some(span) = open.decision.span(end, self.scheme)
        {
            sink.export(span);
        }
    }
}

impl DecisionFacts {
    fn of(decision: &Decision<'_>) -> Self {
        let untrusted = |bytes: Option<&[u8]>, most| bytes.map(|bytes| untrusted(bytes, most));
        let sent = decision.trace_parent.map(str::as_bytes);
        let sent = sent.and_then(TraceContext::parse);
        let trace_id = decision.trace.map(|trace| trace.trace_id());
        Self {
            time: decision.time,
            request_id: decision.request_id,
            trace: decision.trace,
            linked: sent.filter(|sent| Some(sent.trace_id()) != trace_id),
            outcome: decision.outcome(),
            reason: decision.reason(),
            limit: decision.limit.map(|limit| limit.as_str()),
            status: decision.status.map(|status| status.as_u16()),
            queued: decision.queued,
            dialect: decision.dialect,
            auth_method: decision.auth_method.map(|method| method.as_str()),
            principal: decision.principal.cloned(),
            peer: decision.peer,
            client: decision.client,
            client_request_id: untrusted(decision.client_request_id, MAX_REQUEST_ID_BYTES),
            host: untrusted(decision.host, MAX_HOST_BYTES),
            method_name: method_name(decision.http_method),
            method: self::untrusted(decision.http_method.as_str().as_bytes(), MAX_METHOD_BYTES),
            path: self::untrusted(decision.path.as_bytes(), MAX_PATH_BYTES),
            query_names: decision.query.map(|query| {
                let names: Vec<&str> = query.iter().collect();
                self::untrusted(names.join("&").as_bytes(), MAX_USER_AGENT_BYTES)
            }),
            user_agent: untrusted(decision.user_agent, MAX_USER_AGENT_BYTES),
            protocol: protocol(decision.version),
            route: decision.rule.map(|(_, path)| path.to_owned()),
        }
    }

    /// The server span of the request (semantic conventions, HTTP server).
    fn span(&self, end: Option<&CompletionFacts>, scheme: &'static str) -> Option<Span> {
        let context = self.trace?;
        let method = self.method_name;
        let mut attributes: Attributes = vec![
            ("http.request.method", method.into()),
            ("url.scheme", scheme.into()),
            ("url.path", self.path.clone().into()),
            ("network.protocol.name", "http".into()),
            (
                "network.protocol.version",
                self.protocol.trim_start_matches("HTTP/").into(),
            ),
            ("voxgate.request_id", self.request_id.to_string().into()),
            ("voxgate.dialect", self.dialect.into()),
            ("voxgate.outcome", self.outcome.into()),
        ];
        let mut add = |name, value: Option<Value>| {
            attributes.extend(value.map(|value| (name, value)));
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        add("http.route", text(&self.route));
        if let Some(host) = &self.host {
            let (host, port) = split_host(host);
            add("server.address", Some(host.to_owned().into()));
            add("server.port", port.map(Value::from));
        }
        add("user_agent.original", text(&self.user_agent));
        let client = self.client.or_else(|| Some(self.peer?.ip()));
        add("client.address", client.map(|ip| ip.to_string().into()));
        if let Some(peer) = self.peer {
            let address = peer.ip().to_string();
            add("network.peer.address", Some(address.into()));
            let port = Some(peer.port()).filter(|port| *port > 0);
            add("network.peer.port", port.map(Value::from));
        }
        add("voxgate.auth_method", self.auth_method.map(Value::from));
        if let Some(principal) = &self.principal {
            add("voxgate.key_id", Some(principal.id().to_owned().into()));
            let account = principal.account();
            let account = account.map(|account| account.id().to_owned().into());
            add("voxgate.account", account);
        }
        let status = end.map_or(self.status, |end| end.status);
        add("http.response.status_code", status.map(Value::from));
        let is_error = match end {
            None => status.is_some_and(|status| status >= 500),
            Some(end) => end.is_fault || status.is_some_and(|status| status >= 500),
        };
        let refused = (self.outcome == "refused").then(|| self.reason.into());
        let failed = end.and_then(|end| {
            let cut = (end.ended != Ended::Ok.as_str()).then_some(end.ended);
            end.failure.or(cut).map(Value::from)
        });
        let of_status = || is_error.then(|| status.map(|status| status.to_string().into()))?;
        add("error.type", refused.or(failed).or_else(of_status));
        if let Some(end) = end {
            add("http.response.body.size", Some(end.bytes_sent.into()));
            add("voxgate.ended", Some(end.ended.into()));
            add("voxgate.characters", end.characters.map(Value::from));
            add("voxgate.audio_ms", end.audio_ms.map(Value::from));
            let queued = end.queued.map(microseconds);
            add("voxgate.queued_us", queued.map(Value::from));
        }
        let name = match &self.route {
            Some(route) => format!("{} {route}", span_name(method)).into(),
            None => span_name(method).into(),
        };
        Some(Span {
            context,
            parent_is_remote: context.parent().is_some(),
            kind: SpanKind::Server,
            name,
            start: self.time,
            end: self.time + self.duration(end),
            attributes,
            link: self.linked,
            is_error,
        })
    }

    /// From the arrival of the request to its end.
    pub(crate) fn duration(&self, end: Option<&CompletionFacts>) -> Duration {
        match end {
            Some(end) => end.duration,
            None => self.time.elapsed().unwrap_or_default(),
        }
    }
}

impl CompletionFacts {
    fn of(completion: &Completion<'_>) -> Self {
        let spoken = completion.speech.map(|meter| meter.characters());
        Self {
            status: completion.status.map(|status| status.as_u16()),
            failure: completion.failure.map(|kind| kind.as_str()),
            ended: completion.ended.as_str(),
            queued: completion.queued,
            duration: completion.duration,
            first_byte: completion.first_byte,
            bytes_sent: completion.bytes_sent,
            bytes_received: completion.bytes_received,
            characters: spoken.filter(|characters| *characters > 0),
            audio_ms: completion
                .speech
                .and_then(|meter| meter.audio_milliseconds()),
            is_fault: matches!(completion.ended, Ended::UpstreamAbort | Ended::Timeout),
        }
    }
}

/// Host and port of an authority. The host of an IPv6 address is without its brackets.
fn split_host(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What a caller wrote: printable ASCII, so that a line stays a line, and cut.
fn untrusted(bytes: &[u8], most: usize) -> String {
    let shown = &bytes[..bytes.len().min(most)];
    let text = shown.escape_ascii().to_string();
    if shown.len() < bytes.len() {
        text + "..."
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_a_host_and_perhaps_a_port() {
        for (authority, host, port) in [
            ("tts.example", "tts.example", None),
            ("tts.example:8080", "tts.example", Some(8080)),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("tts.example:x", "tts.example", None),
        ] {
            assert_eq!(split_host(authority), (host, port), "{authority}");
        }
    }

    #[test]
    fn text_of_a_caller_is_one_line_of_ascii_and_cut() {
        assert_eq!(untrusted(b"a\r\n\x1b\"\xff", 10), "a\\r\\n\\x1b\\\"\\xff");
        assert_eq!(untrusted(b"abcdef", 3), "abc...");
    }
}
