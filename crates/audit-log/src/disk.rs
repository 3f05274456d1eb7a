//! What a log asks of a file system. A test puts one in between that fails.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// What a log asks of a file system.
pub trait Disk: Send + Sync {
    /// Creates a file for its owner to append to, and reserves so many bytes for it, without
    /// changing its length. A file system that cannot reserve is not an error; one that is full
    /// is, and leaves no file.
    ///
    /// # Errors
    ///
    /// The file exists, or the disk refuses.
    fn create(&self, path: &Path, reserve: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// How many bytes an unprivileged process may still write there.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The time since some moment, by a clock that cannot be set.
    fn steady(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    /// Which file has this name. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// There is no such file, or the disk refuses.
    fn identify(&self, path: &Path) -> io::Result<FileIdentity> {
        FileIdentity::of(&fs::symlink_metadata(path)?)
    }

    /// Which directory has this name. Symbolic links are followed.
    ///
    /// # Errors
    ///
    /// There is no such directory, or the disk refuses.
    fn identify_directory(&self, path: &Path) -> io::Result<FileIdentity> {
        FileIdentity::of(&fs::metadata(path)?)
    }
}

/// Tells a file from every other one, and says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileIdentity {
    /// The device that it is on.
    pub device: u64,
    /// Its number on that device.
    pub inode: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last changed.
    pub modified: SystemTime,
}

impl FileIdentity {
    /// The identity of the file that this metadata is of.
    ///
    /// # Errors
    ///
    /// The platform does not say when a file was changed.
    pub fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified()?,
        })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A segment that is being written.
pub trait SegmentFile: Send {
    /// Appends bytes, and says how many.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when all that was written is on the disk (`fdatasync`).
    ///
    /// # Errors
    ///
    /// Any part of it may be missing.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back what was reserved and not used.
    ///
    /// # Errors
    ///
    /// The disk refuses. Nothing of the file is lost then.
    fn trim(&mut self) -> io::Result<()>;

    /// Which file this is, whatever its name is now.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    fn identity(&self) -> io::Result<FileIdentity>;
}

/// The file system itself.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path, reserve: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, reserve) {
            // These say that the file system knows no such thing.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => {
                Ok(Box::new(file))
            }
            Err(errno) => {
                // There is nothing in it yet.
                let _ = fs::remove_file(path);
                Err(errno.into())
            }
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(directory)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl SegmentFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sync_data()
    }

    fn trim(&mut self) -> io::Result<()> {
        let length = self.metadata()?.len();
        self.set_len(length)
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        FileIdentity::of(&self.metadata()?)
    }
}

/// Appends all of it. A short write is continued; what cannot be continued is an error.
pub(super) fn write_all(file: &mut dyn SegmentFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
