//! What is in a file from a place on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::names;

/// The SHA-256 of a file from a place on.
pub(super) fn sha256(path: &Path, from: u64) -> io::Result<[u8; 32]> {
    let mut file = open_at(path, from)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Copies a segment from a place on into a new file beside it, whose name it returns. The copy is
/// on the disk then.
pub(super) fn copy_aside(directory: &Path, segment: u64, from: u64) -> io::Result<String> {
    let mut source = open_at(&directory.join(names::segment(segment)), from)?;
    for copy in 1..=u32::MAX {
        let name = names::torn(segment, copy);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut target = match options.open(directory.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            target => target?,
        };
        io::copy(&mut source, &mut target)?;
        target.sync_all()?;
        File::open(directory)?.sync_all()?;
        return Ok(name);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Opens a segment to read it. It must be a regular file: what a link leads to was not written by
/// the log.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    open_with(path, options.read(true))
}

/// As [`open`], with other options.
pub(super) fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Nor may a pipe make the reader wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path);
    let is_link = |error: &io::Error| error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    let what = match &file {
        Err(error) if is_link(error) => "it is a symbolic link; put the file itself in its place",
        Ok(file) if !file.metadata()?.is_file() => "it is no regular file; remove it",
        _ => return file,
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

fn open_at(path: &Path, from: u64) -> io::Result<File> {
    let mut file = open(path)?;
    file.seek(SeekFrom::Start(from))?;
    Ok(file)
}
