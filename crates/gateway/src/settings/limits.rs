//! How much callers may do.

use super::{Setting, plain, secret};

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
    secret(
        "VOXGATE_REDIS_URL",
        "the Redis or Valkey that replicas share their limits by, such as `rediss://:password@host:6379/0`",
    ),
    plain("VOXGATE_REDIS_URL_FILE", "PATH", "a file with that URL", ""),
    plain(
        "VOXGATE_REDIS_CA_FILE",
        "PATH",
        "a file with the certificates, in PEM, that it is trusted by",
        "the system's",
    ),
    plain(
        "VOXGATE_LIMIT_ON_FAILURE",
        "POLICY",
        "what holds while it cannot be asked: `local` (this replica's part of the limits), `deny` (503) or `allow`",
        "local",
    ),
    plain(
        "VOXGATE_LIMIT_LEASE_SECONDS",
        "SECONDS",
        "after how long the slots of a replica that is gone are free again",
        "30",
    ),
    plain(
        "VOXGATE_LIMIT_NAMESPACE",
        "NAME",
        "what its keys begin with; the same for all replicas",
        "voxgate",
    ),
];
