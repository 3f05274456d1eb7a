//! What a node of a cluster says about a command for another node.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::slot_map::UNKNOWN_HOST;

/// Where a command belongs. The node has not executed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// Another node has the hash slot.
    Moved(u16, String),
    /// The hash slot is moving, and another node may have the key already.
    Ask(String),
    /// The hash slot is moving, and not all keys of the command are on one node.
    TryAgain,
    /// Another node has the hash slot, and this one does not know where that node is.
    Unknown,
}

impl Redirect {
    /// `asked` is the host that answered.
    pub(crate) fn of(error: &RedisError, asked: &str) -> Option<Self> {
        let target = || {
            let (node, slot) = error.redirect_node()?;
            let (host, port) = node.rsplit_once(':')?;
            let host = if host.is_empty() { asked } else { host };
            let node = Some(format!("{host}:{port}")).filter(|_| host != UNKNOWN_HOST);
            Some((node, slot))
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => {
                let (node, slot) = target()?;
                Some(node.map_or(Self::Unknown, |node| Self::Moved(slot, node)))
            }
            ErrorKind::Server(ServerErrorKind::Ask) => {
                let (node, _) = target()?;
                Some(node.map_or(Self::Unknown, Self::Ask))
            }
            ErrorKind::Server(ServerErrorKind::TryAgain) => Some(Self::TryAgain),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_name_the_node() {
        for (reply, expected) in [
            (
                "-MOVED 7 10.0.0.1:6379",
                Some(Redirect::Moved(7, "10.0.0.1:6379".into())),
            ),
            ("-MOVED 7 :6379", Some(Redirect::Moved(7, "h:6379".into()))),
            (
                "-MOVED 7 ::1:6379",
                Some(Redirect::Moved(7, "::1:6379".into())),
            ),
            (
                "-ASK 7 node.example:1",
                Some(Redirect::Ask("node.example:1".into())),
            ),
            ("-MOVED 7 ?:6379", Some(Redirect::Unknown)),
            ("-ASK 7 ?:6379", Some(Redirect::Unknown)),
            ("-TRYAGAIN Multiple keys", Some(Redirect::TryAgain)),
            ("-MOVED", None),
            ("-CLUSTERDOWN Hash slot not served", None),
        ] {
            let text = format!("{reply}\r\n");
            let value = redis::parse_redis_value(text.as_bytes()).expect("a reply");
            let error = value.extract_error().expect_err("an error");
            assert_eq!(Redirect::of(&error, "h"), expected, "{reply}");
        }
    }
}
