//! The table of settings: every variable that the library reads.

/// One setting: an environment variable and its documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The heading under which help and reference pages list the setting.
    pub group: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// The form of a value, in capitals: `PATH`, `SECONDS`.
    pub value: &'static str,
    /// The meaning: one sentence without a full stop, in which code is in backquotes.
    pub meaning: &'static str,
    /// The value that applies when the variable is not set, or words that describe it.
    pub default: &'static str,
    /// Whether the value is secret. A secret is never a command-line flag and never printed.
    pub secret: bool,
    /// Whether the value is the path of a file that contains secrets.
    pub secret_file: bool,
}

impl Setting {
    /// A setting that is not secret and has no default.
    #[must_use]
    pub const fn new(
        group: &'static str,
        variable: &'static str,
        value: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            group,
            variable,
            value,
            meaning,
            default: "",
            secret: false,
            secret_file: false,
        }
    }

    /// The same setting as a secret.
    #[must_use]
    pub const fn with_secrecy(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The same setting as the path of a file that contains secrets.
    #[must_use]
    pub const fn with_secret_file(mut self) -> Self {
        self.secret_file = true;
        self
    }

    /// Whether a blank value is an error: for each secret, path and URL, and for each setting without
    /// a default. Compose files turn a variable that is not set into a blank value; as "not set", it
    /// would disable what the operator asked for. Any other setting gets its default.
    #[must_use]
    pub fn refuses_blank(&self) -> bool {
        self.secret || matches!(self.value, "PATH" | "URL") || self.default.is_empty()
    }

    /// The same setting with this default.
    #[must_use]
    pub const fn with_default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
}

const CALLERS: &str = "Callers and keys";
const DEPLOYMENT: &str = "Deployment key";
const POLICY: &str = "Policy";
const LIMITS: &str = "Limits";
const SHARED: &str = "Limits shared by replicas";

const SYSTEM_ROOTS: &str = "the CA certificates of the system";

/// Every setting that the library reads, in the order in which reference pages list them.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        CALLERS,
        "VOXGATE_DIALECT",
        "NAME",
        "Vendor of the clients: the name of a dialect, `bearer` for no vendor, or `auto` to detect the vendor from each request",
    )
    .with_default("rime"),
    Setting::new(
        CALLERS,
        "VOXGATE_MODE",
        "MODE",
        "`validate` (every caller needs a key) or `preconfigured` (no caller needs a key)",
    )
    .with_default("depends on which keys are set"),
    Setting::new(
        CALLERS,
        "VOXGATE_API_KEYS",
        "KEYS",
        "Keys of the callers in plain text, separated by commas",
    )
    .with_secrecy(),
    Setting::new(
        CALLERS,
        "VOXGATE_API_KEYS_FILE",
        "PATH",
        "File with one caller key per line",
    )
    .with_secret_file(),
    Setting::new(
        CALLERS,
        "VOXGATE_KEYS_FILE",
        "PATH",
        "Keys file (`keys.toml`) with ids, labels and scopes",
    )
    .with_secret_file(),
    deployment_key("RIME_API_KEY", "Key that the TTS server requires, in the dialect `rime`"),
    deployment_key_file("RIME_API_KEY_FILE", "File that contains `RIME_API_KEY`"),
    deployment_key(
        "SUPERTONE_API_KEY",
        "Key that the TTS server requires, in the dialect `supertone`",
    ),
    deployment_key_file("SUPERTONE_API_KEY_FILE", "File that contains `SUPERTONE_API_KEY`"),
    deployment_key(
        "SMALLEST_API_KEY",
        "Key that the TTS server requires, in the dialect `smallest`",
    ),
    deployment_key_file("SMALLEST_API_KEY_FILE", "File that contains `SMALLEST_API_KEY`"),
    deployment_key(
        "KUGELAUDIO_API_KEY",
        "Key that the TTS server requires, in the dialect `kugel`",
    ),
    deployment_key_file("KUGELAUDIO_API_KEY_FILE", "File that contains `KUGELAUDIO_API_KEY`"),
    deployment_key("INWORLD_API_KEY", "Key that the TTS server requires, in the dialect `inworld`"),
    deployment_key_file("INWORLD_API_KEY_FILE", "File that contains `INWORLD_API_KEY`"),
    Setting::new(
        POLICY,
        "VOXGATE_POLICY_FILE",
        "PATH",
        "Policy file; its rules are checked before the rules of the dialect",
    ),
    Setting::new(
        POLICY,
        "VOXGATE_PUBLIC",
        "ROUTES",
        "Methods and exact paths that need no key, such as `GET /health`, separated by commas; a path for \
         `OPTIONS` may end in `/*`",
    ),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_RATE",
        "RATE",
        "Default rate for keys without their own: `50/s`, `600/min` or `10000/h`",
    ),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_BURST",
        "NUMBER",
        "Requests of one key that may start at once before the default rate applies",
    )
    .with_default("the number in the rate"),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_CONCURRENCY",
        "NUMBER",
        "Default number of requests and tunnels in flight, for keys without their own",
    ),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_UPSTREAM_CONCURRENCY",
        "NUMBER",
        "Maximum number of requests and tunnels in flight for all callers together",
    ),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_QUEUE",
        "NUMBER",
        "Size of the wait queue: requests that wait for a slot instead of being refused",
    )
    .with_default("0"),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS",
        "SECONDS",
        "Longest time that a request waits in the queue",
    )
    .with_default("2"),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_HEADERS",
        "SWITCH",
        "`on` or `off`: whether responses have the headers `RateLimit-Policy` and `RateLimit`",
    )
    .with_default("on"),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_LOAD_REPORT",
        "SWITCH",
        "`on` or `off`: whether responses report the part of `VOXGATE_LIMIT_UPSTREAM_CONCURRENCY` in use to load balancers (ORCA, `endpoint-load-metrics`)",
    )
    .with_default("off"),
    Setting::new(
        LIMITS,
        "VOXGATE_LIMIT_AUTH_FAILURES",
        "NUMBER",
        "Failed authentications per minute that one address may cause before its refusals are delayed by half a second; `0` disables this limit",
    )
    .with_default("60"),
    Setting::new(
        SHARED,
        "VOXGATE_REDIS_URL",
        "URL",
        "Redis or Valkey that keeps the limits of all replicas, such as `rediss://:password@host:6379/0`, `rediss-cluster://:password@host:6379,host:6379` or `rediss-sentinel://:password@host:26379,host:26379/service`",
    )
    .with_secrecy(),
    Setting::new(
        SHARED,
        "VOXGATE_REDIS_URL_FILE",
        "PATH",
        "File that contains `VOXGATE_REDIS_URL`",
    )
    .with_secret_file(),
    Setting::new(
        SHARED,
        "VOXGATE_REDIS_CA_FILE",
        "PATH",
        "CA bundle (PEM) used to verify Redis",
    )
    .with_default(SYSTEM_ROOTS),
    Setting::new(
        SHARED,
        "VOXGATE_LIMIT_ON_FAILURE",
        "POLICY",
        "Behaviour while Redis is unavailable: `local` (this replica applies its share of the limits), `deny` (answer 503) or `allow`",
    )
    .with_default("local"),
    Setting::new(
        SHARED,
        "VOXGATE_LIMIT_LEASE_SECONDS",
        "SECONDS",
        "Time after which the slots of a replica that disappeared are free again",
    )
    .with_default("30"),
    Setting::new(
        SHARED,
        "VOXGATE_LIMIT_NAMESPACE",
        "NAME",
        "Prefix of all keys in Redis; it must be the same for all replicas",
    )
    .with_default("voxgate"),
];

const fn deployment_key(variable: &'static str, meaning: &'static str) -> Setting {
    Setting::new(DEPLOYMENT, variable, "KEY", meaning).with_secrecy()
}

const fn deployment_key_file(variable: &'static str, meaning: &'static str) -> Setting {
    Setting::new(DEPLOYMENT, variable, "PATH", meaning).with_secret_file()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dialect::DEPLOYMENT_VARIABLES;

    #[test]
    fn deployment_keys_are_those_of_the_dialects() {
        let rows = SETTINGS.iter().filter(|row| row.group == DEPLOYMENT);
        let variables: Vec<&str> = rows.map(|row| row.variable).collect();
        let expected: Vec<String> = DEPLOYMENT_VARIABLES
            .iter()
            .flat_map(|variable| [(*variable).to_owned(), format!("{variable}_FILE")])
            .collect();
        assert_eq!(variables, expected);
    }

    #[test]
    fn every_secret_can_come_from_a_file() {
        for secret in SETTINGS.iter().filter(|row| row.secret) {
            let file = format!("{}_FILE", secret.variable);
            let is_file = |row: &Setting| row.variable == file && row.secret_file;
            assert!(SETTINGS.iter().any(is_file), "{file}");
        }
    }

    /// `UPDATE_REFERENCE=1` updates the table in the module's documentation from [`SETTINGS`].
    #[test]
    fn the_documentation_has_this_table() {
        const TITLE: &str = "//! | variable | meaning | default |\n//! |---|---|---|\n";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/env/mod.rs");
        let text = std::fs::read_to_string(&file).expect("the module");
        let (before, rest) = text.split_once(TITLE).expect("the table");
        let end = rest.find("//!\n").expect("the end of the table");
        let (rows, after) = rest.split_at(end);
        let expected: String = SETTINGS.iter().map(line).collect();
        if rows != expected && std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(file, format!("{before}{TITLE}{expected}{after}")).expect("written");
            return;
        }
        assert_eq!(rows, expected, "run this test with UPDATE_REFERENCE=1");
    }

    fn line(row: &Setting) -> String {
        let (variable, meaning) = (row.variable, row.meaning);
        format!("//! | `{variable}` | {meaning} | {} |\n", row.default).replace("|  |", "| |")
    }
}
