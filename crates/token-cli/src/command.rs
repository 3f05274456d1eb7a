//! The flags of `voxgate token`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

const ABOUT: &str = "\
Makes and inspects short-lived tokens, with the signing key that the settings name.

A running gateway makes tokens itself, in the form of each vendor's API (`VOXGATE_TOKEN_MINT=on`). \
These commands are for operators: to test, and to find out why a token is refused.

Exit status: 0 for success, 64 if the command line or a setting is wrong, 1 if the system reports an \
error or `inspect` finds that a token would be refused.";

const AFTER: &str = "\
Examples:
  voxgate token mint --key ivr-prod --ttl 5m --scope tts:synthesize > token
  voxgate token inspect < token";

/// The command `token`, with its subcommands.
#[must_use]
pub fn command() -> Command {
    Command::new("token")
        .about("Make and inspect short-lived tokens")
        .long_about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(mint())
        .subcommand(inspect())
}

fn mint() -> Command {
    let many = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .action(ArgAction::Append)
            .help(help)
    };
    Command::new("mint")
        .about("Make a token for a key, and print it to standard output")
        .long_about(
            "Makes a token with no more rights than its key, and prints it to standard output. \
             Gateways with the same signing key accept it, as long as the key is in their keys \
             files and counts. No audit record is written: anyone who can read the signing key can \
             make tokens.",
        )
        .arg(
            Arg::new("key")
                .long("key")
                .value_name("ID")
                .required(true)
                .help("Key whose token it is; it must be in the keys file"),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("DURATION")
                .default_value("5m")
                .help("How long the token is valid, from 1s to 24h; not longer than the key"),
        )
        .arg(many("scope", "SCOPE", "Scope of the token, which the key must have; may be repeated; without it, all scopes of the key"))
        .arg(many("voice", "VOICE", "Voice of the token, which the key must have; may be repeated"))
        .arg(
            Arg::new("kind")
                .long("kind")
                .value_name("KIND")
                .value_parser(["standard", "realtime"])
                .default_value("standard")
                .help("`realtime` for a token that opens realtime sessions only"),
        )
        .arg(
            Arg::new("single-use")
                .long("single-use")
                .action(ArgAction::SetTrue)
                .help("The token is consumed when it is accepted"),
        )
        .arg(file())
}

fn inspect() -> Command {
    Command::new("inspect")
        .about("Show what a token says, and whether it would be accepted")
        .long_about(
            "Reads a token from standard input, because other users of the machine can see command \
             lines. Shows its claims, and whether its signature, its time and its key are good. \
             What cannot be checked here is named.",
        )
        .arg(
            Arg::new("token")
                .num_args(0..)
                .hide(true)
                .value_parser(value_parser!(String)),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print a JSON object"),
        )
        .arg(file())
}

fn file() -> Arg {
    Arg::new("file")
        .long("file")
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help("Keys file [env: VOXGATE_KEYS_FILE]")
}
