//! How much callers may do.

use super::{Setting, plain};

pub(super) const LIMITS: &[Setting] = &[
    plain(
        "VOXGATE_LIMIT_RATE",
        "RATE",
        "how often requests of a key may begin that names no rate: `50/s`, `600/min` or `10000/h`",
        "",
    ),
    plain(
        "VOXGATE_LIMIT_BURST",
        "NUMBER",
        "how many of them may begin at once",
        "as many as the rate names",
    ),
    plain(
        "VOXGATE_LIMIT_CONCURRENCY",
        "NUMBER",
        "how many requests and tunnels of a key may be in flight that names no concurrency",
        "",
    ),
    plain(
        "VOXGATE_LIMIT_UPSTREAM_CONCURRENCY",
        "NUMBER",
        "how many requests and tunnels may be in flight, of all callers together",
        "",
    ),
    plain(
        "VOXGATE_LIMIT_QUEUE",
        "NUMBER",
        "how many requests may wait until another ends, instead of being refused",
        "0",
    ),
    plain(
        "VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS",
        "SECONDS",
        "longest wait of such a request",
        "2",
    ),
    plain(
        "VOXGATE_LIMIT_HEADERS",
        "SWITCH",
        "`on` or `off`: whether answers have the fields `RateLimit-Policy` and `RateLimit`",
        "on",
    ),
    plain(
        "VOXGATE_LIMIT_AUTH_FAILURES",
        "NUMBER",
        "how often one address may fail to authenticate in a minute, before it is answered 429; `0` for as often as it likes",
        "60",
    ),
];
