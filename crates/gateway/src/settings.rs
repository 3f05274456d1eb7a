//! The table of settings: the library's rows, and those of the gateway. The accepted environment
//! variables, the flags, the help, and docs/reference/settings.md all come from this table.

mod audit;
pub(crate) mod authorizer;
pub(crate) mod browsers;
pub(crate) mod clients;
mod effective;
pub(crate) mod kubernetes;
mod last_start;
mod serving;
pub(crate) mod tls;
mod tokens;
pub(crate) mod tracing;
pub(crate) mod upstream_tls;
mod usage;
mod vars;

use std::iter;

use voxgate::env::SETTINGS;
pub(crate) use voxgate::env::Setting;

pub(crate) use self::audit::*;
pub(crate) use self::effective::effective;
pub(crate) use self::last_start::SettingDigests;
pub(crate) use self::serving::*;
pub(crate) use self::tokens::*;
pub(crate) use self::usage::*;
pub(crate) use self::vars::{digest, environment};

/// Every setting, group by group, in the order in which they are shown.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    iter::empty()
        .chain(SERVING)
        .chain(tls::TLS)
        .chain(upstream_tls::UPSTREAM_TLS)
        .chain(clients::CLIENTS)
        .chain(authorizer::AUTHORIZER)
        .chain(browsers::BROWSERS)
        .chain(SETTINGS)
        .chain(kubernetes::KUBERNETES)
        .chain(TOKENS)
        .chain(USAGE)
        .chain(AUDITING)
        .chain(LOGGING)
        .chain(tracing::TRACES)
}

/// The settings that decide what each route requires.
pub(crate) fn concerns_policy(setting: &Setting) -> bool {
    setting.group == "Policy" || setting.variable == "VOXGATE_DIALECT"
}

/// The settings that decide how much each key may do, and which keys there are.
pub(crate) fn concerns_limits(setting: &Setting) -> bool {
    let group = setting.group;
    group.starts_with("Limits")
        || group == USAGE_GROUP
        || group == "Callers and keys"
        || group == kubernetes::GROUP
        || group == "Deployment key"
}

/// The settings that decide about a request, and those by which its record is found.
pub(crate) fn concerns_decisions(setting: &Setting) -> bool {
    let others = [
        HEADER_NAMES,
        BODY_INSPECT,
        AUDIT_DIR,
        browsers::CORS_ORIGINS,
    ];
    concerns_policy(setting) || concerns_limits(setting) || others.contains(&setting.variable)
}

/// The name of a setting's flag, without its dashes: `VOXGATE_LISTEN` is `listen`. A secret has no
/// flag, because every user of the machine can see the command line of a process.
pub(crate) fn flag(setting: &Setting) -> Option<String> {
    let variable = setting.variable;
    let name = variable.strip_prefix("VOXGATE_").unwrap_or(variable);
    (!setting.secret).then(|| name.to_ascii_lowercase().replace('_', "-"))
}

/// The default of a setting whose default is a value.
pub(crate) fn default_of(variable: &str) -> &'static str {
    let setting = settings().find(|setting| setting.variable == variable);
    setting.map_or("", |setting| setting.default)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names() -> Vec<&'static str> {
        settings().map(|setting| setting.variable).collect()
    }

    #[test]
    fn no_secret_has_a_flag() {
        for setting in settings() {
            let variable = setting.variable;
            assert_eq!(flag(setting).is_none(), setting.secret, "{variable}");
            let file = format!("{variable}_FILE");
            assert!(
                !setting.secret || names().contains(&file.as_str()),
                "{file}"
            );
        }
    }

    #[test]
    fn each_setting_is_in_the_table_once_and_groups_are_not_split() {
        let variables: HashSet<&str> = names().into_iter().collect();
        assert_eq!(variables.len(), names().len());
        let mut groups: Vec<&str> = settings().map(|setting| setting.group).collect();
        groups.dedup();
        let distinct: HashSet<&str> = groups.iter().copied().collect();
        assert_eq!(distinct.len(), groups.len(), "{groups:?}");
    }
}
