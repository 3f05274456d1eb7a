//! Errors of Redis, and how to fix them.

use std::fmt;
use std::io;

/// Why Redis did not answer as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedisError {
    /// The host name has no address.
    UnknownHost,
    /// Nothing listens at the address.
    Refused,
    /// No answer in time.
    Timeout,
    /// The connection was closed.
    Lost,
    Io(io::ErrorKind),
    Tls(String),
    /// The Sentinels do not know the service.
    UnknownService,
    /// A Sentinel, and not the primary, said or did this.
    Sentinel(Box<RedisError>),
    /// The primary has the command, and no replica has confirmed it.
    NotReplicated,
    /// A Sentinel names another primary.
    FailedOver,
    /// A reply that the scripts never return.
    Unexpected,
    /// Redis answered with an error, which has this code.
    Server(String),
}

/// Known error codes, with the problem and its fix. In older versions of Redis, the error of a
/// script can contain the code anywhere in its text.
const KNOWN: [(&str, &str); 18] = [
    (
        "NOAUTH",
        "Redis requires a password: add it to VOXGATE_REDIS_URL, redis://:<password>@<host>",
    ),
    (
        "WRONGPASS",
        "Redis does not accept the user name and password of VOXGATE_REDIS_URL: correct them",
    ),
    (
        NO_PASSWORD,
        "Redis has no password, but VOXGATE_REDIS_URL has one: remove it there, or set it in Redis",
    ),
    (
        NO_CLUSTER,
        "Redis is not a cluster: begin VOXGATE_REDIS_URL with redis:// or rediss://",
    ),
    (
        NO_SENTINEL,
        "the server is not a Sentinel: correct the hosts and ports of VOXGATE_REDIS_URL (Sentinels \
         use port 26379), or begin it with redis:// or rediss://",
    ),
    (
        "NOPERM",
        "the user of VOXGATE_REDIS_URL lacks permissions: \
         allow +eval +evalsha +@sortedset +@read +@write +time on the keys of the namespace; \
         for a cluster also +cluster|slots +asking +ping, with Sentinel also +role, for single-use \
         tokens also +role and +wait",
    ),
    (
        "LOADING",
        "Redis is loading its data: wait until it has finished",
    ),
    (
        "READONLY",
        "Redis is a read-only replica: change VOXGATE_REDIS_URL to the primary, or to its Sentinels \
         (redis-sentinel://)",
    ),
    (
        "OOM",
        "the memory of Redis is full: raise maxmemory, or use a separate server for limits",
    ),
    (
        "MISCONF",
        "Redis cannot save its data and refuses writes: see its log",
    ),
    (
        "NOREPLICAS",
        "Redis has too few replicas and refuses writes: see min-replicas-to-write",
    ),
    (
        "MOVED",
        "Redis is a cluster: begin VOXGATE_REDIS_URL with redis-cluster:// or rediss-cluster://",
    ),
    (
        "ASK",
        "Redis is a cluster: begin VOXGATE_REDIS_URL with redis-cluster:// or rediss-cluster://",
    ),
    (
        "TRYAGAIN",
        "the Redis cluster is moving the keys: wait until it has finished",
    ),
    (
        "CLUSTERDOWN",
        "the Redis cluster is down: check that every slot has a node",
    ),
    (
        "MASTERDOWN",
        "Redis is a replica that has lost its primary: check the primary",
    ),
    (
        "BUSY",
        "a long script of another program blocks Redis: find and stop it",
    ),
    (
        "WRONGTYPE",
        "another program uses keys of the namespace: choose another namespace",
    ),
];

/// Codes for errors that have no code of their own in Redis, and how their texts begin.
const NO_PASSWORD: &str = "NOPASSWORD";
const NO_CLUSTER: &str = "NOCLUSTER";
const NO_SENTINEL: &str = "NOSENTINEL";
const WITHOUT_CODE: [(&str, &str); 3] = [
    (NO_PASSWORD, "AUTH <password> called without any password"),
    (NO_CLUSTER, "This instance has cluster support disabled"),
    (NO_SENTINEL, "unknown command 'SENTINEL'"),
];

impl RedisError {
    /// Whether no server has said anything.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Sentinel(error) => error.is_silence(),
            Self::UnknownHost | Self::Refused | Self::Timeout | Self::Lost | Self::Io(_) => true,
            _ => false,
        }
    }

    pub(crate) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            // A missing Unix socket is treated like one without a listener.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused,
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Self::Lost,
            kind => Self::Io(kind),
        }
    }

    pub(crate) fn from_tls(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|it| it.downcast_ref());
        match tls {
            Some(error) => Self::Tls(rustls::Error::to_string(error)),
            None => Self::from_io(error),
        }
    }

    /// Keeps only the code of the server's error: its text may repeat the command.
    pub(crate) fn from_redis(error: &redis::RedisError) -> Self {
        // The error of a pipeline has no code of its own.
        let of_commands = error.clone().into_server_errors();
        let first = of_commands.as_deref().and_then(|errors| errors.first());
        let (code, said) = match first {
            Some((_, error)) => (Some(error.code()), error.details()),
            None => (error.code(), error.detail()),
        };
        let Some(code) = code else {
            return match error.kind() {
                redis::ErrorKind::Io => Self::Lost,
                _ => Self::Unexpected,
            };
        };
        let said = said.unwrap_or_default();
        let words = || said.split(|it: char| !it.is_ascii_uppercase());
        if let Some((code, _)) = WITHOUT_CODE.iter().find(|(_, it)| said.starts_with(it)) {
            return Self::Server((*code).to_owned());
        }
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

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownHost => {
                f.write_str("the host name has no address: check VOXGATE_REDIS_URL, the DNS, and the names that a \
                 cluster or Sentinel announces")
            }
            Self::Refused => f.write_str(
                "connection refused: check that Redis runs, and the host and port of \
                 VOXGATE_REDIS_URL",
            ),
            Self::Timeout => f.write_str(
                "no answer in time: check that Redis runs, the network, and the load of Redis",
            ),
            Self::Lost => f.write_str(
                "Redis closed the connection: see its log and maxclients, and check whether it requires TLS",
            ),
            Self::Io(kind) => write!(f, "Redis cannot be reached ({kind}): check the network"),
            Self::Tls(error) => {
                write!(
                    f,
                    "TLS failed ({error}): check the certificate of Redis, which must have the host \
                     of VOXGATE_REDIS_URL, or the one that the cluster or Sentinel announces, and \
                     VOXGATE_REDIS_CA_FILE"
                )
            }
            Self::UnknownService => f.write_str(
                "the Sentinels do not know the service: correct its name in VOXGATE_REDIS_URL, \
                 as in `sentinel monitor <service> …`",
            ),
            Self::Sentinel(error) => match &**error {
                Self::Server(code) if matches!(&**code, "NOAUTH" | "WRONGPASS" | NO_PASSWORD) => {
                    write!(
                        f,
                        "a Sentinel does not accept the user name and password: correct \
                         sentinel_user and sentinel_pass in VOXGATE_REDIS_URL ({code})"
                    )
                }
                error => write!(f, "asking a Sentinel: {error}"),
            },
            Self::NotReplicated => f.write_str(
                "no replica has confirmed the write in time: check the replicas of Redis and the \
                 network between them",
            ),
            Self::FailedOver => f.write_str("Sentinel names another primary, which is used now"),
            Self::Unexpected => f.write_str(
                "unexpected reply: check that VOXGATE_REDIS_URL points to Redis or Valkey",
            ),
            Self::Server(code) => {
                let known = KNOWN.iter().find(|(known, _)| known == code);
                let advice = known.map_or("see the log of Redis", |(_, advice)| advice);
                write!(f, "{advice} ({code})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_error_code_is_kept() {
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
            (
                "ERR",
                "unknown command 'SENTINEL', with args beginning with: 'secret'",
                "NOSENTINEL",
            ),
            (
                "ERR",
                "This instance has cluster support disabled",
                "NOCLUSTER",
            ),
            (
                "ERR",
                "AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
                "NOPASSWORD",
            ),
            ("ODD=CODE", "secret", "ODDCODE"),
        ] {
            let reply = format!("-{code} {detail}\r\n");
            let value = redis::parse_redis_value(reply.as_bytes()).expect("a reply");
            let error = RedisError::from_redis(&value.extract_error().expect_err("an error"));
            assert_eq!(error, RedisError::Server(expected.to_owned()), "{detail}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_absent_server_is_distinguished_from_a_failing_one() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, RedisError::Refused),
            (io::ErrorKind::NotFound, RedisError::Refused),
            (io::ErrorKind::ConnectionReset, RedisError::Lost),
            (
                io::ErrorKind::HostUnreachable,
                RedisError::Io(io::ErrorKind::HostUnreachable),
            ),
        ] {
            assert_eq!(RedisError::from_io(&kind.into()), expected);
        }
    }
}
