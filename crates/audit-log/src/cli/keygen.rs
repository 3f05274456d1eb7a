//! `voxgate audit keygen`: creates a key that signs checkpoints.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::Signer;
use clap::{Arg, ArgMatches, Command, value_parser};

/// The command line is wrong.
const EXIT_USAGE: u8 = 64;

pub(super) fn command() -> Command {
    Command::new("keygen")
        .about("Create a key that signs checkpoints of the audit log")
        .long_about(
            "Creates FILE with a new Ed25519 key. Only its owner can read it. Set \
             VOXGATE_AUDIT_SIGNING_KEY_FILE to its path. Prints the public key for `voxgate audit \
             verify --pubkey`. Store the public key where users who can change the log cannot \
             change it.",
        )
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .default_value("voxgate")
                .help("Name of the key in each signature; use a URL without its scheme"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let name = matches
        .get_one::<String>("name")
        .map_or("voxgate", String::as_str);
    let Some(file) = matches.get_one::<PathBuf>("file") else {
        return ExitCode::from(EXIT_USAGE);
    };
    let mut seed = [0; 32];
    let wrong = match getrandom::fill(&mut seed) {
        Err(error) => format!("cannot read random bytes from the operating system: {error}"),
        Ok(()) => match Signer::new(name, &seed) {
            Err(_) => {
                say("--name: must be printable ASCII without space, `+`, `\"` and `\\`");
                return ExitCode::from(EXIT_USAGE);
            }
            Ok(signer) => match write(file, &signer) {
                Err(error) => format!(
                    "cannot write {}: {error}; name a new file in a directory that you can write to",
                    file.display()
                ),
                Ok(()) => match writeln!(io::stdout(), "{}", signer.verifier()) {
                    Ok(()) => return ExitCode::SUCCESS,
                    Err(error) => {
                        format!("cannot write the public key to standard output: {error}")
                    }
                },
            },
        },
    };
    say(&wrong);
    ExitCode::FAILURE
}

fn write(file: &PathBuf, signer: &Signer) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    writeln!(file, "{}", signer.expose())?;
    file.sync_all()
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "voxgate: {what}");
}
