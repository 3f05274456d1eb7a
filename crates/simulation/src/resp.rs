//! The protocol of Redis (RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use std::io::Write as _;

use bytes::{Bytes, BytesMut};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Status(&'static str),
    /// An error, which begins with its code.
    Error(String),
    /// An integer.
    Integer(i64),
    /// A string.
    Bulk(Bytes),
    /// No string.
    Nil,
    /// Several replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// A string.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Bulk(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Appends the reply as it is sent.
    pub fn write(&self, into: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = match self {
            Self::Status(text) => write!(into, "+{text}\r\n"),
            Self::Error(text) => write!(into, "-{text}\r\n"),
            Self::Integer(number) => write!(into, ":{number}\r\n"),
            Self::Nil => write!(into, "$-1\r\n"),
            Self::Bulk(bytes) => {
                let _ = write!(into, "${}\r\n", bytes.len());
                into.extend_from_slice(bytes);
                write!(into, "\r\n")
            }
            Self::Array(replies) => {
                let written = write!(into, "*{}\r\n", replies.len());
                for reply in replies {
                    reply.write(into);
                }
                written
            }
        };
    }
}

/// Takes the next command from what a client has sent; `None` if it is not complete yet.
///
/// # Panics
///
/// If the client does not send arrays of strings.
pub fn next_command(received: &mut BytesMut) -> Option<Vec<Bytes>> {
    let mut at = 0;
    let count = number(received, &mut at, b'*')?;
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(received, &mut at, b'$')?;
        ranges.push(at..at + length);
        at += length + 2;
    }
    if received.len() < at {
        return None;
    }
    let command = received.split_to(at).freeze();
    let words = ranges.into_iter().map(|range| command.slice(range));
    Some(words.collect())
}

fn number(received: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
    let rest = received.get(*at..).filter(|rest| !rest.is_empty())?;
    assert_eq!(rest[0], kind, "a command is an array of strings");
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    if rest.len() < end + 2 {
        return None;
    }
    let mut number = 0;
    for digit in &rest[1..end] {
        assert!(digit.is_ascii_digit(), "a length is a number");
        number = number * 10 + usize::from(digit - b'0');
    }
    *at += end + 2;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_arrive_in_any_pieces() {
        let sent = b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n*1\r\n$3\r\nGET\r\n";
        for split in 0..sent.len() {
            let mut received = BytesMut::new();
            let mut commands = Vec::new();
            for piece in [&sent[..split], &sent[split..]] {
                received.extend_from_slice(piece);
                while let Some(command) = next_command(&mut received) {
                    commands.push(command);
                }
            }
            assert_eq!(commands, [vec![&b"PING"[..], b""], vec![b"GET"]], "{split}");
        }
    }

    #[test]
    fn replies_are_written_as_the_protocol_says() {
        let reply = Reply::Array(vec![
            Reply::Status("OK"),
            Reply::Error("ERR no".into()),
            Reply::Integer(-1),
            Reply::text("a"),
            Reply::Nil,
        ]);
        let mut written = Vec::new();
        reply.write(&mut written);
        let expected = "*5\r\n+OK\r\n-ERR no\r\n:-1\r\n$1\r\na\r\n$-1\r\n";
        assert_eq!(String::from_utf8_lossy(&written), expected);
    }
}
