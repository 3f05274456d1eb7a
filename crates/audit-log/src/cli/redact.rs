//! `voxgate audit redact`: removes personal data from records.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use voxgate_terminal::actor::{actor, check_reason};

use super::arguments;
use super::failure::{self, CommandError};
use super::peer::{self, Network};
use crate::{
    REDACTABLE_FIELDS, RedactError, RedactOptions, RedactReport, Redactable, Signer, redact,
};

const SIGNING_KEY: &str = "VOXGATE_AUDIT_SIGNING_KEY_FILE";

/// Selected records are left, because their segment is being written.
const EXIT_POSTPONED: u8 = 2;

/// What tells a person's requests and devices apart.
const OF_ADDRESS: [&str; 8] = [
    "request_id",
    "trace_id",
    "trace_parent",
    "client_request_id",
    "peer",
    "client",
    "user_agent",
    "cred_fp",
];

/// What, besides, tells whose key it is.
const OF_KEY: [&str; 8] = [
    "key_id",
    "label",
    "token_issuer",
    "token_id",
    "jti",
    "changed_reason",
    "rights_before",
    "rights",
];

pub(super) fn command() -> Command {
    let many = |name: &'static str, value: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .action(ArgAction::Append)
    };
    Command::new("redact")
        .about("Remove personal data from records, so that the log can still be verified")
        .long_about(
            "Replaces the addresses, user agents and identifiers in the records of a key, an account \
             or an address by `*`, in the closed segments of the log in DIR. The removed text cannot \
             be restored. Each redaction is recorded beside its segment, with the hashes of the \
             records before and after, and signed with the signing key; `voxgate audit verify` \
             checks it. The gateway may write the log meanwhile; records in the segment that it \
             writes are left. Copies in other places, such as those of sinks, are not changed.",
        )
        .after_help(
            "Exit status: 0 all selected records were redacted, 1 the log could not be redacted, 2 \
             selected records were left because their segment is being written (run the command \
             again later), 64 the command line is wrong.",
        )
        .arg(many("key", "ID").help("Records of this key; may be repeated"))
        .arg(
            many("account", "ACCOUNT")
                .help("Records of this account, whose name is removed as well; may be repeated"),
        )
        .arg(many("address", "NETWORK").help(
            "Records of this address or network, as peer or client; the key's id is kept; may be \
             repeated",
        ))
        .group(
            ArgGroup::new("selection")
                .args(["key", "account", "address"])
                .required(true)
                .multiple(true),
        )
        .arg(
            many("field", "FIELD")
                .value_parser(REDACTABLE_FIELDS)
                .help("Remove this field as well; may be repeated"),
        )
        .arg(
            Arg::new("reason")
                .long("reason")
                .value_name("TEXT")
                .help("Why, for the record, such as the number of a request; must not name the person"),
        )
        .arg(
            Arg::new("signing-key")
                .long("signing-key")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!(
                    "File with the key that signs the log's checkpoints [env: {SIGNING_KEY}]"
                )),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only count the records; change nothing"),
        )
        .arg(arguments::directory())
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match redacted(matches) {
        Ok(report) if report.postponed > 0 && !matches.get_flag("dry-run") => {
            ExitCode::from(EXIT_POSTPONED)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failure::status(Err(error)),
    }
}

/// The records of these people.
struct Selection {
    keys: Vec<String>,
    accounts: Vec<String>,
    networks: Vec<Network>,
}

impl Selection {
    fn from_matches(matches: &ArgMatches) -> Result<Self, CommandError> {
        let many = |name: &str| -> Vec<String> {
            let values = matches.get_many(name).unwrap_or_default();
            values.cloned().collect()
        };
        let network = |text: String| {
            Network::parse(&text).ok_or_else(|| {
                CommandError::Usage(format!(
                    "--address {text:?} is not valid: give an address or a network such as \
                     10.0.0.0/8"
                ))
            })
        };
        Ok(Self {
            keys: many("key"),
            accounts: many("account"),
            networks: many("address")
                .into_iter()
                .map(network)
                .collect::<Result<_, _>>()?,
        })
    }

    fn fields(&self) -> Vec<&'static str> {
        let mut fields = OF_ADDRESS.to_vec();
        if !self.keys.is_empty() || !self.accounts.is_empty() {
            fields.extend(OF_KEY);
        }
        if !self.accounts.is_empty() {
            fields.push("account");
        }
        fields
    }

    fn selects(&self, record: Redactable<'_>) -> bool {
        let is_one = |name: &str, of: &[String]| {
            !of.is_empty() && record.text(name).is_some_and(|text| of.contains(&text))
        };
        let is_in = |name: &str| {
            let address = record.text(name).and_then(|text| peer::address(&text));
            address.is_some_and(|it| self.networks.iter().any(|network| network.contains(it)))
        };
        is_one("key_id", &self.keys)
            || is_one("account", &self.accounts)
            || !self.networks.is_empty() && (is_in("peer") || is_in("client"))
    }
}

fn redacted(matches: &ArgMatches) -> Result<RedactReport, CommandError> {
    let selection = Selection::from_matches(matches)?;
    let directory = match matches.get_one::<PathBuf>("directory") {
        Some(directory) => directory.clone(),
        None => arguments::directory_from_environment()?,
    };
    let reason = matches.get_one::<String>("reason").cloned();
    if let Some(reason) = &reason {
        check_reason(reason).map_err(|what| CommandError::Usage(format!("--reason {what}")))?;
    }
    let mut fields = selection.fields();
    let more = matches.get_many::<String>("field").unwrap_or_default();
    fields.extend(more.map(String::as_str));
    let select = |record: Redactable<'_>| selection.selects(record);
    let mut options = RedactOptions::new(&select, &fields);
    options.signer = signer(matches)?;
    options.by = actor().unwrap_or_default();
    options.reason = reason.unwrap_or_default();
    options.dry_run = matches.get_flag("dry-run");
    let report = redact(&directory, &options).map_err(|error| match error {
        RedactError::Refused(why) => CommandError::Refused(why),
        other => CommandError::Refused(other.to_string()),
    })?;
    io::stdout().write_all(describe(&report, &options).as_bytes())?;
    Ok(report)
}

fn signer(matches: &ArgMatches) -> Result<Option<Signer>, CommandError> {
    let variable = || std::env::var_os(SIGNING_KEY).filter(|path| !path.is_empty());
    let named = matches.get_one::<PathBuf>("signing-key").cloned();
    let Some(path) = named.or_else(|| variable().map(PathBuf::from)) else {
        return Ok(None);
    };
    let text = fs::read_to_string(&path).map_err(|error| CommandError::reading(&path, error))?;
    let wrong = |path: &Path| {
        CommandError::Usage(format!(
            "{}: is not a signing key; make one with `voxgate audit keygen`",
            path.display()
        ))
    };
    Signer::parse(text.trim())
        .map(Some)
        .map_err(|_| wrong(&path))
}

fn describe(report: &RedactReport, options: &RedactOptions<'_>) -> String {
    let RedactReport {
        records,
        segments,
        postponed,
        others,
    } = report;
    let done = if options.dry_run {
        "would be redacted"
    } else {
        "redacted"
    };
    let mut text = format!("{records} records {done}, in {segments} segments\n");
    let mut say = |line: String| text.push_str(&format!("  {line}\n"));
    if *postponed > 0 {
        say(format!(
            "{postponed} records are left: the segment with the end of their request is still being \
             written; run this command again when the next one has begun"
        ));
    }
    if *records > 0 && !options.dry_run {
        match options.signer.is_some() {
            true => say("signed: `voxgate audit verify --pubkey` proves the redaction".to_owned()),
            false => say(
                "not signed: `voxgate audit verify` cannot tell the redaction from an edit, and \
                 ends with 7"
                    .to_owned(),
            ),
        }
        say("copies in other places, such as sinks and backups, still have the text".to_owned());
    }
    for name in others {
        say(format!(
            "{name} has bytes that are no part of the log: look whether they contain the text, too"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Log, LogOptions};

    fn log(directory: &Path) {
        let mut options = LogOptions::new(directory, "i1", "voxgate.example/audit");
        options.least_space_bytes = 0;
        let (mut log, _) = Log::open(options, SystemTime::UNIX_EPOCH).unwrap();
        let head = |seq: u64| format!(r#"{{"v":1,"seq":{seq},"instance":"i1","event":"decision""#);
        let of = |key: &str, account: &str, peer: &str| {
            format!(r#""key_id":"{key}","account":"{account}","peer":"{peer}","path":"/v1""#)
        };
        let lines = [
            format!("{},{}}}", head(1), of("ann", "acme", "10.1.2.3:5")),
            format!("{},{}}}", head(2), of("bob", "acme", "10.9.9.9:5")),
            format!("{},{}}}", head(3), of("cy", "other", "[::ffff:10.1.2.4]:5")),
        ];
        for line in lines {
            log.append(&[line.as_bytes()], SystemTime::UNIX_EPOCH)
                .unwrap();
        }
        log.close(SystemTime::UNIX_EPOCH).unwrap();
    }

    fn redact_with(arguments: &[&str]) -> Result<String, String> {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("audit");
        log(&directory);
        let matches = command()
            .try_get_matches_from([&["redact", directory.to_str().unwrap()], arguments].concat())
            .map_err(|error| error.to_string())?;
        redacted(&matches).map_err(|error| error.to_string())?;
        let text = fs::read_to_string(directory.join("audit-000000000001.jsonl")).unwrap();
        Ok(text)
    }

    #[test]
    fn a_selection_removes_its_own_fields_and_no_others() {
        let text = redact_with(&["--key", "ann"]).unwrap();
        assert!(
            text.contains(r#""key_id":"***","account":"acme","peer":"**********","path":"/v1""#)
        );
        assert!(text.contains(r#""key_id":"bob","account":"acme","peer":"10.9.9.9:5""#));
        let text = redact_with(&["--account", "acme"]).unwrap();
        let removed = r#""key_id":"***","account":"****","peer":"**********","path":"/v1""#;
        assert_eq!(text.matches(removed).count(), 2);
        let text = redact_with(&["--address", "10.1.2.0/24", "--field", "path"]).unwrap();
        assert!(
            text.contains(r#""key_id":"ann","account":"acme","peer":"**********","path":"***""#)
        );
        assert!(text.contains(r#""key_id":"cy","account":"other","peer":"*******************""#));
        assert!(text.contains("10.9.9.9"));
    }

    #[test]
    fn a_wrong_command_line_says_what_to_give() {
        for (arguments, says) in [
            (&[][..], "--key <ID>"),
            (&["--address", "10.0.0.0/33"], "10.0.0.0/8"),
            (&["--key", "ann", "--reason", " "], "--reason must be words"),
            (&["--key", "ann", "--field", "status"], "possible values"),
            (&["--key", "ann", "--signing-key", "/"], "cannot read /"),
        ] {
            let said = redact_with(arguments).unwrap_err();
            assert!(said.contains(says), "{arguments:?}: {said}");
        }
    }
}
