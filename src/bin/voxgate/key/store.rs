//! The keys file on its disk: one writer at a time, and never half a file.

use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::failure::Failure;

/// Longest wait for others who write.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// As many links as Linux follows.
const MAX_LINKS: usize = 40;
/// What the gateway reads at most, too.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// For its owner only.
const NEW_MODE: u32 = 0o600;

/// A keys file that nobody else writes until this is dropped.
///
/// The lock is on the directory: the file itself is replaced, and a lock of its own beside it would
/// be left behind.
pub(super) struct Store {
    path: PathBuf,
    directory: File,
    /// Where the next content is written. The lock makes one name enough, and one that was left by
    /// a process that was killed is found again.
    next: PathBuf,
    /// What people call it.
    name: String,
    /// Of the file, if it is there.
    metadata: Option<Metadata>,
}

impl Store {
    /// Waits for whoever writes, but not for long.
    pub(super) fn lock(path: &Path, name: &str) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::failed(name, format!("its directory cannot be opened ({error})"))
        };
        let path = resolve(path).map_err(failed)?;
        let (Some(parent), Some(file_name)) = (path.parent(), path.file_name()) else {
            return Err(Failure::wrong("--file", "must be the path of a file"));
        };
        let mut next = std::ffi::OsString::from(".");
        next.push(file_name);
        next.push(".voxgate-next");
        let directory = File::open(parent).map_err(failed)?;
        wait_for(&directory, name)?;
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(Failure::wrong(name, "is not a file; give a keys file"));
            }
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(name, &error)),
        };
        Ok(Self {
            next: parent.join(next),
            path,
            directory,
            name: name.to_owned(),
            metadata,
        })
    }

    /// The content, if the file is there.
    pub(super) fn read(&self) -> Result<Option<String>, Failure> {
        match self.metadata {
            Some(_) => read(&self.path, &self.name).map(Some),
            None => Ok(None),
        }
    }

    /// Puts `text` in the file's place, at once and for good.
    pub(super) fn replace(&self, text: &str) -> Result<(), Failure> {
        let written = self.write_next(text);
        if written.is_err() {
            // What is wrong is known already.
            let _ = fs::remove_file(&self.next);
        }
        written?;
        self.directory.sync_all().map_err(|error| {
            let message =
                format!("was written, but may be lost if the machine stops now ({error})");
            Failure::failed(&self.name, message)
        })
    }

    fn write_next(&self, text: &str) -> Result<(), Failure> {
        match fs::remove_file(&self.next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.unwritable(&error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(NEW_MODE);
        let mut file = options
            .open(&self.next)
            .map_err(|error| self.unwritable(&error))?;
        if let Some(metadata) = &self.metadata {
            self.keep(metadata, &file)?;
        }
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&self.next, &self.path))
            .map_err(|error| self.unwritable(&error))
    }

    /// Owner first: a change of it takes some permissions away.
    fn keep(&self, metadata: &Metadata, file: &File) -> Result<(), Failure> {
        let kept = file.metadata().and_then(|new| {
            if (new.uid(), new.gid()) != (metadata.uid(), metadata.gid()) {
                fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))?;
            keep_access_list(&self.path, file)
        });
        kept.map_err(|error| {
            let message = format!(
                "its owner and permissions cannot be kept ({error}); run this as its owner, user \
                 {}",
                metadata.uid()
            );
            Failure::failed(&self.name, message)
        })
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        let fix = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                "; if it is mounted from a Kubernetes Secret, apply what `--kubernetes-secret \
                 NAME` prints, or edit what the Secret is made from"
            }
            _ => "",
        };
        Failure::failed(&self.name, format!("cannot be written ({error}){fix}"))
    }
}

/// What `setfacl` says is part of the permissions: by it, the gateway may be who reads the file.
#[cfg(target_os = "linux")]
fn keep_access_list(from: &Path, to: &File) -> io::Result<()> {
    use rustix::fs::{XattrFlags, fsetxattr, getxattr};
    use rustix::io::Errno;

    const NAME: &str = "system.posix_acl_access";
    // Linux has no longer ones.
    let mut list = vec![0; 64 * 1024];
    match getxattr(from, NAME, &mut list[..]) {
        Ok(length) => Ok(fsetxattr(to, NAME, &list[..length], XattrFlags::empty())?),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_access_list(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// Reads the text of a file within the bound.
pub(super) fn read(path: &Path, name: &str) -> Result<String, Failure> {
    let file = File::open(path).map_err(|error| unreadable(name, &error))?;
    read_from(file, name)
}

/// Reads a text within the bound.
pub(super) fn read_from(input: impl io::Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    match input.take(MAX_BYTES + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > MAX_BYTES => {
            let message = format!("is longer than {MAX_BYTES} bytes");
            Err(Failure::wrong(name, message))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(unreadable(name, &error)),
    }
}

pub(super) fn unreadable(name: &str, error: &io::Error) -> Failure {
    let message = format!("cannot be read ({error}); give a readable file");
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Failure::wrong(name, message),
        _ => Failure::failed(name, message),
    }
}

/// The file behind all links, whether or not it is there.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let parent = fs::canonicalize(parent)?;
        match fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            Err(_) => {
                return Ok(path
                    .file_name()
                    .map_or(path.clone(), |name| parent.join(name)));
            }
        }
    }
    Err(io::Error::other("too many links"))
}

fn wait_for(directory: &File, name: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(ASK_AGAIN),
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "somebody else has held its directory's lock for {} seconds; try again when \
                     they are done",
                    PATIENCE.as_secs()
                );
                return Err(Failure::failed(name, message));
            }
            Err(TryLockError::Error(error)) => {
                let message = format!(
                    "its directory cannot be locked ({error}), so that a change of somebody else \
                     might be lost; keep the file on a disk of this machine"
                );
                return Err(Failure::failed(name, message));
            }
        }
    }
}
