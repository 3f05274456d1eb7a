//! Reads mounted files that change while the process runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Maximum size of a file: enough for more than two million keys.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What some editors begin a text file with. It is not part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A fingerprint of several files that changes when one of them changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// Reads a text file, up to the maximum size, without a byte order mark.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "the file is longer than {MAX_BYTES} bytes"
        )));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        let message = format!("line {line} is not UTF-8 text; save the file as UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Reads a text file that [`read_text`] refuses because parts of it are not text: those are replaced.
/// `None` if it cannot be read at all.
pub fn read_what_is_text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let place = locate(std::slice::from_ref(&path.to_owned())).pop()?;
    let read = open(&place).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    read.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What users who are neither the owner of the file nor in its group can do with it, if anything.
#[cfg(unix)]
pub fn access_by_others(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (false, false) => None,
        (true, false) => Some("read"),
        (false, true) => Some("changed"),
        (true, true) => Some("read and changed"),
    }
}

/// Only Unix has such permissions.
#[cfg(not(unix))]
pub fn access_by_others(_: &Path) -> Option<&'static str> {
    None
}

/// Opens a regular file. Other kinds, such as pipes, may never end.
fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("the path is not a regular file"));
    }
    File::open(path)
}

/// Reads these files. Files of one mounted Kubernetes volume are read from the same version: all
/// files of a volume are behind one link, `..data`, which is switched to the next version
/// atomically.
pub fn read_together(paths: &[PathBuf]) -> Vec<io::Result<String>> {
    let places = locate(paths);
    places.iter().map(|path| read_text(path)).collect()
}

impl Fingerprint {
    /// The fingerprint of texts that were read.
    pub fn of(texts: &[io::Result<String>]) -> Self {
        let mut hasher = Sha256::new();
        for text in texts {
            match text {
                Ok(text) => {
                    hasher.update(text);
                    end(&mut hasher, text.len() as u64);
                }
                Err(error) => failed(&mut hasher, error),
            }
        }
        Self(hasher.finalize().into())
    }

    /// The fingerprint of the current content. The content is not kept in memory.
    pub fn now(paths: &[PathBuf]) -> Self {
        let mut hasher = Sha256::new();
        for path in locate(paths) {
            match hash(&path, &mut hasher) {
                Ok(length) => end(&mut hasher, length),
                Err(error) => failed(&mut hasher, &error),
            }
        }
        Self(hasher.finalize().into())
    }
}

fn hash(path: &Path, hasher: &mut Sha256) -> io::Result<u64> {
    let mut file = open(path)?.take(MAX_BYTES + 1);
    let mut buffer = vec![0; 64 * 1024];
    let mut start = Vec::new();
    let mark = BYTE_ORDER_MARK.len() as u64;
    file.by_ref().take(mark).read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    hasher.update(&start);
    let mut length = start.len() as u64;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// Adds the length, so that the boundary between two files is part of the fingerprint.
fn end(hasher: &mut Sha256, length: u64) {
    hasher.update(length.to_be_bytes());
}

fn failed(hasher: &mut Sha256, error: &io::Error) {
    hasher.update(error.kind().to_string());
    end(hasher, u64::MAX);
}

/// Resolves the links of all files at one moment.
fn locate(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut volumes: Vec<(&Path, Option<PathBuf>)> = Vec::new();
    let mut places = Vec::new();
    for path in paths {
        let place = match (path.parent(), path.file_name()) {
            (Some(directory), Some(name)) => {
                let known = volumes.iter().position(|(known, _)| *known == directory);
                let at = known.unwrap_or_else(|| {
                    let version = fs::canonicalize(directory.join("..data")).ok();
                    volumes.push((directory, version));
                    volumes.len() - 1
                });
                let version = volumes[at].1.as_ref().filter(|_| is_in_volume(path));
                version.map(|version| version.join(name))
            }
            _ => None,
        };
        places.push(place.unwrap_or_else(|| path.clone()));
    }
    places
}

/// Whether the file is a link through `..data`.
fn is_in_volume(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.starts_with("..data"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_fingerprint_depends_on_the_contents_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = ["a", "b"].map(|name| directory.path().join(name)).to_vec();
        let absent = Fingerprint::now(&paths);
        assert!(absent == Fingerprint::of(&read_together(&paths)));
        fs::write(&paths[0], "one").expect("to write");
        fs::write(&paths[1], "").expect("to write");
        let first = Fingerprint::now(&paths);
        assert!(first != absent);
        assert!(first == Fingerprint::of(&read_together(&paths)));
        fs::write(&paths[0], "on").expect("to write");
        fs::write(&paths[1], "e").expect("to write");
        assert!(first != Fingerprint::now(&paths));
        fs::write(&paths[0], "one").expect("to write");
        fs::write(&paths[1], "").expect("to write");
        assert!(first == Fingerprint::now(&paths));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = [directory.path().join("a")];
        for (bytes, text) in [
            (&b"\xef\xbb\xbfkey"[..], "key"),
            (b"\xef\xbb\xbf", ""),
            (b"k", "k"),
            (b"", ""),
        ] {
            fs::write(&paths[0], bytes).expect("to write");
            let texts = read_together(&paths);
            assert_eq!(texts[0].as_deref().ok(), Some(text));
            assert!(Fingerprint::now(&paths) == Fingerprint::of(&texts));
        }
        fs::write(&paths[0], b"one\ntwo \xff\xfe\n").expect("to write");
        let error = read_text(&paths[0]).expect_err("not text").to_string();
        assert_eq!(error, "line 2 is not UTF-8 text; save the file as UTF-8");
    }

    #[test]
    fn a_plain_file_in_a_volume_is_read_and_a_directory_is_refused() {
        let volume = tempfile::tempdir().expect("a directory");
        let at = |name: &str| volume.path().join(name);
        fs::create_dir(at("..1")).expect("a version");
        fs::write(at("..1").join("a"), "old").expect("to write");
        symlink("..1", at("..data")).expect("a link");
        fs::write(at("a"), "itself").expect("to write");
        let texts = read_together(&[at("a"), volume.path().to_owned()]);
        assert!(texts[0].as_deref().is_ok_and(|text| text == "itself"));
        assert!(
            texts[1]
                .as_ref()
                .is_err_and(|error| error.to_string().contains("regular"))
        );
    }

    #[test]
    fn files_of_one_volume_are_read_from_one_version() {
        let volume = tempfile::tempdir().expect("a directory");
        let at = |name: &str| volume.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).expect("a version");
            fs::write(at(version).join("a"), version).expect("to write");
        }
        fs::write(at("..2").join("b"), "..2").expect("to write");
        symlink("..1", at("..data")).expect("a link");
        symlink("..data/a", at("a")).expect("a link");
        symlink("..data/b", at("b")).expect("a link");
        let paths = [at("a"), at("b")];
        let places = locate(&paths);
        fs::remove_file(at("..data")).expect("to remove");
        symlink("..2", at("..data")).expect("a link");
        assert_eq!(read_text(&places[0]).expect("the old version"), "..1");
        let texts = read_together(&paths);
        assert!(
            texts
                .iter()
                .all(|text| text.as_deref().is_ok_and(|text| text == "..2"))
        );
    }
}
