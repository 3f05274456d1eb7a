//! The `voxgate` program: the gateway and its command line. [`main`] is its whole interface.

mod admin;
mod auditing;
mod authorizing;
mod check;
mod cli;
mod config;
mod connection;
mod control;
mod credential_header;
mod demo;
mod first_message;
mod gateway;
mod http_client;
mod key_changes;
mod key_watch;
mod limits_table;
mod listener;
mod log_filter;
mod log_queue;
mod logging;
mod metrics;
mod minting;
mod open_files;
mod operations;
mod policy_table;
mod probe;
mod proxy;
mod recorder;
#[doc(hidden)]
pub mod reference;
mod refusal_summary;
mod rejections;
mod service;
mod settings;
mod signals;
mod spans;
mod start_error;
mod supervisor;
mod tls;
mod tokens;
mod trial_start;
mod upstreams;
mod usage;
mod worker;
mod write_limit;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use clap::ArgMatches;
use voxgate::env::{Environment, Settings};
use voxgate::{ConfigError, Problem};

use self::auditing::Auditing;
use self::check::Description;
use self::cli::{Action, Flags};
use self::config::Config;
use self::gateway::Gateway;
use self::limits_table::LimitsTable;
use self::metrics::Metrics;
use self::policy_table::PolicyTable;
use self::usage::UsageSettings;

/// The configuration is wrong (`EX_USAGE` of `sysexits.h`).
const EXIT_CONFIG: u8 = 64;

/// Runs the command in the arguments of the process. Returns the exit code: 0 for success, 64 for a
/// wrong configuration or command line, 1 for any other failure.
#[must_use]
pub fn main() -> ExitCode {
    let action = match cli::parse() {
        Ok(action) => action,
        Err(shown) => {
            let _ = shown.print();
            return if shown.use_stderr() {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match action {
        Action::Serve(flags) => serve(flags),
        Action::Check(flags) => check(flags),
        Action::Policy(flags) => policy(flags),
        Action::Limits(flags) => limits(flags),
        Action::Explain(flags, matches) => {
            let environment = Environment::new(settings::environment(flags), settings::settings());
            voxgate_explain::run(&matches, &environment, || {
                let (settings, warnings) = key_watch::settings_with_keys(&environment)?;
                warn(&warnings);
                Ok(minting::complete(settings, &environment))
            })
        }
        Action::Key(matches) => {
            let environment =
                Environment::new(settings::environment(Vec::new()), settings::settings());
            voxgate_key_cli::run(&matches, &environment)
        }
        Action::Token(matches) => token(&matches),
        Action::Demo { preconfigured } => match demo::run(preconfigured) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Action::Usage(matches) => voxgate_audit_log::cli::run_usage(&matches),
        Action::Audit(matches) => voxgate_audit_log::cli::run(&matches),
        Action::Probe(matches) => probe::run(&matches),
        Action::Completions(shell) => {
            print(&cli::completion_script(shell));
            ExitCode::SUCCESS
        }
        Action::Man { directory: None } => {
            print(&cli::manual_page());
            ExitCode::SUCCESS
        }
        Action::Man {
            directory: Some(directory),
        } => match cli::write_manual_pages(&directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format_args!(
                "cannot write manual pages into {} ({error}); name a directory that exists and is \
                 writable",
                directory.display()
            )),
        },
    }
}

fn serve(flags: Flags) -> ExitCode {
    if let Err(error) = signals::ignore_user_signals() {
        return failed(&format_args!("cannot handle signals: {error}"));
    }
    let config = match Config::from_vars(settings::environment(flags)) {
        Ok(config) => config,
        Err(error) => return misconfigured(&error),
    };
    let (log, level) = match logging::start(&config.logging) {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let auditing = match Auditing::start(&config.audit) {
        Ok(auditing) => auditing,
        Err(error) => return not_started(error.problem(), &error),
    };
    for notice in config.auth.notices().iter().chain(&config.spans.notice()) {
        tracing::warn!("{notice}");
    }
    open_files::raise_limit();
    let (queue, sinks) = (auditing.queue.clone(), auditing.sinks.clone());
    let metrics = Metrics::new(Some(queue), sinks, log.lost()).with_most_keys(config.metrics_keys);
    if let Some(counters) = auditing.log.clone() {
        metrics.observe_audit_log(counters);
    }
    let spans = match config.spans.start() {
        Ok(spans) => spans,
        Err(error) => return failed(&error),
    };
    metrics.observe_spans(spans.clone());
    let served = Gateway::bind(config, auditing.queue.clone(), metrics, level, spans.sink())
        .and_then(Gateway::run);
    // Both take a few seconds at most, and the time until the process is killed is for both.
    thread::scope(|scope| {
        scope.spawn(|| spans.finish());
        auditing.finish();
    });
    log.finish();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => not_started(error.problem(), &error),
    }
}

/// Reports why the gateway does not serve, whatever the level of the log is. A setting that the system
/// does not permit is a wrong configuration.
fn not_started(problem: Option<Problem>, error: &dyn Display) -> ExitCode {
    match problem {
        Some(problem) => misconfigured(&problem.into()),
        None => failed(error),
    }
}

fn check(flags: Flags) -> ExitCode {
    let config = Config::from_vars(settings::environment(flags));
    show(config.and_then(|config| {
        let warnings = trial_start::check(&config)?;
        let warnings = warnings
            .iter()
            .map(|warning| format!("warning: {warning}\n"));
        Ok(Description(&config).to_string() + &warnings.collect::<String>())
    }))
}

fn policy(flags: Flags) -> ExitCode {
    let environment = Environment::new(settings::environment(flags), settings::settings());
    let policy = Settings::policy_from(&environment);
    let policy = policy.map(|policy| minting::policy(policy, &environment));
    show(policy.map(|policy| PolicyTable(&policy).to_string()))
}

fn token(matches: &ArgMatches) -> ExitCode {
    let environment = Environment::new(settings::environment(Vec::new()), settings::settings());
    match minting::signing(&environment) {
        Ok(signing) => voxgate_token_cli::run(matches, &environment, &signing),
        Err(error) => misconfigured(&error),
    }
}

fn limits(flags: Flags) -> ExitCode {
    let environment = Environment::new(settings::environment(flags), settings::settings());
    let (settings, mut problems) = match key_watch::settings_with_keys(&environment) {
        Ok((settings, warnings)) => {
            warn(&warnings);
            (Some(settings), Vec::new())
        }
        Err(error) => (None, error.into_problems()),
    };
    let usage = UsageSettings::read(&environment, &mut problems);
    let (settings, usage) = match ConfigError::check(settings.zip(usage), problems) {
        Ok(both) => both,
        Err(error) => return misconfigured(&error),
    };
    match usage.peek() {
        Ok(book) => show(Ok(LimitsTable::new(&settings, book.as_ref()).to_string())),
        Err(error) => failed(&error),
    }
}

/// Prints the text, or the problems of the configuration.
fn show(text: Result<String, ConfigError>) -> ExitCode {
    match text {
        Ok(text) => {
            print(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => misconfigured(&error),
    }
}

/// Writes warnings to standard error.
fn warn(warnings: &[Problem]) {
    for warning in warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
}

/// Writes to standard output. A reader that closes the pipe early is not an error.
fn print(text: &[u8]) {
    let _ = io::stdout().write_all(text);
}

fn misconfigured(error: &ConfigError) -> ExitCode {
    let mut text = "voxgate: the configuration is wrong:\n".to_owned();
    for problem in error.problems() {
        text.push_str(&format!("  {problem}\n"));
    }
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(EXIT_CONFIG)
}

fn failed(error: &dyn Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "voxgate: {error}");
    ExitCode::FAILURE
}
