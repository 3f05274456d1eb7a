//! `voxgate key list`.

use std::io::{self, Write as _};
use std::time::SystemTime;

use clap::ArgMatches;
use serde_json::{Map, Value, json};
use voxgate::{Key, KeyKind, KeysFile, Principal, Scope};

use super::failure::Failure;
use super::moment;
use super::target::Source;

const HEADINGS: [&str; 6] = [
    "ID",
    "LABEL",
    "SCOPES",
    "STATE",
    "EXPIRES IN",
    "FINGERPRINT",
];

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let source = Source::given(matches)?;
    let file = source.load()?;
    let now = SystemTime::now();
    let text = match matches.get_flag("json") {
        true => format!("{:#}\n", array(&file, now)),
        false => table(&file, now),
    };
    // Whoever closed the pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
    for notice in file.notices() {
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
    for warning in source.listed.warnings(&file) {
        let _ = writeln!(io::stderr(), "{warning}");
    }
    Ok(())
}

fn table(file: &KeysFile, now: SystemTime) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(file.keys().iter().map(|key| row(key, now)));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut table = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(key: &Key, now: SystemTime) -> [String; HEADINGS.len()] {
    let principal = key.principal();
    let scopes = match principal.granted() {
        None => "(all)".to_owned(),
        Some([]) => "(none)".to_owned(),
        Some(scopes) => scopes
            .iter()
            .map(Scope::as_str)
            .collect::<Vec<_>>()
            .join(","),
    };
    // A terminal obeys control characters.
    let printable = |letter| {
        if char::is_control(letter) {
            '\u{fffd}'
        } else {
            letter
        }
    };
    let label = principal.display_label().unwrap_or("-");
    [
        principal.id().to_owned(),
        label.chars().map(printable).collect(),
        scopes,
        principal.state(now).as_str().to_owned(),
        moment::left(principal.validity().expires, now),
        key.fingerprint(),
    ]
}

fn array(file: &KeysFile, now: SystemTime) -> Value {
    file.keys().iter().map(|key| object(key, now)).collect()
}

/// What is not limited, or not there, is `null`.
fn object(key: &Key, now: SystemTime) -> Value {
    let principal = key.principal();
    let validity = principal.validity();
    let written = |moment: Option<SystemTime>| moment.map(moment::written);
    let scopes = principal.granted();
    let scopes = scopes.map(|scopes| scopes.iter().map(Scope::as_str).collect::<Vec<_>>());
    let limits = principal.own_limits();
    json!({
        "id": principal.id(),
        "label": principal.display_label(),
        "scopes": scopes,
        "voices": principal.permitted_voices(),
        "kind": kind(principal),
        "state": principal.state(now).as_str().replace(' ', "_"),
        "created": written(key.created()),
        "not_before": written(validity.not_before),
        "expires": written(validity.expires),
        "fingerprint": key.fingerprint(),
        "account": principal.member_of().map(|account| account.id()),
        "rate": limits.rate.map(|rate| rate.to_string()),
        "burst": limits.burst,
        "concurrency": limits.concurrency,
        "labels": principal
            .attribution()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<Map<_, _>>(),
    })
}

fn kind(principal: &Principal) -> &'static str {
    match principal.key_kind() {
        KeyKind::Realtime => "realtime",
        _ => "standard",
    }
}
