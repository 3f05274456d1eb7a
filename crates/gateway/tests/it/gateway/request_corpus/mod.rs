//! A corpus of literal requests: what the gateway answers to each, and what an upstream that
//! accepts nothing doubtful has read.
//!
//! `http1.txt` has requests in HTTP/1.1 as bytes, `http2.txt` in HTTP/2 as frames. Every case is sent
//! on a connection of its own, once in front of an HTTP/1.1 upstream and once in front of an `h2c`
//! one.
//!
//! ```text
//! == name of the case
//! @ refuse                                 the gateway to send it to: none, `refuse` or `listed`
//! > 200                                    the verdict
//! < POST /v1/rime-tts                      what the upstream has read; nothing without such lines
//! < content-length: 5
//! <
//! < hello
//! POST /v1/rime-tts HTTP/1.1\r\n           the request, with the escapes \r \n \t \\ \xNN, and
//! …                                        {KEY} for the caller's key, {TOKEN} for a token of ours
//! ```
//!
//! The headers that the gateway sets are checked for each request that arrives, and not listed.

mod http1;
mod http2;
mod neighbours;
mod upstream;

use std::net::SocketAddr;

use super::harness::{KEY, Program, Started};

use self::upstream::Recorder;

/// A token with a valid checksum that belongs to no key.
const TOKEN: &str = "vxg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI5jEUK";

/// One case of a file.
struct Case {
    name: String,
    gateway: String,
    verdict: String,
    /// The requests that the upstream has read.
    read: Vec<String>,
    /// The lines of the request, as they stand in the file.
    request: Vec<String>,
}

/// Reads a file of cases.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case {
                name: name.to_owned(),
                gateway: String::new(),
                verdict: String::new(),
                read: Vec::new(),
                request: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        if let Some(gateway) = line.strip_prefix("@ ") {
            case.gateway = gateway.to_owned();
        } else if let Some(verdict) = line.strip_prefix("> ") {
            case.verdict = verdict.to_owned();
        } else if line == "<<" {
            case.read.push(String::new());
        } else if let Some(read) = line.strip_prefix('<') {
            if case.read.is_empty() {
                case.read.push(String::new());
            }
            let request = case.read.last_mut().unwrap();
            if !request.is_empty() {
                request.push('\n');
            }
            request.push_str(read.strip_prefix(' ').unwrap_or(read));
        } else if !line.is_empty() && !line.starts_with('#') {
            case.request.push(line.to_owned());
        }
    }
    cases
}

/// The bytes that a line of the file stands for.
fn unescaped(line: &str) -> Vec<u8> {
    // {TOKEN4} is a token without its prefix.
    let line = line.replace("{KEY}", KEY).replace("{TOKEN}", TOKEN);
    let line = line.replace("{TOKEN4}", &TOKEN[4..]);
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let [kind, after @ ..] = rest else {
            panic!("an escape at the end: {line}");
        };
        rest = after;
        match kind {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &rest[2..];
            }
            _ => panic!("an unknown escape: {line}"),
        }
    }
    bytes
}

/// A gateway for each value of `@`, in front of one upstream.
struct Gateways {
    plain: Started,
    refuse: Started,
    listed: Started,
}

impl Gateways {
    fn start(upstream: &str) -> Self {
        let program = || {
            Program::validating("unused")
                .var("VOXGATE_UPSTREAM", upstream)
                .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
                .var("VOXGATE_LOG", "trace")
        };
        Self {
            plain: program().start(),
            refuse: program().var("VOXGATE_HEADER_NAMES", "refuse").start(),
            listed: program()
                .var("VOXGATE_FORWARD_HEADERS", "listed")
                .var("VOXGATE_FORWARD_HEADERS_ALSO", "X-Tenant")
                .start(),
        }
    }

    fn address(&self, case: &Case) -> SocketAddr {
        match case.gateway.as_str() {
            "" => self.plain.address,
            "refuse" => self.refuse.address,
            "listed" => self.listed.address,
            other => panic!("no gateway `{other}`"),
        }
    }

    /// No gateway has printed the key, in its log or in a record.
    fn assert_silent(&self) {
        for gateway in [&self.plain, &self.refuse, &self.listed] {
            let printed = gateway.printed();
            for secret in [&KEY[1..], &TOKEN[4..]] {
                let line = printed.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "a gateway printed a key");
            }
        }
    }
}

/// Collects what is not as the file says, so that one run shows everything.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare(&mut self, case: &Case, verdict: &str, read: &[String], expected: &[String]) {
        if case.verdict != verdict {
            let expected = &case.verdict;
            self.0
                .push(format!("== {}\n> {verdict} (not {expected})", case.name));
        }
        if read != expected {
            let name = &case.name;
            self.0
                .push(format!("== {name}\nread {read:#?}\nnot {expected:#?}"));
        }
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// The request as an upstream in HTTP/2 reads it: without chunks, and the end of the stream says that
/// there is no body.
fn without_framing(read: &[String]) -> Vec<String> {
    let framing = ["\ntransfer-encoding: chunked", "\ncontent-length: 0"];
    let read = read.iter();
    read.map(|request| request.replace(framing[0], "").replace(framing[1], ""))
        .collect()
}

/// The files must not lose cases.
#[test]
fn there_are_at_least_400_cases_with_names_of_their_own() {
    let mut names: Vec<String> = cases(http1::CASES)
        .into_iter()
        .map(|case| case.name)
        .collect();
    let http1 = names.len();
    names.extend(
        cases(http2::CASES)
            .into_iter()
            .map(|case| format!("2 {}", case.name)),
    );
    assert!(names.len() >= 800, "{} cases", names.len());
    assert!(http1 >= 400, "{http1} cases in HTTP/1.1");
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "two cases with one name");
}
