//! The place of a request in a distributed trace (W3C Trace Context).

use std::fmt;

use http::{HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries a [`TraceContext`] (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header in which tracing systems keep what is theirs (W3C Trace Context §3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const SAMPLED: u8 = 0x01;
/// W3C Trace Context Level 2, §3.2.2.5.2: the last seven bytes of the trace id are random.
const RANDOM: u8 = 0x02;

/// The identifier of a trace: 16 bytes, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The identifier of one operation in a trace: 8 bytes, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// A random identifier. It is never zero.
    #[must_use]
    pub fn random() -> Self {
        // Six bits of it are fixed; the last seven bytes are random.
        Self(Uuid::new_v4().into_bytes())
    }

    /// The bytes, in the order in which they are shown.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// A random identifier. It is never zero.
    #[must_use]
    pub fn random() -> Self {
        let [.., a, b, c, d, e, f, g, h] = Uuid::new_v4().into_bytes();
        Self([a, b, c, d, e, f, g, h])
    }

    /// The bytes, in the order in which they are shown.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// The place of a request in a trace. A server puts it into the request's extensions, so that audit
/// records have its trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: SpanId,
    parent: Option<SpanId>,
    flags: u8,
}

impl TraceContext {
    /// The beginning of a new trace.
    #[must_use]
    pub fn new(trace_id: TraceId, sampled: bool) -> Self {
        let context = Self {
            trace_id,
            span_id: SpanId::random(),
            parent: None,
            flags: RANDOM,
        };
        context.with_sampled(sampled)
    }

    /// Reads a `traceparent` (W3C Trace Context §3.2): the context of the operation that sent it.
    ///
    /// `None` for a value that the specification has receivers ignore: a form other than its own, the
    /// version `ff`, capital letters, an identifier of zeros. Of a later version, what this version
    /// knows is read, and flags without a meaning are dropped (§3.2.4).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut rest = value;
        let version: [u8; 1] = number(&mut rest)?;
        let trace_id: [u8; 16] = field(&mut rest)?;
        let span_id: [u8; 8] = field(&mut rest)?;
        let flags: [u8; 1] = field(&mut rest)?;
        let ends_well = match version {
            [0] => rest.is_empty(),
            [0xff] => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let is_valid = ends_well && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            parent: None,
            flags: flags[0] & (SAMPLED | RANDOM),
        })
    }

    /// A new operation within this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: SpanId::random(),
            parent: Some(self.span_id),
            ..*self
        }
    }

    /// The same place, with another decision about whether the trace is recorded.
    #[must_use]
    pub fn with_sampled(mut self, sampled: bool) -> Self {
        self.flags &= !SAMPLED;
        self.flags |= if sampled { SAMPLED } else { 0 };
        self
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The operation.
    #[must_use]
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The operation that this one is a part of; `None` at the beginning of a trace.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace flags (§3.2.2.5).
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// The value of `traceparent`, in version 00.
    #[must_use]
    pub fn to_header_value(&self) -> HeaderValue {
        let Self {
            trace_id,
            span_id,
            flags,
            ..
        } = self;
        let text = format!("00-{trace_id}-{span_id}-{flags:02x}");
        // Hexadecimal digits and hyphens are always a valid header value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Reads a hyphen and a number.
fn field<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    *rest = rest.strip_prefix(b"-")?;
    number(rest)
}

/// Reads a number of so many bytes in lower-case hexadecimal digits.
fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (digits, after) = rest.split_at_checked(2 * N)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    *rest = after;
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What is sent on for a `traceparent`.
    fn normal(text: &str) -> Option<String> {
        let context = TraceContext::parse(text.as_bytes())?;
        let value = context.to_header_value();
        Some(value.to_str().expect("text").to_owned())
    }

    /// The cases of the test suite of W3C Trace Context (`test_traceparent_*`).
    #[test]
    fn a_traceparent_is_read_as_the_specification_says() {
        let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        assert_eq!(normal(VALID).as_deref(), Some(VALID));
        for (given, expected) in [
            (format!("00-{ids}-00"), format!("00-{ids}-00")),
            (format!("00-{ids}-03"), format!("00-{ids}-03")),
            // Flags without a meaning are not sent on.
            (format!("00-{ids}-ff"), format!("00-{ids}-03")),
            (format!("cc-{ids}-01"), format!("00-{ids}-01")),
            (
                format!("01-{ids}-01-what-the-future-will-be"),
                format!("00-{ids}-01"),
            ),
            (format!("cc-{ids}-01-"), format!("00-{ids}-01")),
        ] {
            assert_eq!(normal(&given), Some(expected), "{given}");
        }
        for wrong in [
            "",
            "1",
            "00",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}-x"),
            &format!("{VALID}."),
            &format!("{VALID},{VALID}"),
            &format!("cc-{ids}-01.what"),
            &format!("ff-{ids}-01"),
            &format!("0-{ids}-01"),
            &format!("000-{ids}-01"),
            &format!(".0-{ids}-01"),
            &format!("00-{ids}-.0"),
            &format!("00-{ids}-1"),
            &format!("00-{ids}-001"),
            &format!("00_{ids}-01"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-.af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\u{e9}-01",
        ] {
            assert_eq!(normal(wrong), None, "{wrong}");
        }
        assert_eq!(TraceContext::parse(&[0xff; 55]), None);
    }

    #[test]
    fn an_operation_stays_in_its_trace() {
        let caller = TraceContext::parse(VALID.as_bytes()).expect("valid");
        let own = caller.child();
        assert_eq!(own.trace_id(), caller.trace_id());
        assert_eq!(own.parent(), Some(caller.span_id()));
        assert_ne!(own.span_id(), caller.span_id());
        assert!(own.is_sampled() && !own.with_sampled(false).is_sampled());

        let new = TraceContext::new(TraceId::random(), true);
        assert_ne!(new.trace_id(), TraceId::random());
        assert_eq!((new.parent(), new.flags()), (None, 3));
        let sent = new.to_header_value();
        let read = TraceContext::parse(sent.as_bytes()).expect("valid");
        assert_eq!(read, new);
    }
}
