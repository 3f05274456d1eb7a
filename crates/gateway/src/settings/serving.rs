//! Whom to serve, and how.

use super::{Setting, plain, secret};

pub(crate) const LISTEN: &str = "VOXGATE_LISTEN";
pub(crate) const ADMIN_LISTEN: &str = "VOXGATE_ADMIN_LISTEN";
pub(crate) const UPSTREAM: &str = "VOXGATE_UPSTREAM";
pub(crate) const CONNECT_TIMEOUT: &str = "VOXGATE_CONNECT_TIMEOUT_SECONDS";
pub(crate) const UPSTREAM_TIMEOUT: &str = "VOXGATE_UPSTREAM_TIMEOUT_SECONDS";
pub(crate) const HEADER_READ_TIMEOUT: &str = "VOXGATE_HEADER_READ_TIMEOUT_SECONDS";
pub(crate) const DRAIN: &str = "VOXGATE_DRAIN_SECONDS";

pub(super) const SERVING: &[Setting] = &[
    plain(
        UPSTREAM,
        "URL",
        "the TTS server to forward to; a comma-separated list of `prefix=url` for several",
        "required",
    ),
    plain(
        LISTEN,
        "ADDRESS",
        "where clients are served",
        "127.0.0.1:8080",
    ),
    plain(
        ADMIN_LISTEN,
        "ADDRESS",
        "where `/livez`, `/readyz` and `/metrics` are served",
        "127.0.0.1:8081",
    ),
    plain(
        "VOXGATE_DIALECT",
        "NAME",
        "the vendor whose clients call, `bearer` for none, or `auto` to tell it by the request",
        "rime",
    ),
    plain(
        "VOXGATE_MODE",
        "MODE",
        "`validate` or `preconfigured`",
        "by which keys are set",
    ),
    secret(
        "VOXGATE_API_KEYS",
        "the callers' keys in the clear, separated by commas",
    ),
    plain(
        "VOXGATE_API_KEYS_FILE",
        "PATH",
        "a file with one caller's key a line",
        "",
    ),
    plain(
        "VOXGATE_KEYS_FILE",
        "PATH",
        "a keys file (`keys.toml`) with ids, labels and scopes",
        "",
    ),
    plain(
        "VOXGATE_POLICY_FILE",
        "PATH",
        "a policy file, whose rules come before the dialect's own",
        "",
    ),
    plain(
        "VOXGATE_PUBLIC",
        "ROUTES",
        "methods and exact paths that need no key, such as `GET /health`, separated by commas",
        "",
    ),
    secret(
        "RIME_API_KEY",
        "the deployment key that the TTS server wants to see, in the dialect `rime`",
    ),
    plain("RIME_API_KEY_FILE", "PATH", "a file with that key", ""),
    secret(
        "SUPERTONE_API_KEY",
        "the deployment key that the TTS server wants to see, in the dialect `supertone`",
    ),
    plain("SUPERTONE_API_KEY_FILE", "PATH", "a file with that key", ""),
    secret(
        "SMALLEST_API_KEY",
        "the deployment key that the TTS server wants to see, in the dialect `smallest`",
    ),
    plain("SMALLEST_API_KEY_FILE", "PATH", "a file with that key", ""),
    secret(
        "KUGELAUDIO_API_KEY",
        "the deployment key that the TTS server wants to see, in the dialect `kugel`",
    ),
    plain(
        "KUGELAUDIO_API_KEY_FILE",
        "PATH",
        "a file with that key",
        "",
    ),
    secret(
        "INWORLD_API_KEY",
        "the deployment key that the TTS server wants to see, in the dialect `inworld`",
    ),
    plain("INWORLD_API_KEY_FILE", "PATH", "a file with that key", ""),
    plain(
        CONNECT_TIMEOUT,
        "SECONDS",
        "longest wait for a connection to the TTS server, name resolution included",
        "5",
    ),
    plain(
        UPSTREAM_TIMEOUT,
        "SECONDS",
        "longest wait for the TTS server to go on with a request, until its answer begins",
        "60",
    ),
    plain(
        HEADER_READ_TIMEOUT,
        "SECONDS",
        "longest wait for a request's header, and longest idle time of a connection",
        "30",
    ),
    plain(
        DRAIN,
        "SECONDS",
        "longest wait for requests and tunnels in flight at shutdown",
        "30",
    ),
];
