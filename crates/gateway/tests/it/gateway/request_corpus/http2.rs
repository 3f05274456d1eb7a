//! The cases in HTTP/2, and a client that sends exact frames.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Case, Differences, Gateways, Recorder, cases, unescaped, without_framing};

pub(super) const CASES: &str = include_str!("http2.txt");

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[tokio::test]
async fn requests_in_http2_are_answered_and_forwarded_as_written() {
    for h2c in [false, true] {
        let recorder = Recorder::start().await;
        let gateways = Gateways::start(&recorder.url(h2c));
        let mut differences = Differences::default();
        for case in cases(CASES) {
            let verdict = send(gateways.address(&case), &frames(&case)).await;
            let (mut read, mut expected) = (recorder.take(), case.read.clone());
            if h2c {
                (read, expected) = (without_framing(&read), without_framing(&expected));
            }
            differences.compare(&case, &verdict, &read, &expected);
        }
        differences.assert_none();
        gateways.assert_silent();
    }
}

/// The bytes of a case. A line is a frame (`HEADERS 1 END_STREAM`, `DATA 1 END_STREAM hello`,
/// `RAW` with hexadecimal digits), or a field of the frame before it (`name|value`).
pub(super) fn frames(case: &Case) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut open: Option<(u8, u8, u32, Vec<u8>)> = None;
    for line in &case.request {
        if let Some((name, value)) = line.split_once('|') {
            let (.., block) = open.as_mut().expect("a frame before its fields");
            field(block, &unescaped(name), &unescaped(value));
            continue;
        }
        if let Some((kind, flags, stream, block)) = open.take() {
            frame(&mut bytes, kind, flags, stream, &block);
        }
        let mut words = line.splitn(2, ' ');
        let (kind, mut rest) = (words.next().unwrap(), words.next().unwrap_or_default());
        if kind == "RAW" {
            let pairs = rest.as_bytes().chunks(2);
            let text = |pair| std::str::from_utf8(pair).unwrap();
            bytes.extend(pairs.map(|pair| u8::from_str_radix(text(pair), 16).unwrap()));
            continue;
        }
        let (stream, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        let mut flags = 0;
        for (name, flag) in [("END_HEADERS", END_HEADERS), ("END_STREAM", END_STREAM)] {
            if let Some(after) = rest.strip_prefix(name) {
                flags |= flag;
                rest = after.strip_prefix(' ').unwrap_or(after);
            }
        }
        let stream = stream.parse().unwrap();
        match kind {
            "HEADERS" => open = Some((HEADERS, flags, stream, Vec::new())),
            "CONTINUATION" => open = Some((CONTINUATION, flags, stream, Vec::new())),
            "DATA" => frame(&mut bytes, DATA, flags, stream, &unescaped(rest)),
            other => panic!("no frame `{other}` in {}", case.name),
        }
    }
    if let Some((kind, flags, stream, block)) = open {
        frame(&mut bytes, kind, flags, stream, &block);
    }
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// A literal field without indexing (RFC 7541 §6.2.2), neither part of it Huffman-coded.
fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        assert!(text.len() < 127, "one byte of length is enough");
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text);
    }
}

/// Sends frames on a connection of their own. The verdict: the status of the first stream, `reset`
/// or `goaway`.
pub(super) async fn send(address: SocketAddr, frames: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes.extend_from_slice(frames);
    let _ = stream.write_all(&bytes).await;
    let mut verdict = None;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        let (kind, flags) = (head[3], head[4]);
        match kind {
            HEADERS if verdict.is_none() => verdict = Some(status(&payload)),
            // A stream may be reset behind a whole answer (RFC 9113 §8.1).
            RST_STREAM if verdict.is_none() => return "reset".to_owned(),
            GOAWAY => return verdict.unwrap_or_else(|| "goaway".to_owned()),
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM > 0 {
            break;
        }
    }
    verdict.unwrap_or_else(|| "closed".to_owned())
}

/// The `:status` at the beginning of the first block of a connection (RFC 7541 §6).
fn status(block: &[u8]) -> String {
    let size_updates = block.iter().take_while(|byte| *byte & 0xe0 == 0x20);
    let block = &block[size_updates.count()..];
    match block {
        [indexed @ 0x88..=0x8e, ..] => {
            let known = ["200", "204", "206", "304", "400", "404", "500"];
            known[usize::from(indexed - 0x88)].to_owned()
        }
        // The name has the static index 8; the value is Huffman-coded or not.
        [0x48 | 0x08 | 0x18, length, value @ ..] if length & 0x80 == 0 => {
            String::from_utf8(value[..usize::from(*length)].to_vec()).unwrap()
        }
        [0x48 | 0x08 | 0x18, length, value @ ..] => {
            huffman_digits(&value[..usize::from(length & 0x7f)])
        }
        _ => panic!("no status in {block:02x?}"),
    }
}

/// Three digits in the Huffman code of RFC 7541, Appendix B.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut rest = bits.as_str();
    let mut digits = String::new();
    while digits.len() < 3 {
        let five = usize::from_str_radix(&rest[..5], 2).unwrap();
        let (digit, length) = match five {
            0..=2 => (five, 5),
            _ => (usize::from_str_radix(&rest[..6], 2).unwrap() - 0x19 + 3, 6),
        };
        digits.push_str(&digit.to_string());
        rest = &rest[length..];
    }
    digits
}
