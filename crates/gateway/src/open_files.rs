//! The limit of open files. Each client connection needs one file, and one for its upstream.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

/// Files reserved for listeners, logs, name resolution and the admin listener.
const RESERVED: u64 = 64;

/// Raises the soft limit to the hard limit. The soft limit is low for programs that use `select`.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, limit = current, "cannot raise the limit of open files; fewer clients can connect at a time");
    }
}

/// How many clients can be connected at a time. The same number of upstream connections can be open.
/// `others` are files that are needed beside.
pub(crate) fn connections(others: usize) -> usize {
    let reserved = RESERVED.saturating_add(others as u64);
    let limit = getrlimit(Resource::Nofile).current;
    let pairs = limit.map_or(u64::MAX, |limit| limit.saturating_sub(reserved) / 2);
    usize::try_from(pairs.max(1)).map_or(Semaphore::MAX_PERMITS, |pairs| {
        pairs.min(Semaphore::MAX_PERMITS)
    })
}
