//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::failure::CommandError;
use super::filter::{Filter, Pattern, StatusFilter};
use super::peer::Network;
use super::segments::{self, Source};
use super::when::{self, End};

/// Names the log if the command line does not.
const DIRECTORY: &str = "VOXGATE_AUDIT_DIR";

const TIMES: &str =
    "RFC 3339, a duration before now such as 7d, or a date such as 2026-03 or 2026-03-14";

/// Adds the argument that names the log.
pub(super) fn with_paths(command: Command) -> Command {
    command.arg(
        Arg::new("log")
            .value_name("LOG")
            .num_args(0..)
            .value_parser(value_parser!(PathBuf))
            .help(format!(
                "A directory of segments, files, or - for standard input [env: {DIRECTORY}]"
            )),
    )
}

/// Returns the files of the log that the command line or the environment names.
pub(super) fn sources(matches: &ArgMatches) -> Result<Vec<Source>, CommandError> {
    segments::find(&paths(matches)?)
}

pub(super) fn paths(matches: &ArgMatches) -> Result<Vec<PathBuf>, CommandError> {
    let named: Vec<PathBuf> = matches
        .get_many("log")
        .map(|paths| paths.cloned().collect())
        .unwrap_or_default();
    if !named.is_empty() {
        return Ok(named);
    }
    match std::env::var_os(DIRECTORY).filter(|directory| !directory.is_empty()) {
        Some(directory) => Ok(vec![directory.into()]),
        None => Err(CommandError::Usage(format!(
            "no log is given: name a directory, files or - for standard input, or set {DIRECTORY}"
        ))),
    }
}

/// Adds `--since` and `--until`.
pub(super) fn with_times(command: Command) -> Command {
    command
        .arg(text("since", "TIME").help(format!(
            "Only records at or after this time: {TIMES} (a date counts from its start)"
        )))
        .arg(text("until", "TIME").help(format!(
            "Only records before this time: {TIMES} (a date counts to its end)"
        )))
}

/// Adds the flags that select records.
pub(super) fn with_filters(command: Command) -> Command {
    let command = command
        .arg(
            text("key", "ID")
                .action(ArgAction::Append)
                .help("Only records with this key id; may be repeated"),
        )
        .arg(
            text("outcome", "OUTCOME")
                .value_parser(PossibleValuesParser::new(["accepted", "refused"]))
                .help("Only accepted or only refused requests"),
        )
        .arg(text("reason", "REASON").help("Only requests with this reason, such as unknown_credential"))
        .arg(text("status", "STATUS").help("Only requests with this response status, such as 404 or 5xx"))
        .arg(
            text("path", "PATTERN")
                .help("Only requests whose path starts with this text; with * (any text), the whole path must match"),
        )
        .arg(text("method", "METHOD").help("Only requests with this HTTP method"))
        .arg(
            text("peer", "NETWORK")
                .action(ArgAction::Append)
                .help("Only requests from this address or network, such as 10.0.0.0/8; may be repeated"),
        )
        .arg(text("request-id", "ID").help("Only the request with this id"))
        .arg(text("event", "EVENT").help("Only records of this kind, such as key or gap"));
    with_times(command)
}

fn text(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// The filter that the arguments of [`with_filters`] or [`with_times`] describe.
pub(super) fn filter(matches: &ArgMatches) -> Result<Filter, CommandError> {
    let one = |name: &str| -> Option<&String> { matches.try_get_one(name).ok().flatten() };
    let many = |name: &str| -> Vec<String> {
        let values = matches.try_get_many::<String>(name).ok().flatten();
        values
            .map(|values| values.cloned().collect())
            .unwrap_or_default()
    };
    let now = SystemTime::now();
    let time = |name: &str, end: End| match one(name) {
        None => Ok(None),
        Some(text) => match when::bound(text, end, now) {
            Some(time) => Ok(Some(time)),
            None => Err(wrong(name, text, TIMES)),
        },
    };
    let mut peers = Vec::new();
    for peer in many("peer") {
        let hint = "an address or a network such as 10.0.0.0/8";
        peers.push(Network::parse(&peer).ok_or_else(|| wrong("peer", &peer, hint))?);
    }
    let status = match one("status") {
        None => None,
        Some(text) => {
            let hint = "a status such as 404, or a class such as 4xx";
            Some(StatusFilter::parse(text).ok_or_else(|| wrong("status", text, hint))?)
        }
    };
    Ok(Filter {
        keys: many("key"),
        outcome: one("outcome").cloned(),
        reason: one("reason").cloned(),
        status,
        path: one("path").cloned().map(Pattern),
        method: one("method").cloned(),
        peers,
        request_id: one("request-id").cloned(),
        event: one("event").cloned(),
        since: time("since", End::Since)?,
        until: time("until", End::Until)?,
    })
}

fn wrong(name: &str, value: &str, hint: &str) -> CommandError {
    CommandError::Usage(format!("--{name} {value:?} is not valid: give {hint}"))
}
