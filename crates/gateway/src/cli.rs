//! The command line. Each setting is also a flag, which takes precedence over the variable.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use voxgate::DenialKind;

use super::probe;
use super::rejections::RejectReason;
use super::settings::{
    Setting, concerns_decisions, concerns_limits, concerns_policy, flag, settings,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const ABOUT: &str = "\
An authenticating gateway for self-hosted text-to-speech servers. It checks the key of each caller, \
answers in the form that the vendor's SDK expects, and writes an audit record of each decision.";

const AFTER: &str = "\
Start here:
  voxgate demo                    run a sample TTS server behind the gateway; needs no setup

In front of your own TTS server:
  export VOXGATE_UPSTREAM=http://127.0.0.1:8000
  export VOXGATE_API_KEYS=\"$(openssl rand -hex 32)\"
  voxgate check                   check the configuration without serving
  voxgate serve

Keys and audit records:
  voxgate key new --id ivr-prod   make a key for a caller; see also list, rotate, revoke
  voxgate audit query             show who used which key; see also report, verify
  voxgate usage --by account      sum up the characters and the audio of this month
  voxgate explain --request-id ID show why a request was refused, and what to change

Exit status: 0 after an orderly shutdown, 64 if the configuration or the command line is wrong,
1 for any other failure.";

/// The command to run, with its arguments.
#[derive(Debug)]
pub(crate) enum Action {
    Serve(Flags),
    Check(Flags),
    Policy(Flags),
    Limits(Flags),
    Explain(Flags, ArgMatches),
    Key(ArgMatches),
    Token(ArgMatches),
    Demo { preconfigured: bool },
    Audit(ArgMatches),
    Usage(ArgMatches),
    Probe(ArgMatches),
    Completions(Shell),
    Man { directory: Option<PathBuf> },
}

/// Settings given as flags: the name of the variable, and the value.
pub(crate) type Flags = Vec<(&'static str, OsString)>;

/// Reads the command line.
///
/// # Errors
///
/// The text to print: the help, the version, or an error.
pub(crate) fn parse() -> Result<Action, clap::Error> {
    action(&command().try_get_matches()?)
}

/// The whole command line, with every subcommand.
pub(crate) fn command() -> Command {
    let everything = |_: &Setting| true;
    Command::new("voxgate")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(STYLES)
        .about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(
            Command::new("serve").about("Run the gateway in front of a TTS server"),
            everything,
        ))
        .subcommand(with_settings(
            Command::new("check")
                .about("Check the configuration and describe what the gateway would do"),
            everything,
        ))
        .subcommand(with_settings(
            Command::new("policy").about("Show the scope that each route requires"),
            concerns_policy,
        ))
        .subcommand(with_settings(
            Command::new("limits").about("Show the limits and quotas of each key"),
            concerns_limits,
        ))
        .subcommand(with_settings(
            voxgate_explain::command(),
            concerns_decisions,
        ))
        .subcommand(voxgate_key_cli::command())
        .subcommand(voxgate_token_cli::command())
        .subcommand(demo())
        .subcommand(voxgate_audit_log::cli::command(reasons()))
        .subcommand(voxgate_audit_log::cli::usage_command())
        .subcommand(probe::command())
        .subcommand(completions())
        .subcommand(man())
}

fn demo() -> Command {
    let mode = Arg::new("mode")
        .long("mode")
        .value_name("MODE")
        .value_parser(["validate", "preconfigured"])
        .default_value("validate")
        .help("`validate`: callers need the demo's key; `preconfigured`: callers need no key");
    Command::new("demo")
        .about("Run a sample TTS server behind the gateway, with a fresh key")
        .long_about(
            "Starts a sample TTS server with the API of Rime and the gateway in front of it, on \
             127.0.0.1 only. Prints commands to try, and shows each audit record when it is \
             written. The demo needs no installation and no configuration, and it does not read \
             the environment.",
        )
        .arg(mode)
}

fn completions() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell))
        .help("Shell for which to print the script");
    Command::new("completions")
        .about("Print a completion script for a shell")
        .after_help(
            "\
Examples:
  voxgate completions bash > ~/.local/share/bash-completion/completions/voxgate
  voxgate completions zsh > \"${fpath[1]}/_voxgate\"
  voxgate completions fish > ~/.config/fish/completions/voxgate.fish",
        )
        .arg(shell)
}

fn man() -> Command {
    let directory = Arg::new("dir")
        .long("dir")
        .value_name("DIRECTORY")
        .value_parser(value_parser!(PathBuf))
        .help("Write the pages of all commands into this directory, which must exist");
    Command::new("man")
        .about("Print the manual page, or write the manual pages of all commands")
        .after_help(
            "\
Examples:
  voxgate man | man -l -
  voxgate man --dir /usr/local/share/man/man1",
        )
        .arg(directory)
}

/// The completion script for a shell.
pub(crate) fn completion_script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "voxgate", &mut script);
    script
}

/// The manual page of the program.
pub(crate) fn manual_page() -> Vec<u8> {
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let _ = clap_mangen::Man::new(command()).render(&mut page);
    page
}

/// Writes the manual pages of the program and of its commands.
///
/// # Errors
///
/// If a file cannot be written.
pub(crate) fn write_manual_pages(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command(), directory)
}

/// Adds a flag for each setting. The help of a command lists only the settings that affect it. The
/// other flags are accepted, so that all commands can have the same arguments.
fn with_settings(command: Command, concerns: impl Fn(&Setting) -> bool) -> Command {
    let secrets: Vec<&str> = settings()
        .filter(|setting| setting.secret && concerns(setting))
        .map(|setting| setting.variable)
        .collect();
    let mut after =
        "Each flag has an environment variable, over which it takes precedence.".to_owned();
    if !secrets.is_empty() {
        after.push_str(&format!(
            " {} have no flag, because other users of the machine can see command lines.",
            secrets.join(", ")
        ));
    }
    let arguments =
        settings().filter_map(|setting| Some(argument(setting)?.hide(!concerns(setting))));
    command.args(arguments).after_help(after)
}

fn argument(setting: &Setting) -> Option<Arg> {
    let (meaning, variable) = (setting.meaning, setting.variable);
    let help = match setting.default {
        "" => format!("{meaning} [env: {variable}]"),
        "required" => format!("{meaning} [env: {variable}, required]"),
        default => format!("{meaning} [env: {variable}, default: {default}]"),
    };
    Some(
        Arg::new(variable)
            .long(flag(setting)?)
            .value_name(setting.value)
            .value_parser(value_parser!(OsString))
            .help_heading(setting.group)
            .help(help),
    )
}

fn action(matches: &ArgMatches) -> Result<Action, clap::Error> {
    Ok(match matches.subcommand() {
        Some(("serve", matches)) => Action::Serve(flags(matches)),
        Some(("check", matches)) => Action::Check(flags(matches)),
        Some(("policy", matches)) => Action::Policy(flags(matches)),
        Some(("limits", matches)) => Action::Limits(flags(matches)),
        Some(("explain", matches)) => Action::Explain(flags(matches), matches.clone()),
        Some(("key", matches)) => Action::Key(matches.clone()),
        Some(("token", matches)) => Action::Token(matches.clone()),
        Some(("audit", matches)) => Action::Audit(matches.clone()),
        Some(("usage", matches)) => Action::Usage(matches.clone()),
        Some(("probe", matches)) => Action::Probe(matches.clone()),
        Some(("completions", matches)) => match matches.get_one::<Shell>("shell") {
            Some(shell) => Action::Completions(*shell),
            None => return Err(command().error(ErrorKind::MissingRequiredArgument, "name a shell")),
        },
        Some(("man", matches)) => Action::Man {
            directory: matches.get_one::<PathBuf>("dir").cloned(),
        },
        Some((_, matches)) => Action::Demo {
            preconfigured: matches
                .get_one::<String>("mode")
                .is_some_and(|mode| mode == "preconfigured"),
        },
        None => {
            return Err(command().error(
                ErrorKind::MissingSubcommand,
                "give a command; see `voxgate --help`",
            ));
        }
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

/// The values of `reason` in audit records.
fn reasons() -> impl Iterator<Item = &'static str> {
    let denials = DenialKind::ALL.iter().map(|kind| kind.as_str());
    let rejections = RejectReason::ALL.iter().map(|reason| reason.as_str());
    ["ok"].into_iter().chain(denials).chain(rejections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn help_lists_only_the_settings_that_affect_the_command() {
        let flags = |name: &str| -> Vec<String> {
            let mut command = command();
            let command = command.find_subcommand_mut(name).expect("the command");
            let help = command.render_long_help().to_string();
            let lines = help.lines().map(str::trim_start);
            let flags = lines
                .filter_map(|line| Some(line.strip_prefix("--")?.split_once(' ')?.0.to_owned()));
            flags.collect()
        };
        assert_eq!(flags("policy"), ["dialect", "policy-file", "public"]);
        assert!(flags("limits").contains(&"limit-rate".to_owned()));
        assert!(!flags("limits").contains(&"audit-dir".to_owned()));
        let line = ["voxgate", "policy", "--audit-dir=x"];
        assert!(command().try_get_matches_from(line).is_ok());
    }

    #[test]
    fn there_are_completions_and_manual_pages() {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let shell = shell.parse().expect("a shell");
            let script = String::from_utf8(completion_script(shell)).expect("text");
            assert!(script.contains("voxgate") && script.contains("kubernetes-secret"));
        }
        let page = String::from_utf8(manual_page()).expect("text");
        assert!(page.contains(".TH voxgate 1"), "{page}");
        let directory = tempfile::tempdir().expect("a directory");
        write_manual_pages(directory.path()).expect("written");
        assert!(directory.path().join("voxgate-key-new.1").exists());
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
