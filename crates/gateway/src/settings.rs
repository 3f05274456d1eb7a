//! Every setting of the program, in one table: the environment, the flags, the help and the
//! README all follow from it.

mod audit;
mod limits;
mod serving;
mod vars;

pub(crate) use self::audit::*;
use self::limits::LIMITS;
pub(crate) use self::serving::*;
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

pub(super) const fn plain(
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

pub(super) const fn secret(variable: &'static str, meaning: &'static str) -> Setting {
    Setting {
        variable,
        value: "KEY",
        meaning,
        default: "",
        secret: true,
    }
}

/// Every setting, in the order in which they are shown.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    let groups = [SERVING, LIMITS, AUDITING];
    groups.into_iter().flatten()
}

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
    settings().map(|setting| setting.variable).collect()
}

/// What a setting is when nobody sets it. Only for settings whose default is a value.
pub(crate) fn default_of(variable: &str) -> &'static str {
    let setting = settings().find(|setting| setting.variable == variable);
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
        let expected: Vec<String> = settings()
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
        for setting in settings() {
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
