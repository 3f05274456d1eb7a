//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::clock::Clock;
use super::failure::CommandError;
use super::filter::{Filter, Pattern, StatusFilter};
use super::glob::Glob;
use super::peer::Network;
use super::segments::{self, Source};
use super::when::{self, End};

/// Names the log if the command line does not.
pub(super) const DIRECTORY: &str = "VOXGATE_AUDIT_DIR";

const TIMES: &str = "RFC 3339, a duration before now such as 7d, a date such as 2026-03 or \
                     2026-03-14, or a time such as 03:00 or 2026-03-14T03:00";

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
    let directory = directory_from_environment()?;
    Ok(vec![directory])
}

/// The argument with the directory of a log.
pub(super) fn directory() -> Arg {
    Arg::new("directory")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help(format!("Directory of the audit log [env: {DIRECTORY}]"))
}

/// The directory of the log that the environment names.
pub(super) fn directory_from_environment() -> Result<PathBuf, CommandError> {
    let directory = std::env::var_os(DIRECTORY).filter(|directory| !directory.is_empty());
    directory.map(PathBuf::from).ok_or_else(|| {
        CommandError::Usage(format!(
            "no log is given: name a directory, or set {DIRECTORY}; `query`, `report` and `export` \
             also read files, and - for standard input"
        ))
    })
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

/// Adds the flags that select records. `reasons` are the values of `--reason`.
pub(super) fn with_filters(command: Command, reasons: &[&'static str]) -> Command {
    let command = command
        .arg(
            text("key", "ID")
                .action(ArgAction::Append)
                .help("Only records with this key id, or pattern such as 'ivr-*'; may be repeated"),
        )
        .arg(
            text("account", "ACCOUNT")
                .action(ArgAction::Append)
                .help("Only records of keys of this account, or pattern; may be repeated"),
        )
        .arg(
            text("outcome", "OUTCOME")
                .value_parser(PossibleValuesParser::new(["accepted", "refused"]))
                .help("Only accepted or only refused requests"),
        )
        .arg(
            text("reason", "REASON")
                .action(ArgAction::Append)
                .value_parser(PossibleValuesParser::new(reasons))
                .hide_possible_values(true)
                .help("Only requests with this reason, such as unknown_credential; may be repeated"),
        )
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
        .arg(
            text("client", "NETWORK")
                .action(ArgAction::Append)
                .help("Only requests of clients in this network; behind proxies, the client is not the peer; may be repeated"),
        )
        .arg(text("request-id", "ID").help("Only the request with this id"))
        .arg(text("event", "EVENT").help("Only records of this kind, such as key or gap"))
        .arg(
            text("tz", "ZONE")
                .default_value("UTC")
                .help("Time zone of the times, here and in tables: a name such as Europe/Berlin, or local"),
        );
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
    let clock = clock(matches)?;
    let time = |name: &str, end: End| match one(name) {
        None => Ok(None),
        Some(text) => match when::bound(text, end, now, &clock) {
            Some(time) => Ok(Some(time)),
            None => Err(wrong(name, text, TIMES)),
        },
    };
    let globs = |name: &str| many(name).into_iter().map(Glob).collect();
    let networks = |name: &str| -> Result<Vec<Network>, CommandError> {
        let hint = "an address or a network such as 10.0.0.0/8";
        let network = |text: String| Network::parse(&text).ok_or_else(|| wrong(name, &text, hint));
        many(name).into_iter().map(network).collect()
    };
    let status = match one("status") {
        None => None,
        Some(text) => {
            let hint = "a status such as 404, or a class such as 4xx";
            Some(StatusFilter::parse(text).ok_or_else(|| wrong("status", text, hint))?)
        }
    };
    Ok(Filter {
        keys: globs("key"),
        accounts: globs("account"),
        outcome: one("outcome").cloned(),
        reasons: many("reason"),
        status,
        path: one("path").cloned().map(|path| Pattern(Glob(path))),
        method: one("method").cloned(),
        peers: networks("peer")?,
        clients: networks("client")?,
        request_id: one("request-id").cloned(),
        event: one("event").cloned(),
        since: time("since", End::Since)?,
        until: time("until", End::Until)?,
    })
}

/// The time zone of `--tz`, if the command has it, otherwise UTC.
pub(super) fn clock(matches: &ArgMatches) -> Result<Clock, CommandError> {
    match matches.try_get_one::<String>("tz").ok().flatten() {
        None => Ok(Clock::default()),
        Some(name) => Clock::parse(name)
            .ok_or_else(|| wrong("tz", name, "a name such as Europe/Berlin, UTC, or local")),
    }
}

fn wrong(name: &str, value: &str, hint: &str) -> CommandError {
    CommandError::Usage(format!("--{name} {value:?} is not valid: give {hint}"))
}
