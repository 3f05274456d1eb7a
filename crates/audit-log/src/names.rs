//! The names of the files in a log's directory.

use std::fs;
use std::io;
use std::path::Path;

/// The name of a segment.
pub(super) fn segment(number: u64) -> String {
    format!("audit-{number:012}.jsonl")
}

/// The name of the file that takes what was torn off a segment, for the `copy`th time.
pub(super) fn torn(number: u64, copy: u32) -> String {
    format!("audit-{number:012}.torn-{copy}")
}

/// The name of the file that says which lines of a segment were redacted.
pub(super) fn redactions(number: u64) -> String {
    format!("audit-{number:012}.redacted")
}

/// The names of the files that a redaction writes before they replace a segment and its list of
/// redacted lines.
pub(super) fn unfinished(number: u64) -> [String; 2] {
    let [segment, list] = ["redacting", "redacted-new"];
    [segment, list].map(|end| format!("audit-{number:012}.{end}"))
}

/// The names of what a redaction that was interrupted has left.
pub(super) fn all_unfinished(directory: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let is_ours = |name: &&str| {
            let digits = name.strip_prefix("audit-").and_then(|it| {
                it.strip_suffix(".redacting")
                    .or(it.strip_suffix(".redacted-new"))
            });
            digits.is_some_and(|it| it.len() == 12 && it.bytes().all(|byte| byte.is_ascii_digit()))
        };
        found.extend(name.to_str().filter(is_ours).map(str::to_owned));
    }
    found.sort_unstable();
    Ok(found)
}

/// The numbers of the segments in a directory, in order.
pub(super) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        found.extend(entry?.file_name().to_str().and_then(number));
    }
    found.sort_unstable();
    Ok(found)
}

/// The names of what was torn off a segment.
pub(super) fn torn_off(directory: &Path, number: u64) -> io::Result<Vec<String>> {
    let prefix = format!("audit-{number:012}.torn-");
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        found.extend(
            name.to_str()
                .filter(|name| name.starts_with(&prefix))
                .map(str::to_owned),
        );
    }
    Ok(found)
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let right = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = right.then(|| digits.parse().ok()).flatten();
    number.filter(|number| *number > 0)
}
