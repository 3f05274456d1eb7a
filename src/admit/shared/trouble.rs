//! What can be wrong with Redis, and how to mend it.

use std::fmt;
use std::io;

use redis::RedisError;

/// Why Redis did not answer, or not as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The host's name has no address.
    Unknown,
    Refused,
    Silent,
    Lost,
    Io(io::ErrorKind),
    Tls(String),
    /// An answer that is none of our scripts'.
    Nonsense,
    /// Redis says no; its code.
    Server(String),
}

/// The codes with something to say about, what it is and how to mend it. A script's error may hold
/// them anywhere, in older versions.
const KNOWN: [(&str, &str); 14] = [
    (
        "NOAUTH",
        "it wants a password: put one into the URL, redis://:<password>@<host>",
    ),
    (
        "WRONGPASS",
        "it does not know the user name and password of the URL",
    ),
    (
        "NOPERM",
        "the user of the URL may not do what is needed: \
         allow it +eval +evalsha +@sortedset +@read +@write +time on the keys of the namespace",
    ),
    (
        "LOADING",
        "it is loading its data and will answer when it has",
    ),
    (
        "READONLY",
        "it is a read-only replica: point the URL at the primary",
    ),
    (
        "OOM",
        "its memory is full: raise its maxmemory, or give the limits a server of their own",
    ),
    (
        "MISCONF",
        "it cannot save its data and takes no writes: look at its log",
    ),
    (
        "NOREPLICAS",
        "it has too few replicas to take writes: see its min-replicas-to-write",
    ),
    (
        "MOVED",
        "it is a cluster, and another node has the keys of the namespace: \
         point the URL at that node",
    ),
    (
        "ASK",
        "it is a cluster that is moving the keys of the namespace",
    ),
    (
        "CLUSTERDOWN",
        "its cluster is down: not every slot has a node",
    ),
    ("MASTERDOWN", "it is a replica without its primary"),
    (
        "BUSY",
        "a script keeps it busy: another program's, since ours are short",
    ),
    (
        "WRONGTYPE",
        "another program uses keys of the namespace: choose another namespace",
    ),
];

impl Trouble {
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            // A Unix socket that is not there is as good as one that nobody listens on.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused,
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Self::Lost,
            kind => Self::Io(kind),
        }
    }

    pub(super) fn of_tls(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|it| it.downcast_ref());
        match tls {
            Some(error) => Self::Tls(rustls::Error::to_string(error)),
            None => Self::of_io(error),
        }
    }

    /// Nothing of what the server says is kept but its code: it might repeat what it was told.
    pub(super) fn of(error: &RedisError) -> Self {
        // One that came of many commands at once has no code of its own.
        let of_commands = error.clone().into_server_errors();
        let first = of_commands.as_deref().and_then(|errors| errors.first());
        let (code, said) = match first {
            Some((_, error)) => (Some(error.code()), error.details()),
            None => (error.code(), error.detail()),
        };
        let Some(code) = code else {
            return match error.kind() {
                redis::ErrorKind::Io => Self::Lost,
                _ => Self::Nonsense,
            };
        };
        let said = said.unwrap_or_default();
        let words = || said.split(|it: char| !it.is_ascii_uppercase());
        let named = KNOWN
            .iter()
            .find(|(known, _)| code == *known || words().any(|word| word == *known));
        let is_code = |it: &char| it.is_ascii_alphanumeric() || *it == '_';
        Self::Server(match named {
            Some((known, _)) => (*known).to_owned(),
            None => code.chars().filter(is_code).take(32).collect(),
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => {
                f.write_str("its host is not known: see the URL, and what resolves names here")
            }
            Self::Refused => f.write_str(
                "nobody listens there: see that it runs, and that the URL's host and port are right",
            ),
            Self::Silent => f.write_str(
                "it does not answer in time: see that it runs, is near and has little else to do",
            ),
            Self::Lost => f.write_str(
                "it closes the connection: see its log, its maxclients, and whether it wants TLS",
            ),
            Self::Io(kind) => write!(f, "it cannot be reached ({kind})"),
            Self::Tls(error) => {
                write!(f, "no TLS with it ({error}): see its certificate and ca_file")
            }
            Self::Nonsense => f.write_str("what answers there is no Redis: see the URL"),
            Self::Server(code) => {
                let known = KNOWN.iter().find(|(known, _)| known == code);
                let advice = known.map_or("see its log", |(_, advice)| advice);
                write!(f, "{advice} ({code})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_wherever_it_stands_and_nothing_else_is_kept() {
        for (code, detail, expected) in [
            ("WRONGPASS", "invalid username-password pair", "WRONGPASS"),
            (
                "ERR",
                "Error running script: -READONLY You can't write",
                "READONLY",
            ),
            (
                "ERR",
                "Error running script: @user_script:54: OOM command not allowed",
                "OOM",
            ),
            ("ERR", "unknown command 'EVALSHA', with args: secret", "ERR"),
            ("ODD=CODE", "secret", "ODDCODE"),
        ] {
            let reply = format!("-{code} {detail}\r\n");
            let value = redis::parse_redis_value(reply.as_bytes()).expect("a reply");
            let trouble = Trouble::of(&value.extract_error().expect_err("an error"));
            assert_eq!(trouble, Trouble::Server(expected.to_owned()), "{detail}");
            assert!(!trouble.to_string().contains("secret"), "{trouble}");
        }
    }

    #[test]
    fn nobody_there_is_told_from_trouble_with_somebody() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, Trouble::Refused),
            (io::ErrorKind::NotFound, Trouble::Refused),
            (io::ErrorKind::ConnectionReset, Trouble::Lost),
            (
                io::ErrorKind::HostUnreachable,
                Trouble::Io(io::ErrorKind::HostUnreachable),
            ),
        ] {
            assert_eq!(Trouble::of_io(&kind.into()), expected);
        }
    }
}
