//! `voxgate audit verify`: checks that the log was not changed.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{Checkpoints, VerifierKey, VerifyOptions, VerifyOutcome, VerifyReport, verify};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::EXIT_CONFIG;
use super::progress::ProgressBar;

/// The log to verify, and the checkpoints and keys to verify it against.
#[derive(Debug)]
pub(crate) struct Verify {
    directory: PathBuf,
    checkpoints: Option<PathBuf>,
    keys: Vec<String>,
}

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Verify that an audit log was not changed")
        .long_about(
            "Reads the audit log in DIR and names the first line that was changed. The command \
             does not change the log, and the gateway may write the log meanwhile. To detect lines \
             that were removed at the end, pass --checkpoints with checkpoints that were stored in \
             another place. To detect a log that was rewritten as a whole, pass --pubkey.",
        )
        .after_help(
            "Exit status: 0 the log is whole, 1 a line was changed, 2 only the last line is torn, \
             3 lines that a checkpoint covers are missing, 4 the log cannot be read, 5 a sequence \
             number is missing and no gap record names it, 64 the command line is wrong.",
        )
        .arg(
            Arg::new("checkpoints")
                .long("checkpoints")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Checkpoints that were stored apart from the log: signed notes, or audit lines with them",
                ),
        )
        .arg(
            Arg::new("pubkey")
                .long("pubkey")
                .value_name("KEY")
                .action(ArgAction::Append)
                .help("Public key of the checkpoints, or a file with it; repeat it if the key was changed"),
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Directory of the audit log"),
        )
}

impl Verify {
    pub(super) fn from_matches(matches: &ArgMatches) -> Self {
        let path = |name| matches.get_one::<PathBuf>(name).cloned();
        let keys = matches.get_many("pubkey").unwrap_or_default();
        Self {
            directory: path("directory").unwrap_or_default(),
            checkpoints: path("checkpoints"),
            keys: keys.cloned().collect(),
        }
    }

    pub(super) fn run(&self) -> ExitCode {
        let options = match self.options() {
            Ok(options) => options,
            Err(problem) => {
                let _ = writeln!(io::stderr(), "voxgate: {problem}");
                return ExitCode::from(EXIT_CONFIG);
            }
        };
        let mut bar = ProgressBar::on_stderr();
        let report = verify(&self.directory, &options, &mut |progress| {
            bar.show(progress.bytes, progress.total);
        });
        bar.clear();
        // If the reader closed the pipe, the exit status still gives the verdict.
        let _ = io::stdout().write_all(describe(&report, &options).as_bytes());
        ExitCode::from(report.outcome.exit_code())
    }

    fn options(&self) -> Result<VerifyOptions, String> {
        let mut options = VerifyOptions::default();
        if let Some(path) = &self.checkpoints {
            let checkpoints = Checkpoints::parse(&read(path)?);
            let checkpoints =
                checkpoints.map_err(|error| format!("{}: {error}", path.display()))?;
            if checkpoints.is_empty() {
                return Err(format!(
                    "{}: contains no checkpoint; name a file with signed notes or audit lines",
                    path.display()
                ));
            }
            options.checkpoints = Some(checkpoints);
        }
        for key in &self.keys {
            options.keys.push(match VerifierKey::parse(key) {
                Ok(key) => key,
                Err(_) => VerifierKey::parse(&read(Path::new(key))?)
                    .map_err(|error| format!("--pubkey {key}: {error}"))?,
            });
        }
        Ok(options)
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Formats the verdict, its basis, and its limits.
fn describe(report: &VerifyReport, options: &VerifyOptions) -> String {
    let name = match &report.outcome {
        VerifyOutcome::Whole => "whole",
        VerifyOutcome::Tampered(_) => "tampered with",
        VerifyOutcome::Torn(_) => "torn at its end",
        VerifyOutcome::Cut(_) => "cut",
        VerifyOutcome::Unreadable(_) => "unreadable",
        VerifyOutcome::Gap(_) => "incomplete",
    };
    let mut text = match report.outcome.problem() {
        Some(problem) => format!("{name}: {problem}\n"),
        None => format!("{name}\n"),
    };
    let VerifyReport {
        lines,
        events,
        checkpoints,
        end,
        first_segment,
        ..
    } = report;
    let mut say = |line: String| text.push_str(&format!("  {line}\n"));
    say(format!(
        "{lines} lines read: {events} events, {checkpoints} checkpoints, in segments \
         {first_segment} to {}",
        end.segment
    ));
    say(format!("{} lines in total, chain {}", end.lines, end.chain));
    if let Some(signed) = report.signed_lines {
        say(format!("signed up to line {signed}"));
    }
    if options.checkpoints.is_some() {
        say(format!("{} stored checkpoints agree", report.compared));
    }
    report.notes.iter().cloned().for_each(&mut say);
    if report.live {
        say("the log is being written now".to_owned());
    } else if !report.sealed {
        say(
            "the log is not sealed: its writer was killed, or its last lines are missing"
                .to_owned(),
        );
    }
    if options.checkpoints.is_none() {
        say(
            "without --checkpoints, lines that were removed at the end are not detected".to_owned(),
        );
    }
    if options.keys.is_empty() {
        say("without --pubkey, a log that was rewritten as a whole is not detected".to_owned());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::{Log, LogOptions, Signer};

    use super::*;

    fn log(directory: &Path) -> (Signer, String) {
        let signer = || Signer::new("voxgate.example/key", &[3; 32]).unwrap();
        let mut options = LogOptions::new(directory, "i1", "voxgate.example/audit");
        options.signer = Some(signer());
        options.least_space_bytes = 0;
        let (notes, taken) = std::sync::mpsc::channel();
        options.on_checkpoint = Some(Box::new(move |note| notes.send(note.to_owned()).unwrap()));
        let (mut log, _) = Log::open(options, SystemTime::UNIX_EPOCH).unwrap();
        let line = br#"{"v":1,"seq":1,"instance":"i1","event":"start"}"#;
        log.append(&[line], SystemTime::UNIX_EPOCH).unwrap();
        log.close(SystemTime::UNIX_EPOCH).unwrap();
        (signer(), taken.iter().collect::<Vec<_>>().join("\n"))
    }

    fn run(arguments: &[&str]) -> Result<(u8, String), String> {
        let matches = command().get_matches_from([&["verify"], arguments].concat());
        let it = Verify::from_matches(&matches);
        let options = it.options()?;
        let report = verify(&it.directory, &options, &mut |_| {});
        Ok((report.outcome.exit_code(), describe(&report, &options)))
    }

    #[test]
    fn the_command_is_well_formed() {
        super::super::command().debug_assert();
    }

    #[test]
    fn the_report_names_the_verdict_and_its_limits() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("audit");
        let (signer, notes) = log(&directory);
        let shown = directory.to_str().unwrap();
        let (code, text) = run(&[shown]).unwrap();
        assert_eq!(code, 0);
        assert!(
            text.starts_with(
                "whole\n  4 lines read: 1 events, 1 checkpoints, in segments 1 to 1\n"
            )
        );
        assert!(text.contains("without --checkpoints") && text.contains("without --pubkey"));

        let file = parent.path().join("notes");
        fs::write(&file, notes).unwrap();
        let key = signer.verifier().to_string();
        let with = [
            "--checkpoints",
            file.to_str().unwrap(),
            "--pubkey",
            &key,
            shown,
        ];
        let (code, text) = run(&with).unwrap();
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("2 stored checkpoints agree") && !text.contains("without"));
        assert!(text.contains("signed up to line 1\n"), "{text}");

        let segment = directory.join("audit-000000000001.jsonl");
        let lines = fs::read_to_string(&segment).unwrap();
        fs::write(&segment, lines.replace("start", "stort")).unwrap();
        let (code, text) = run(&[shown]).unwrap();
        assert_eq!(code, 1);
        assert!(text.starts_with("tampered with: audit-000000000001.jsonl:3:1: the line is not "));
        let cut: String = lines.split_inclusive('\n').take(2).collect();
        fs::write(&segment, cut).unwrap();
        assert!(run(&[shown]).unwrap().1.contains("the log is not sealed"));
        let (code, text) = run(&with).unwrap();
        assert_eq!(code, 3);
        assert!(text.starts_with("cut: audit-000000000001.jsonl:3: the log ends after 2 lines;"));
        assert_eq!(run(&[parent.path().to_str().unwrap()]).unwrap().0, 4);
    }

    #[test]
    fn errors_name_the_key_or_checkpoint_file() {
        let directory = tempfile::tempdir().unwrap();
        let (signer, _) = log(&directory.path().join("audit"));
        let key = directory.path().join("key");
        fs::write(&key, format!("{}\n", signer.verifier())).unwrap();
        let shown = directory.path().join("audit");
        let shown = shown.to_str().unwrap();
        assert_eq!(
            run(&["--pubkey", key.to_str().unwrap(), shown]).unwrap().0,
            0
        );
        let other = directory.path().join("other");
        fs::write(&other, "\nnothing\n").unwrap();
        let other = other.to_str().unwrap();
        assert!(
            run(&["--pubkey", other, shown])
                .unwrap_err()
                .contains("no Ed25519 key")
        );
        assert!(
            run(&["--pubkey", "absent", shown])
                .unwrap_err()
                .starts_with("absent: ")
        );
        let problem = run(&["--checkpoints", other, shown]).unwrap_err();
        assert!(
            problem.ends_with("line 2 is no part of a checkpoint"),
            "{problem}"
        );
        fs::write(other, "\n").unwrap();
        let problem = run(&["--checkpoints", other, shown]).unwrap_err();
        assert!(
            problem
                .ends_with("contains no checkpoint; name a file with signed notes or audit lines"),
            "{problem}"
        );
    }
}
