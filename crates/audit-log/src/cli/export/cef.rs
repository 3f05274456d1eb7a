//! Exports records in the Common Event Format (CEF), version 0.

use std::fmt::Write as _;

use super::super::peer;
use super::super::when::milliseconds;
use super::Event;

pub(super) fn line(event: &Event<'_>) -> String {
    let record = event.record;
    let is_completion = record.is_completion();
    let name = match (is_completion, record.is_accepted()) {
        (true, _) => "Request ended",
        (false, true) => "Request accepted",
        (false, false) => "Request refused",
    };
    // Severities 0 to 3 are low, 4 to 6 are medium.
    let severity = match event.succeeded() || is_completion {
        true => 1,
        false => 4,
    };
    let mut line = format!(
        "CEF:0|voxgate|voxgate|{}|{}|{name}|{severity}|",
        header(env!("CARGO_PKG_VERSION")),
        header(&record.event)
    );
    let peer = event.text(|r| r.peer.as_deref());
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let text = |text: Option<&str>| text.map(str::to_owned);
    let source = peer.and_then(peer::address);
    let ended = record.ended.as_deref();
    let fields = [
        ("rt", Some(milliseconds(&record.ts).to_string())),
        ("act", text(event.text(|r| r.outcome.as_deref()))),
        (
            "outcome",
            text(Some(if event.succeeded() {
                "success"
            } else {
                "failure"
            })),
        ),
        (
            "reason",
            text(record.failure.as_deref().or(if is_completion {
                ended
            } else {
                Some(event.reason())
            })),
        ),
        ("externalId", event.uid()),
        // CEF has one field for IPv4 addresses and another for IPv6 addresses.
        (
            "src",
            source
                .filter(|source| source.is_ipv4())
                .map(|source| source.to_string()),
        ),
        (
            "c6a2",
            source
                .filter(|source| source.is_ipv6())
                .map(|source| source.to_string()),
        ),
        (
            "c6a2Label",
            source
                .filter(|source| source.is_ipv6())
                .map(|_| "Source IPv6 Address".to_owned()),
        ),
        ("spt", number(peer.and_then(peer::port).map(u64::from))),
        ("suid", text(event.text(|r| r.key_id.as_deref()))),
        ("suser", text(event.text(|r| r.label.as_deref()))),
        ("dhost", text(event.text(|r| r.host.as_deref()))),
        ("app", text(event.text(|r| r.protocol.as_deref()))),
        ("requestMethod", text(event.text(|r| r.method.as_deref()))),
        ("request", text(event.text(|r| r.path.as_deref()))),
        (
            "requestClientApplication",
            text(event.text(|r| r.user_agent.as_deref())),
        ),
        ("out", number(record.bytes_sent)),
        ("in", number(record.bytes_received)),
    ];
    let custom = [
        ("cs1", "requestId", text(record.request_id.as_deref())),
        (
            "cs2",
            "credentialFingerprint",
            text(event.text(|r| r.cred_fp.as_deref())),
        ),
        (
            "cs3",
            "authMethod",
            text(event.text(|r| r.auth_method.as_deref())),
        ),
        ("cs4", "dialect", text(event.text(|r| r.dialect.as_deref()))),
        ("cs5", "account", text(event.text(|r| r.account.as_deref()))),
        ("cn1", "status", number(record.status.map(u64::from))),
        (
            "cn2",
            "durationMs",
            number(record.duration_us.map(|duration| duration / 1000)),
        ),
        (
            "cn3",
            "firstByteMs",
            number(record.first_byte_us.map(|time| time / 1000)),
        ),
    ];
    for (key, value) in fields {
        add(&mut line, key, value.as_deref());
    }
    for (key, label, value) in custom {
        add(&mut line, key, value.as_deref());
        add(
            &mut line,
            &format!("{key}Label"),
            value.as_ref().map(|_| label),
        );
    }
    line.truncate(line.trim_end().len());
    line
}

fn add(line: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        // Writing to a string does not fail.
        let _ = write!(line, "{key}={} ", extension(value));
    }
}

/// Escapes a header field. A pipe ends a header field.
fn header(text: &str) -> String {
    escape(text, '|')
}

/// Escapes an extension value. An equals sign would start the next field.
fn extension(text: &str) -> String {
    escape(text, '=')
}

fn escape(text: &str, special: char) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            // A reader could treat a control character as the end of the line, or execute it.
            other if other.is_control() || matches!(other, '\u{2028}' | '\u{2029}') => {
                let _ = write!(safe, "%{:02X}", u32::from(other));
            }
            other => {
                if other == special {
                    safe.push('\\');
                }
                safe.push(other);
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::tests::{COMPLETION, DECISION, REFUSED, with};
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(header("a|b\\c=d"), "a\\|b\\\\c=d");
        assert_eq!(
            extension("a|b\\c=d\r\n\t\u{1b}"),
            "a|b\\\\c\\=d\\r\\n%09%1B"
        );
        let line = with(REFUSED, None, line);
        assert!(line.starts_with("CEF:0|voxgate|voxgate|"), "{line}");
        assert!(
            line.contains("|decision|Request refused|4|rt=1773483072123 "),
            "{line}"
        );
        assert!(
            line.contains(" request=/a|b\\=%1B\\n\\\\\u{202e}<script> "),
            "{line}"
        );
        assert!(
            line.contains(" c6a2=::1 c6a2Label=Source IPv6 Address spt=9 "),
            "{line}"
        );
        assert!(
            line.contains(" cs2=0011223344556677 cs2Label=credentialFingerprint"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_completion_has_its_decisions_address() {
        let line = with(COMPLETION, Some(DECISION), line);
        assert!(line.contains("|complete|Request ended|1|"), "{line}");
        assert!(line.contains(" src=10.1.2.3 spt=4567 suid=ivr "), "{line}");
        assert!(
            line.contains(" cn1=200 cn1Label=status cn2=876 cn2Label=durationMs "),
            "{line}"
        );
    }
}
