//! The audit trail, and the log of the process.

use super::{Setting, plain};

pub(crate) const AUDIT: &str = "VOXGATE_AUDIT";
pub(crate) const AUDIT_DIR: &str = "VOXGATE_AUDIT_DIR";
pub(crate) const AUDIT_SEGMENT: &str = "VOXGATE_AUDIT_SEGMENT";
pub(crate) const AUDIT_RETENTION: &str = "VOXGATE_AUDIT_RETENTION";
pub(crate) const AUDIT_SIGNING_KEY_FILE: &str = "VOXGATE_AUDIT_SIGNING_KEY_FILE";
pub(crate) const AUDIT_PEPPER_FILE: &str = "VOXGATE_AUDIT_PEPPER_FILE";
pub(crate) const AUDIT_SYSLOG: &str = "VOXGATE_AUDIT_SYSLOG";
pub(crate) const AUDIT_HTTP: &str = "VOXGATE_AUDIT_HTTP";
pub(crate) const AUDIT_HTTP_TOKEN_FILE: &str = "VOXGATE_AUDIT_HTTP_TOKEN_FILE";
pub(crate) const AUDIT_CA_FILE: &str = "VOXGATE_AUDIT_CA_FILE";
pub(crate) const AUDIT_STDOUT: &str = "VOXGATE_AUDIT_STDOUT";
pub(crate) const AUDIT_REQUIRED: &str = "VOXGATE_AUDIT_REQUIRED";
pub(crate) const LOG: &str = "VOXGATE_LOG";
pub(crate) const LOG_FORMAT: &str = "VOXGATE_LOG_FORMAT";

pub(super) const AUDITING: &[Setting] = &[
    plain(
        AUDIT,
        "PROMISE",
        "what holds of a decision's record before the request goes on: `durable`, `blocking` or `counted`",
        "`blocking` with a directory, else `counted`",
    ),
    plain(
        AUDIT_DIR,
        "PATH",
        "the directory of the audit log; without it, records go to standard output",
        "",
    ),
    plain(
        AUDIT_SEGMENT,
        "SIZE",
        "how large a file of the audit log gets, in `KiB`, `MiB` or `GiB`",
        "64MiB",
    ),
    plain(
        AUDIT_RETENTION,
        "TIME",
        "how long closed files of the audit log are kept, such as `400d`",
        "for ever",
    ),
    plain(
        AUDIT_SIGNING_KEY_FILE,
        "PATH",
        "a file with the Ed25519 key that signs checkpoints of the audit log",
        "",
    ),
    plain(
        AUDIT_PEPPER_FILE,
        "PATH",
        "a file with the key of the fingerprints of unknown credentials",
        "a random one for each start",
    ),
    plain(
        AUDIT_SYSLOG,
        "URL",
        "a syslog server for a copy of the records: `unix:///dev/log`, `tcp://host:port` or `tls://host:port`",
        "",
    ),
    plain(
        AUDIT_HTTP,
        "URL",
        "a collector for a copy of the records, which takes lines of JSON by `POST`",
        "",
    ),
    plain(
        AUDIT_HTTP_TOKEN_FILE,
        "PATH",
        "a file with the bearer token that the collector wants to see",
        "",
    ),
    plain(
        AUDIT_CA_FILE,
        "PATH",
        "a file with the certificates, in PEM, of whom copies by TLS trust",
        "the system's",
    ),
    plain(
        AUDIT_STDOUT,
        "BOOLEAN",
        "whether a copy of the records goes to standard output, beside the directory",
        "false",
    ),
    plain(
        AUDIT_REQUIRED,
        "LIST",
        "what the promise binds: `file` (or `stdout` without a directory) and any of `stdout`, `syslog`, `http`, separated by commas",
        "no copy",
    ),
    plain(
        LOG,
        "FILTER",
        "which log lines go to standard error, as `level` or `target=level,...`",
        "info",
    ),
    plain(
        LOG_FORMAT,
        "FORMAT",
        "`text` or `json`",
        "text on a terminal, else json",
    ),
];
