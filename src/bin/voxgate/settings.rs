//! Every setting of the program, in one table: the environment, the flags, the help and the
//! README all follow from it.

mod vars;

pub(crate) use self::vars::{digest, environment};

/// One setting: an environment variable and its flag.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// What a value looks like, in the help.
    pub(crate) value: &'static str,
    /// What it means, in one sentence without a full stop.
    pub(crate) meaning: &'static str,
    /// What holds when it is not set, in words or as a value.
    pub(crate) default: &'static str,
    /// A secret has no flag: the command line of a process is visible to every user of the
    /// machine. Its `_FILE` twin has one.
    pub(crate) secret: bool,
}

const fn plain(
    variable: &'static str,
    value: &'static str,
    meaning: &'static str,
    default: &'static str,
) -> Setting {
    Setting {
        variable,
        value,
        meaning,
        default,
        secret: false,
    }
}

const fn secret(variable: &'static str, meaning: &'static str) -> Setting {
    Setting {
        variable,
        value: "KEY",
        meaning,
        default: "",
        secret: true,
    }
}

pub(crate) const LISTEN: &str = "VOXGATE_LISTEN";
pub(crate) const ADMIN_LISTEN: &str = "VOXGATE_ADMIN_LISTEN";
pub(crate) const UPSTREAM: &str = "VOXGATE_UPSTREAM";
pub(crate) const CONNECT_TIMEOUT: &str = "VOXGATE_CONNECT_TIMEOUT_SECONDS";
pub(crate) const UPSTREAM_TIMEOUT: &str = "VOXGATE_UPSTREAM_TIMEOUT_SECONDS";
pub(crate) const HEADER_READ_TIMEOUT: &str = "VOXGATE_HEADER_READ_TIMEOUT_SECONDS";
pub(crate) const DRAIN: &str = "VOXGATE_DRAIN_SECONDS";
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

pub(crate) const SETTINGS: [Setting; 38] = [
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

impl Setting {
    /// The name of the flag, without its dashes: `VOXGATE_LISTEN` is `listen`.
    pub(crate) fn flag(&self) -> Option<String> {
        let name = self
            .variable
            .strip_prefix("VOXGATE_")
            .unwrap_or(self.variable);
        (!self.secret).then(|| name.to_ascii_lowercase().replace('_', "-"))
    }
}

/// The names of all settings.
pub(crate) fn names() -> Vec<&'static str> {
    SETTINGS.iter().map(|setting| setting.variable).collect()
}

/// What a setting is when nobody sets it. Only for settings whose default is a value.
pub(crate) fn default_of(variable: &str) -> &'static str {
    let setting = SETTINGS.iter().find(|setting| setting.variable == variable);
    setting.map_or("", |setting| setting.default)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of README's table of settings are this table's, word for word.
    #[test]
    fn readme_lists_exactly_these_settings() {
        let readme = include_str!("../../../README.md");
        let section = readme
            .split("\n## ")
            .find(|section| section.starts_with("Settings\n"));
        let lines = section.unwrap_or_default().lines();
        let rows: Vec<&str> = lines.filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = SETTINGS
            .iter()
            .map(|setting| {
                let Setting {
                    variable,
                    meaning,
                    default,
                    ..
                } = setting;
                format!("| `{variable}` | {meaning} | {default} |").replace("|  |", "| |")
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn no_secret_has_a_flag() {
        for setting in SETTINGS {
            let flag = setting.flag();
            assert_eq!(flag.is_none(), setting.secret, "{}", setting.variable);
            let twin = format!("{}_FILE", setting.variable);
            assert!(
                !setting.secret || names().contains(&twin.as_str()),
                "{twin}"
            );
        }
    }
}
