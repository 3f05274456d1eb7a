//! The keys file on disk: one writer at a time, and atomic replacement.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::failure::KeyCommandError;
use super::lock;

/// The number of symbolic links that Linux follows.
const MAX_LINKS: usize = 40;
/// The same limit as in the gateway.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Access for the owner only.
const NEW_MODE: u32 = 0o600;

/// A keys file, locked against other writers that use the lock, until this is dropped.
///
/// The lock is on the directory, because the file itself is replaced and a separate lock file would
/// be left behind.
pub(super) struct Store {
    path: PathBuf,
    directory: File,
    /// The path of the new content. Because of the lock, one name is enough, and a file that a
    /// killed process left behind is found again.
    next: PathBuf,
    is_locked: bool,
    /// The name of the file in messages.
    name: String,
}

/// The state of a file when it was read.
pub(super) struct FileState {
    /// The metadata of the file, if it exists.
    metadata: Option<Metadata>,
    pub(super) text: Option<String>,
}

impl FileState {
    /// A text that does not come from a file.
    pub(super) fn of(text: String) -> Self {
        Self {
            metadata: None,
            text: Some(text),
        }
    }

    /// No text yet.
    #[cfg(feature = "kubernetes")]
    pub(super) fn missing() -> Self {
        Self {
            metadata: None,
            text: None,
        }
    }

    fn is(&self, other: &Self) -> bool {
        let of = |read: &Self| {
            let metadata = read.metadata.as_ref();
            metadata.map(|file| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
        };
        of(self) == of(other) && self.text == other.text
    }
}

impl Store {
    /// Waits a short time for other writers, and only if `is_locked`.
    pub(super) fn open(path: &Path, name: &str, is_locked: bool) -> Result<Self, KeyCommandError> {
        let failed = |error: io::Error| {
            KeyCommandError::failed(name, format!("cannot open its directory ({error})"))
        };
        let path = resolve(path).map_err(failed)?;
        let (Some(parent), Some(file_name)) = (path.parent(), path.file_name()) else {
            return Err(KeyCommandError::wrong(
                "--file",
                "must be the path of a file",
            ));
        };
        let mut next = std::ffi::OsString::from(".");
        next.push(file_name);
        next.push(".voxgate-next");
        let directory = File::open(parent).map_err(failed)?;
        if is_locked {
            lock::wait_for(&directory, name)?;
        }
        Ok(Self {
            next: parent.join(next),
            path,
            directory,
            is_locked,
            name: name.to_owned(),
        })
    }

    /// The content of the file, if it exists.
    pub(super) fn read(&self) -> Result<FileState, KeyCommandError> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(KeyCommandError::wrong(
                    &self.name,
                    "is not a file; give a keys file",
                ));
            }
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&self.name, &error)),
        };
        let text = match metadata {
            Some(_) => Some(read(&self.path, &self.name)?),
            None => None,
        };
        Ok(FileState { metadata, text })
    }

    /// Replaces the file by `text`, atomically and synced to disk. Returns `false` if the file
    /// changed since it was read, because editors do not use the lock.
    pub(super) fn replace(&self, read: &FileState, text: &str) -> Result<bool, KeyCommandError> {
        let (mut file, next) = self.create()?;
        let written = self.write(&mut file, &next, read, text);
        if !matches!(written, Ok(true)) {
            // The first error is reported.
            let _ = fs::remove_file(&next);
        }
        if !written? {
            return Ok(false);
        }
        self.directory.sync_all().map_err(|error| {
            let message = format!(
                "was written but not synced to disk ({error}); it may be lost if the machine \
                stops now"
            );
            KeyCommandError::failed(&self.name, message)
        })?;
        Ok(true)
    }

    /// Creates the new file in the same directory. If another user of a shared directory owns a
    /// file with the usual name, the name is random.
    fn create(&self) -> Result<(File, PathBuf), KeyCommandError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(NEW_MODE);
        if self.is_locked {
            // If the removal fails, the creation fails as well.
            let _ = fs::remove_file(&self.next);
            match options.open(&self.next) {
                Ok(file) => return Ok((file, self.next.clone())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.unwritable(&error)),
            }
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            KeyCommandError::failed("cannot read random bytes from the system", error)
        })?;
        let mut next = self.next.clone().into_os_string();
        next.push(format!("-{:016x}", u64::from_be_bytes(random)));
        let file = options
            .open(&next)
            .map_err(|error| self.unwritable(&error))?;
        Ok((file, next.into()))
    }

    fn write(
        &self,
        file: &mut File,
        next: &Path,
        read: &FileState,
        text: &str,
    ) -> Result<bool, KeyCommandError> {
        if let Some(metadata) = &read.metadata {
            self.keep(metadata, file)?;
        }
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| self.unwritable(&error))?;
        if !self.read()?.is(read) {
            return Ok(false);
        }
        fs::rename(next, &self.path).map_err(|error| self.unwritable(&error))?;
        Ok(true)
    }

    /// Sets the owner first, because changing the owner clears some permissions.
    fn keep(&self, metadata: &Metadata, file: &File) -> Result<(), KeyCommandError> {
        let kept = file.metadata().and_then(|new| {
            if (new.uid(), new.gid()) != (metadata.uid(), metadata.gid()) {
                fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
            keep_access_list(&self.path, file)?;
            file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))
        });
        kept.map_err(|error| {
            let message = format!(
                "its owner and permissions cannot be preserved ({error}); run this as its \
                owner, user {}",
                metadata.uid()
            );
            KeyCommandError::failed(&self.name, message)
        })
    }

    fn unwritable(&self, error: &io::Error) -> KeyCommandError {
        let fix = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                "; if it is mounted from a Kubernetes Secret, apply the output of \
                `--kubernetes-secret NAME`, or edit the source of the Secret"
            }
            _ => "",
        };
        KeyCommandError::failed(&self.name, format!("cannot be written ({error}){fix}"))
    }
}

/// Copies the access control list (`setfacl`), which may be what allows the gateway to read the
/// file.
#[cfg(target_os = "linux")]
fn keep_access_list(from: &Path, to: &File) -> io::Result<()> {
    use rustix::fs::{XattrFlags, fremovexattr, fsetxattr, getxattr};
    use rustix::io::Errno;

    const NAME: &str = "system.posix_acl_access";
    // The maximum size in Linux.
    let mut list = vec![0; 64 * 1024];
    match getxattr(from, NAME, &mut list[..]) {
        Ok(length) => Ok(fsetxattr(to, NAME, &list[..length], XattrFlags::empty())?),
        // The new file may have inherited a list from its directory (`setfacl -d`).
        Err(Errno::NODATA) => match fremovexattr(to, NAME) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_access_list(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// Reads the text of a file, up to the size limit.
pub(super) fn read(path: &Path, name: &str) -> Result<String, KeyCommandError> {
    let file = File::open(path).map_err(|error| unreadable(name, &error))?;
    read_from(file, name)
}

/// Reads a text, up to the size limit and without a byte order mark.
pub(super) fn read_from(input: impl io::Read, name: &str) -> Result<String, KeyCommandError> {
    let mut text = String::new();
    match input.take(MAX_BYTES + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > MAX_BYTES => {
            let message = format!("is longer than {MAX_BYTES} bytes");
            Err(KeyCommandError::wrong(name, message))
        }
        Ok(_) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => Err(unreadable(name, &error)),
    }
}

pub(super) fn unreadable(name: &str, error: &io::Error) -> KeyCommandError {
    let message = format!("cannot be read ({error}); give a readable file");
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => {
            KeyCommandError::wrong(name, message)
        }
        _ => KeyCommandError::failed(name, message),
    }
}

/// The target of all symbolic links, whether or not it exists.
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
