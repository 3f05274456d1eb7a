//! Finds the files of a log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::failure::CommandError;

const BUFFER: usize = 256 * 1024;

/// One file of a log, or standard input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    pub(super) fn open(&self) -> Result<Box<dyn BufRead>, CommandError> {
        let input: Box<dyn Read> = match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => {
                Box::new(File::open(path).map_err(|error| CommandError::reading(path, error))?)
            }
        };
        Ok(Box::new(BufReader::with_capacity(BUFFER, input)))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Stdin => Path::new("standard input"),
            Self::File(path) => path,
        }
    }
}

/// Returns the files that `paths` names. The segments of a directory are in order.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Source>, CommandError> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            sources.push(Source::Stdin);
        } else if path.is_dir() {
            let segments =
                in_directory(path).map_err(|error| CommandError::reading(path, error))?;
            if segments.is_empty() {
                return Err(CommandError::Nothing {
                    path: path.clone(),
                    fix: "its segments must be named audit-<12 digits>.jsonl; name other files one by one",
                });
            }
            sources.extend(segments.into_iter().map(Source::File));
        } else {
            sources.push(Source::File(path.clone()));
        }
    }
    Ok(sources)
}

/// Returns the segments in a directory, the oldest first.
pub(super) fn in_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if is_segment(&entry.file_name()) {
            segments.push(entry.path());
        }
    }
    segments.sort();
    Ok(segments)
}

fn is_segment(name: &OsStr) -> bool {
    let number = name
        .to_str()
        .and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"));
    number.is_some_and(|digits| {
        digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segments_of_a_directory_are_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in [
            "audit-000000000010.jsonl",
            "audit-000000000009.jsonl",
            "audit-9.jsonl",
            "audit-000000000011.jsonl.torn",
            "checkpoints",
        ] {
            fs::write(directory.path().join(name), "").expect("a file");
        }
        let path = |name: &str| Source::File(directory.path().join(name));
        let found = find(&[directory.path().to_owned(), "-".into(), "x".into()]);
        assert_eq!(
            found.expect("sources"),
            [
                path("audit-000000000009.jsonl"),
                path("audit-000000000010.jsonl"),
                Source::Stdin,
                Source::File("x".into())
            ]
        );
    }

    #[test]
    fn a_directory_without_segments_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let failure = find(&[directory.path().to_owned()]).expect_err("nothing there");
        assert!(failure.to_string().contains("no audit log in"), "{failure}");
    }
}
