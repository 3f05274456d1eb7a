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
