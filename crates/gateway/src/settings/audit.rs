//! The audit trail and the log of the process.

use super::Setting;

pub(crate) const AUDIT: &str = "VOXGATE_AUDIT";
pub(crate) const AUDIT_DIR: &str = "VOXGATE_AUDIT_DIR";
pub(crate) const AUDIT_SEGMENT: &str = "VOXGATE_AUDIT_SEGMENT";
pub(crate) const AUDIT_RETENTION: &str = "VOXGATE_AUDIT_RETENTION";
pub(crate) const AUDIT_RETENTION_SHARE: &str = "VOXGATE_AUDIT_RETENTION_SHARE";
pub(crate) const AUDIT_SIGNING_KEY_FILE: &str = "VOXGATE_AUDIT_SIGNING_KEY_FILE";
pub(crate) const AUDIT_TSA_URL: &str = "VOXGATE_AUDIT_TSA_URL";
pub(crate) const AUDIT_TSA_INTERVAL: &str = "VOXGATE_AUDIT_TSA_INTERVAL";
pub(crate) const AUDIT_PEPPER_FILE: &str = "VOXGATE_AUDIT_PEPPER_FILE";
pub(crate) const AUDIT_ADDRESSES: &str = "VOXGATE_AUDIT_ADDRESSES";
pub(crate) const AUDIT_SYSLOG: &str = "VOXGATE_AUDIT_SYSLOG";
pub(crate) const AUDIT_HTTP: &str = "VOXGATE_AUDIT_HTTP";
pub(crate) const AUDIT_HTTP_TOKEN_FILE: &str = "VOXGATE_AUDIT_HTTP_TOKEN_FILE";
pub(crate) const AUDIT_CA_FILE: &str = "VOXGATE_AUDIT_CA_FILE";
pub(crate) const AUDIT_STDOUT: &str = "VOXGATE_AUDIT_STDOUT";
pub(crate) const AUDIT_REQUIRED: &str = "VOXGATE_AUDIT_REQUIRED";
pub(crate) const LOG: &str = "VOXGATE_LOG";
pub(crate) const LOG_FORMAT: &str = "VOXGATE_LOG_FORMAT";

const AUDIT_GROUP: &str = "Audit";
const LOG_GROUP: &str = "Logging";

pub(super) const AUDITING: &[Setting] = &[
    Setting::new(AUDIT_GROUP, AUDIT, "GUARANTEE", "Delivery guarantee required before a request is forwarded: `durable`, `blocking` or `counted`").with_default("`blocking` with a directory, otherwise `counted`"),
    Setting::new(AUDIT_GROUP, AUDIT_DIR, "PATH", "Directory of the audit log; without it, records go to standard output"),
    Setting::new(AUDIT_GROUP, AUDIT_SEGMENT, "SIZE", "Maximum size of one file of the audit log, in `KiB`, `MiB` or `GiB`").with_default("64MiB"),
    Setting::new(AUDIT_GROUP, AUDIT_RETENTION, "TIME", "How long closed files of the audit log are kept, such as `400d`").with_default("they are never deleted"),
    Setting::new(AUDIT_GROUP, AUDIT_RETENTION_SHARE, "PERCENT", "Largest share of the closed files of the audit log that is deleted within an hour, from `1%` to `100%`").with_default("10%"),
    Setting::new(AUDIT_GROUP, AUDIT_SIGNING_KEY_FILE, "PATH", "File with the Ed25519 key that signs checkpoints of the audit log").with_secret_file(),
    Setting::new(AUDIT_GROUP, AUDIT_TSA_URL, "URL", "Time-stamp authority (RFC 3161) that confirms checkpoints of the audit log"),
    Setting::new(AUDIT_GROUP, AUDIT_TSA_INTERVAL, "TIME", "Shortest time between two time stamps, from `1s` to `1day`").with_default("10m"),
    Setting::new(AUDIT_GROUP, AUDIT_PEPPER_FILE, "PATH", "File with the secret that is mixed into fingerprints of unknown credentials").with_secret_file().with_default("a random secret for each start"),
    Setting::new(AUDIT_GROUP, AUDIT_ADDRESSES, "MODE", "What audit records have of clients' addresses: `full`, `prefix` (24 bits of IPv4, 48 bits of IPv6) or `hash` (a pseudonym under the secret of `VOXGATE_AUDIT_PEPPER_FILE`)").with_default("full"),
    Setting::new(AUDIT_GROUP, AUDIT_SYSLOG, "URL", "Syslog server that receives a copy of the records: `unix:///dev/log`, `tcp://host:port` or `tls://host:port`"),
    Setting::new(AUDIT_GROUP, AUDIT_HTTP, "URL", "HTTP collector that receives a copy of the records, as lines of JSON by `POST`"),
    Setting::new(AUDIT_GROUP, AUDIT_HTTP_TOKEN_FILE, "PATH", "File with the bearer token that the HTTP collector requires").with_secret_file(),
    Setting::new(AUDIT_GROUP, AUDIT_CA_FILE, "PATH", "CA bundle (PEM) used to verify syslog servers, HTTP collectors and an `https://` time-stamp authority").with_default("the CA certificates of the system"),
    Setting::new(AUDIT_GROUP, AUDIT_STDOUT, "BOOLEAN", "Whether standard output receives a copy of the records, in addition to the directory").with_default("false"),
    Setting::new(AUDIT_GROUP, AUDIT_REQUIRED, "LIST", "Outputs that the delivery guarantee covers: `file` (`stdout` without a directory), and any of `stdout`, `syslog` and `http`, separated by commas").with_default("`file`, or `stdout` without a directory"),
];

pub(super) const LOGGING: &[Setting] = &[
    Setting::new(
        LOG_GROUP,
        LOG,
        "FILTER",
        "Log lines to write to standard error: a `level`, or a list of `target=level`",
    )
    .with_default("info"),
    Setting::new(LOG_GROUP, LOG_FORMAT, "FORMAT", "`text` or `json`")
        .with_default("`text` on a terminal, otherwise `json`"),
];
