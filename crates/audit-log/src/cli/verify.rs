//! `voxgate audit verify`: checks that the log was not changed.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::timestamp;
use crate::{
    Checkpoints, Redacted, RequiredTimeStamps, TimeStampAuthority, VerifierKey, VerifyOptions,
    VerifyOutcome, VerifyReport, verify,
};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::EXIT_CONFIG;
use super::arguments;
use super::clock::Clock;
use super::failure::CommandError;
use super::progress::ProgressBar;
use super::when::{self, End};

/// The log is unchanged, and whether its end is there cannot be known.
const EXIT_END_NOT_PROVEN: u8 = 6;

/// Lines are redacted, and no key that was given stands for that: they may have been edited.
const EXIT_REDACTION_NOT_PROVEN: u8 = 7;

/// The log to verify, and the checkpoints and keys to verify it against.
#[derive(Debug)]
pub(crate) struct Verify {
    directory: PathBuf,
    checkpoints: Vec<PathBuf>,
    keys: Vec<String>,
    tsa_ca: Option<PathBuf>,
    tsa_within: String,
    tsa_since: Option<String>,
}

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Verify that an audit log was not changed")
        .long_about(
            "Reads the audit log in DIR and names the first line that was changed. The command \
             does not change the log, and the gateway may write the log meanwhile. The end of a log \
             cannot be proven from the log alone: pass --checkpoints with checkpoints that were \
             stored in another place. To detect a log that was rewritten as a whole, pass --pubkey; if the \
             signing key may have been stolen, pass --tsa-ca as well.",
        )
        .after_help(
            "Exit status: 0 the log is whole, 1 a line was changed, 2 only the last line is torn, \
             3 lines that a checkpoint covers are missing, 4 the log cannot be read, 5 records are \
             missing, 6 the log is unchanged but its end is not proven, 7 lines are redacted and no \
             key of --pubkey has signed that, 64 the command line is wrong.",
        )
        .arg(
            Arg::new("checkpoints")
                .long("checkpoints")
                .value_name("FILE")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Checkpoints that were stored apart from the log: signed notes, audit records \
                     of a sink, or the gateway's own log in JSON; may be repeated",
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
            Arg::new("tsa-ca")
                .long("tsa-ca")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(
                    "CA bundle (PEM) of the time-stamp authority; every checkpoint must be covered \
                     by a time stamp",
                ),
        )
        .arg(
            Arg::new("tsa-within")
                .long("tsa-within")
                .value_name("TIME")
                .default_value("24h")
                .requires("tsa-ca")
                .help("How late a time stamp may be, such as 24h or 7d"),
        )
        .arg(
            Arg::new("tsa-since")
                .long("tsa-since")
                .value_name("TIME")
                .requires("tsa-ca")
                .help(
                    "Checkpoints before this time need no time stamp of their own: RFC 3339, a \
                     duration before now, or a date",
                ),
        )
        .arg(arguments::directory())
}

impl Verify {
    /// # Errors
    ///
    /// No directory is given.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, CommandError> {
        let path = |name| matches.get_one::<PathBuf>(name).cloned();
        let many = |name| matches.get_many(name).unwrap_or_default();
        let keys = matches.get_many("pubkey").unwrap_or_default();
        let directory = match path("directory") {
            Some(directory) => directory,
            None => arguments::directory_from_environment()?,
        };
        Ok(Self {
            directory,
            checkpoints: many("checkpoints").cloned().collect(),
            keys: keys.cloned().collect(),
            tsa_ca: path("tsa-ca"),
            tsa_within: matches
                .get_one::<String>("tsa-within")
                .cloned()
                .unwrap_or_default(),
            tsa_since: matches.get_one("tsa-since").cloned(),
        })
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
        ExitCode::from(exit_code(&report, &options))
    }

    fn options(&self) -> Result<VerifyOptions, String> {
        let mut options = VerifyOptions::default();
        for path in &self.checkpoints {
            let checkpoints = Checkpoints::parse(&read(path)?);
            let checkpoints =
                checkpoints.map_err(|error| format!("{}: {error}", path.display()))?;
            if checkpoints.is_empty() {
                return Err(format!(
                    "{}: contains no checkpoint; name a file with signed notes or audit lines",
                    path.display()
                ));
            }
            let all = options.checkpoints.get_or_insert_default();
            all.extend(checkpoints);
        }
        for key in &self.keys {
            options.keys.push(match VerifierKey::parse(key) {
                Ok(key) => key,
                Err(_) => VerifierKey::parse(&read(Path::new(key))?)
                    .map_err(|error| format!("--pubkey {key}: {error}"))?,
            });
        }
        options.time_stamps = self.time_stamps()?;
        Ok(options)
    }

    fn time_stamps(&self) -> Result<Option<RequiredTimeStamps>, String> {
        let Some(path) = &self.tsa_ca else {
            return Ok(None);
        };
        let pem = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let authority = TimeStampAuthority::from_pem(&pem)
            .map_err(|error| format!("--tsa-ca {}: {error}", path.display()))?;
        let mut required = authority.required();
        let within = when::duration(&self.tsa_within).and_then(|time| time.try_into().ok());
        required.within = within.ok_or_else(|| {
            format!(
                "--tsa-within {:?} is not valid: give a duration such as 24h or 7d",
                self.tsa_within
            )
        })?;
        if let Some(since) = &self.tsa_since {
            let time = when::bound(since, End::Since, SystemTime::now(), &Clock::default());
            let time = time.and_then(|time| timestamp::parse(&time));
            required.since = Some(time.ok_or_else(|| {
                format!(
                    "--tsa-since {since:?} is not valid: give RFC 3339, a duration such as 7d, or \
                     a date such as 2026-03-14"
                )
            })?);
        }
        Ok(Some(required))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // Some editors begin a text with a byte order mark.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// The exit status. Without checkpoints from another place, an unchanged log is not called whole.
fn exit_code(report: &VerifyReport, options: &VerifyOptions) -> u8 {
    let is_unproven = report.redacted.unproven > 0;
    match (&report.outcome, &options.checkpoints) {
        (VerifyOutcome::Whole | VerifyOutcome::Torn(_) | VerifyOutcome::Gap(_), _)
            if is_unproven =>
        {
            EXIT_REDACTION_NOT_PROVEN
        }
        (VerifyOutcome::Whole, None) => EXIT_END_NOT_PROVEN,
        (outcome, _) => outcome.exit_code(),
    }
}

/// The verdict, and what is wrong.
pub(super) fn verdict(report: &VerifyReport, options: &VerifyOptions) -> String {
    let proven = report.proven.as_ref().map_or(0, |(lines, _)| *lines);
    let name = match &report.outcome {
        VerifyOutcome::Whole if options.checkpoints.is_none() => "unchanged; end not proven",
        VerifyOutcome::Whole if proven < report.end.lines => "whole up to the last checkpoint",
        VerifyOutcome::Whole => "whole",
        VerifyOutcome::Tampered(_) => "tampered with",
        VerifyOutcome::Torn(_) => "torn at its end",
        VerifyOutcome::Cut(_) => "cut",
        VerifyOutcome::Unreadable(_) => "unreadable",
        VerifyOutcome::Gap(_) => "incomplete",
    };
    let is_readable = !matches!(
        &report.outcome,
        VerifyOutcome::Tampered(_) | VerifyOutcome::Unreadable(_)
    );
    let redacted = match &report.redacted {
        redacted if redacted.lines == 0 || !is_readable => "",
        redacted if redacted.unproven > 0 => "redacted, which is not proven; otherwise ",
        _ => "redacted, otherwise ",
    };
    match report.outcome.problem() {
        Some(problem) => format!("{redacted}{name}: {problem}"),
        None => format!("{redacted}{name}"),
    }
}

/// Formats the verdict, its basis, and its limits.
fn describe(report: &VerifyReport, options: &VerifyOptions) -> String {
    let proven = report.proven.as_ref().map_or(0, |(lines, _)| *lines);
    let mut text = verdict(report, options) + "\n";
    if report.lines == 0 && matches!(report.outcome, VerifyOutcome::Unreadable(_)) {
        return text;
    }
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
    if let Some((first, last)) = &report.period {
        say(format!("written from {first} to {last}"));
    }
    if let Some(signed) = report.signed_lines {
        let by = report
            .signers
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        match &report.signed_until {
            Some(time) => say(format!("signed up to line {signed}, at {time}, by {by}")),
            None => say("no line is signed".to_owned()),
        }
        if signed.max(proven) < end.lines {
            say(format!(
                "lines {} to {} are not signed: a change of them is detected only with a checkpoint \
                 of the end, from a sink or the process's log (--checkpoints)",
                signed + 1,
                end.lines
            ));
        }
    }
    match report.time_stamped {
        Some((lines, time)) => say(format!(
            "{} time stamps are valid; the last one covers {lines} lines, at {}",
            report.time_stamps,
            timestamp::format_micros(time)
        )),
        None if options.time_stamps.is_some() => say("no time stamp is valid".to_owned()),
        None => {}
    }
    if options.checkpoints.is_some() {
        say(format!("{} stored checkpoints agree", report.compared));
    }
    if let Some((lines, time)) = &report.proven {
        say(format!(
            "they prove lines 1 to {lines}, written until {time}"
        ));
        if *lines < end.lines {
            say(format!(
                "lines after line {} could have been removed: add a later checkpoint",
                end.lines
            ));
        }
    }
    redactions(&report.redacted, options, &mut say);
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
            "the end is proven by checkpoints that were stored in another place (--checkpoints): \
             without them, lines that were removed at the end are not detected"
                .to_owned(),
        );
    }
    if options.keys.is_empty() {
        say("without --pubkey, a log that was rewritten as a whole is not detected".to_owned());
    } else if options.time_stamps.is_none() {
        say(
            "without --tsa-ca, a log that was rewritten with a stolen key is not detected"
                .to_owned(),
        );
    }
    text
}

/// At most so many redactions are listed, the latest ones.
const REDACTIONS_SHOWN: usize = 20;

/// The redactions, and what they prove.
fn redactions(redacted: &Redacted, options: &VerifyOptions, say: &mut impl FnMut(String)) {
    if redacted.lines == 0 {
        return;
    }
    say(format!(
        "{} lines are redacted: the chain proves their places, and what was in them can be proven \
         by a copy of it",
        redacted.lines
    ));
    let hidden = redacted.redactions.len().saturating_sub(REDACTIONS_SHOWN);
    for redaction in redacted.redactions.iter().skip(hidden) {
        let mut line = format!(
            "redaction of {} lines at {}",
            redaction.lines, redaction.time
        );
        for (word, text) in [("by", &redaction.by), ("because of", &redaction.reason)] {
            if !text.is_empty() {
                line.push_str(&format!(" {word} {text:?}"));
            }
        }
        match &redaction.signer {
            Some(signer) => line.push_str(&format!(", signed by {signer}")),
            None => line.push_str(", signature not checked"),
        }
        say(line);
    }
    if hidden > 0 {
        say(format!("and {hidden} earlier redactions"));
    }
    if redacted.unproven > 0 {
        let missing = match options.keys.is_empty() {
            true => "pass --pubkey",
            false => "no key that was given has signed it",
        };
        say(format!(
            "{} redacted lines cannot be told from lines that were edited: {missing}",
            redacted.unproven
        ));
    }
}

#[cfg(test)]
mod tests {
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
        let it = Verify::from_matches(&matches).map_err(|error| error.to_string())?;
        let options = it.options()?;
        let report = verify(&it.directory, &options, &mut |_| {});
        Ok((exit_code(&report, &options), describe(&report, &options)))
    }

    #[test]
    fn the_command_is_well_formed() {
        super::super::command(["ok"]).debug_assert();
    }

    #[test]
    fn the_report_names_the_verdict_and_its_limits() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("audit");
        let (signer, notes) = log(&directory);
        let shown = directory.to_str().unwrap();
        let (code, text) = run(&[shown]).unwrap();
        assert_eq!(code, 6);
        assert!(
            text.starts_with(
                "unchanged; end not proven\n  4 lines read: 1 events, 1 checkpoints, in segments 1 to 1\n"
            )
        );
        assert!(text.contains("(--checkpoints)") && text.contains("without --pubkey"));

        let file = parent.path().join("notes");
        fs::write(&file, &notes).unwrap();
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
        assert!(text.starts_with("whole\n"), "{text}");
        assert!(text.contains("2 stored checkpoints agree"), "{text}");
        let epoch = "1970-01-01T00:00:00.000000Z";
        let proven = format!("they prove lines 1 to 4, written until {epoch}\n");
        assert!(text.contains(&proven), "{text}");
        let (id, _) = key.rsplit_once('+').unwrap();
        let signed = format!("signed up to line 1, at {epoch}, by {id}\n");
        assert!(text.contains(&signed), "{text}");
        assert!(!text.contains("(--checkpoints)") && !text.contains("without --pubkey"));
        assert!(text.contains("without --tsa-ca"), "{text}");
        // The first of the two does not reach the end.
        let (first, second) = notes.split_once("\n\n").unwrap();
        let (signature, second) = second.split_once('\n').unwrap();
        let parts = [format!("{first}\n\n{signature}\n"), second.to_owned()];
        let files = parts.map(|part| {
            let file = parent.path().join(format!("part-{}", part.len()));
            fs::write(&file, part).unwrap();
            file.to_str().unwrap().to_owned()
        });
        let (code, text) = run(&["--checkpoints", &files[0], shown]).unwrap();
        assert_eq!(code, 0, "{text}");
        assert!(
            text.starts_with("whole up to the last checkpoint\n"),
            "{text}"
        );
        assert!(
            text.contains("lines after line 4 could have been removed"),
            "{text}"
        );
        let both = [
            "--checkpoints",
            &files[0],
            "--checkpoints",
            &files[1],
            shown,
        ];
        let (_, text) = run(&both).unwrap();
        assert!(text.starts_with("whole\n"), "{text}");

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
            6
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
