//! Lines as messages of RFC 5424.

use std::fmt::Write as _;
use std::process;

/// `log audit` (RFC 5424 §6.2.1).
const FACILITY: u8 = 13;

/// Severities (RFC 5424 §6.2.1).
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// What all messages of a process have in common.
pub(super) struct Header {
    /// HOSTNAME APP-NAME PROCID, with a space before each.
    sender: String,
}

impl Header {
    pub(super) fn new() -> Self {
        let host = rustix::system::uname();
        Self::of(&host.nodename().to_string_lossy(), process::id())
    }

    fn of(host: &str, process: u32) -> Self {
        let graphic = |letter: &char| letter.is_ascii_graphic();
        let mut host: String = host.chars().filter(graphic).take(255).collect();
        if host.is_empty() {
            host.push('-');
        }
        Self {
            sender: format!(" {host} voxgate {process} "),
        }
    }

    /// Makes a message of a line, without its newline. There is no structured data, and no byte
    /// order mark: the line is ASCII.
    pub(super) fn write(&self, message: &mut String, line: &str) {
        let event = field(line, r#""event":""#).unwrap_or("-");
        let time = field(line, r#""ts":""#).unwrap_or("-");
        let priority = 8 * FACILITY + severity(event, line);
        let sender = &self.sender;
        // Writing to a string cannot fail.
        let _ = write!(message, "<{priority}>1 {time}{sender}{event} - {line}");
    }
}

fn severity(event: &str, line: &str) -> u8 {
    let reason = || field(line, r#""reason":""#);
    match event {
        "gap" => WARNING,
        "decision" if reason() == Some("ok") => INFORMATIONAL,
        "decision" if reason() == Some("unavailable") => WARNING,
        "complete" if field(line, r#""failure":""#).is_some() => WARNING,
        "complete" | "checkpoint" => INFORMATIONAL,
        _ => NOTICE,
    }
}

/// The text of a field that needs no escape. No text of a client can look like one: its quotation
/// marks are escaped.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(name)?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        let mut message = String::new();
        Header::of("tts-1", 42).write(&mut message, line);
        message
    }

    #[test]
    fn a_line_is_the_text_of_a_message() {
        let line = r#"{"v":1,"seq":7,"ts":"2026-11-21T15:43:12.123456Z","instance":"0123456789abcdef","event":"decision","outcome":"accepted","reason":"ok"}"#;
        let header = "<110>1 2026-11-21T15:43:12.123456Z tts-1 voxgate 42 decision - ";
        assert_eq!(message(line), format!("{header}{line}"));
    }

    #[test]
    fn the_severity_follows_from_the_outcome() {
        for (fields, expected) in [
            (r#""event":"decision","reason":"ok""#, "<110>1 "),
            (
                r#""event":"decision","reason":"unknown_credential""#,
                "<109>1 ",
            ),
            (r#""event":"decision","reason":"unavailable""#, "<108>1 "),
            (r#""event":"complete","status":200"#, "<110>1 "),
            (r#""event":"complete","failure":"no_upstream""#, "<108>1 "),
            (r#""event":"start""#, "<109>1 "),
            (r#""event":"gap","from":1"#, "<108>1 "),
            (
                r#""event":"decision","reason":"ok","path":"\"event\":\"gap\"""#,
                "<110>1 ",
            ),
        ] {
            let message = message(&format!("{{\"v\":1,{fields}}}"));
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_host_without_a_name_is_a_dash_and_one_with_spaces_has_none() {
        assert_eq!(Header::of("", 1).sender, " - voxgate 1 ");
        assert_eq!(Header::of("a b\u{e9}\n", 1).sender, " ab voxgate 1 ");
    }
}
