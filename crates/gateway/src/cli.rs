//! The command line. Its flags are the settings of the environment; a flag wins.

use std::ffi::OsString;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use super::key;
use super::probe;
use super::settings::{Setting, settings};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const ABOUT: &str = "The missing door for self-hosted text-to-speech: it asks callers for their \
                     key, speaks the dialect of their vendor's SDK, and writes an audit record of \
                     every decision.";

const AFTER: &str = "\
Start here:
  voxgate demo                    see it at work, with nothing to set up

In front of your own TTS server:
  export VOXGATE_UPSTREAM=http://127.0.0.1:8000
  export VOXGATE_API_KEYS=\"$(openssl rand -hex 32)\"
  voxgate check                   what would it do?
  voxgate serve

Keys, and what was done with them:
  voxgate key new --id ivr-prod   a key for a caller; see also list, rotate, revoke
  voxgate audit query             who used which key; see also report, verify

Exit status: 0 after an orderly shutdown, 64 when the configuration is wrong, 1 otherwise.";

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Action {
    Serve(Flags),
    Check(Flags),
    Policy(Flags),
    Limits(Flags),
    Key(ArgMatches),
    Demo { preconfigured: bool },
    Audit(ArgMatches),
    Probe(ArgMatches),
}

/// Settings given as flags: the variable, and its value.
pub(crate) type Flags = Vec<(&'static str, OsString)>;

/// Reads the command line.
///
/// # Errors
///
/// What to print instead: the help, the version, or what is wrong.
pub(crate) fn parse() -> Result<Action, clap::Error> {
    action(&command().try_get_matches()?)
}

fn command() -> Command {
    Command::new("voxgate")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(STYLES)
        .about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(
            Command::new("serve").about("Run the gateway in front of a TTS server"),
        ))
        .subcommand(with_settings(Command::new("check").about(
            "Check the configuration and say what the gateway would do with it",
        )))
        .subcommand(with_settings(
            Command::new("policy").about("Show which scope each route requires"),
        ))
        .subcommand(with_settings(
            Command::new("limits").about("Show how much each key may do"),
        ))
        .subcommand(key::command())
        .subcommand(demo())
        .subcommand(voxgate_audit_log::cli::command())
        .subcommand(probe::command())
}

fn demo() -> Command {
    let mode = Arg::new("mode")
        .long("mode")
        .value_name("MODE")
        .value_parser(["validate", "preconfigured"])
        .default_value("validate")
        .help("Whether callers need the demo's key, or a deployment key is preconfigured");
    Command::new("demo")
        .about("See it at work: a sample TTS server behind the gateway, with a fresh key")
        .long_about(
            "Starts a sample TTS server in Rime's shape and the gateway in front of it, on \
             127.0.0.1 only, prints commands to try, and shows each audit record as it happens. \
             Nothing needs to be installed or configured, and the environment is not read.",
        )
        .arg(mode)
}

fn with_settings(command: Command) -> Command {
    let secrets: Vec<&str> = settings()
        .filter(|setting| setting.secret)
        .map(|setting| setting.variable)
        .collect();
    let after = format!(
        "Every flag has an environment variable of the same name, and wins over it. {} have no \
         flag, because other users of the machine can see command lines.",
        secrets.join(" and ")
    );
    command
        .args(settings().filter_map(argument))
        .after_help(after)
}

fn argument(setting: &Setting) -> Option<Arg> {
    let mut help = capitalised(setting.meaning);
    help.push_str(&match setting.default {
        "" => format!(" [env: {}]", setting.variable),
        "required" => format!(" [env: {}, required]", setting.variable),
        default => format!(" [env: {}, default: {default}]", setting.variable),
    });
    let flag = setting.flag()?;
    Some(
        Arg::new(setting.variable)
            .long(flag)
            .value_name(setting.value)
            .value_parser(clap::value_parser!(OsString))
            .help(help),
    )
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn action(matches: &ArgMatches) -> Result<Action, clap::Error> {
    Ok(match matches.subcommand() {
        Some(("serve", matches)) => Action::Serve(flags(matches)),
        Some(("check", matches)) => Action::Check(flags(matches)),
        Some(("policy", matches)) => Action::Policy(flags(matches)),
        Some(("limits", matches)) => Action::Limits(flags(matches)),
        Some(("key", matches)) => Action::Key(matches.clone()),
        Some(("audit", matches)) => Action::Audit(matches.clone()),
        Some(("probe", matches)) => Action::Probe(matches.clone()),
        Some((_, matches)) => Action::Demo {
            preconfigured: matches
                .get_one::<String>("mode")
                .is_some_and(|mode| mode == "preconfigured"),
        },
        None => return Err(command().error(ErrorKind::MissingSubcommand, "name a command")),
    })
}

fn flags(matches: &ArgMatches) -> Flags {
    let with_flag = settings().filter(|setting| !setting.secret);
    with_flag
        .filter_map(|setting| {
            let value = matches.get_one::<OsString>(setting.variable)?;
            Some((setting.variable, value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_settings() {
        let line = [
            "voxgate",
            "serve",
            "--listen",
            "[::]:1",
            "--keys-file=k.toml",
        ];
        let matches = command()
            .try_get_matches_from(line)
            .expect("a good command line");
        let Ok(Action::Serve(flags)) = action(&matches) else {
            panic!("not serve");
        };
        let expected: Flags = vec![
            ("VOXGATE_LISTEN", "[::]:1".into()),
            ("VOXGATE_KEYS_FILE", "k.toml".into()),
        ];
        assert_eq!(flags, expected);
        let secret = ["voxgate", "serve", "--api-keys", "hunter2"];
        assert!(command().try_get_matches_from(secret).is_err());
    }
}
