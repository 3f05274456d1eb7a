//! Where the sockets of a keys file are.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use voxgate::Digest;

const SUFFIX: &str = ".sock";
/// Enough of a digest to tell the files of one machine apart.
const DIGEST_DIGITS: usize = 12;

/// The directory of the sockets of a keys file, and how their names begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlace {
    directory: PathBuf,
    prefix: String,
}

impl ControlPlace {
    /// The sockets of the gateways that follow `keys_file`: in its directory, or in `directory`.
    ///
    /// # Errors
    ///
    /// When the directory of the keys file cannot be found.
    pub fn of(keys_file: &Path, directory: Option<&Path>) -> io::Result<Self> {
        let keys_file = identity(keys_file)?;
        let name = keys_file.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Ok(match directory {
            Some(directory) => {
                let digest = Digest::of(keys_file.as_os_str().as_encoded_bytes()).to_hex();
                Self {
                    directory: directory.to_owned(),
                    prefix: format!("voxgate-{}-", &digest[..DIGEST_DIGITS]),
                }
            }
            None => Self {
                directory: keys_file.parent().unwrap_or(Path::new("/")).to_owned(),
                prefix: format!(".{name}.voxgate-"),
            },
        })
    }

    /// The sockets of the gateways without a keys file, which watch Secrets.
    #[must_use]
    pub fn of_watch(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            prefix: "voxgate-watch-".to_owned(),
        }
    }

    /// The directory of the sockets.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket of the process with this id; `random` tells processes with one id in several
    /// containers apart.
    pub(super) fn socket(&self, process: u32, random: u64) -> PathBuf {
        let name = format!("{}{process}-{random:016x}{SUFFIX}", self.prefix);
        self.directory.join(name)
    }

    /// All sockets, those of gateways that are gone included.
    pub(super) fn sockets(&self) -> io::Result<Vec<PathBuf>> {
        let mut sockets = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let is_socket = name
                .to_str()
                .is_some_and(|name| name.starts_with(&self.prefix) && name.ends_with(SUFFIX));
            if is_socket {
                sockets.push(self.directory.join(name));
            }
        }
        sockets.sort();
        Ok(sockets)
    }
}

/// Connects to a socket. One that a killed gateway left behind is removed: `None`.
pub(super) fn connect(socket: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Another command may remove it at the same time. One that cannot be removed is found
            // again.
            let _ = fs::remove_file(socket);
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path by which a gateway and a command know one file, however they name it. Behind `..data`
/// of a volume of Kubernetes, the target changes with each version, and the path does not.
fn identity(keys_file: &Path) -> io::Result<PathBuf> {
    let target = fs::read_link(keys_file);
    if !target.is_ok_and(|target| target.starts_with("..data"))
        && let Ok(path) = fs::canonicalize(keys_file)
    {
        return Ok(path);
    }
    let parent = match keys_file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = keys_file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::canonicalize(parent)?.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_has_one_place_however_it_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("keys.toml"), "").expect("written");
        symlink("keys.toml", at("link.toml")).expect("a link");
        fs::create_dir(at("sub")).expect("a directory");
        let place = ControlPlace::of(&at("keys.toml"), None).expect("a place");
        for same in ["link.toml", "sub/../keys.toml"] {
            assert_eq!(ControlPlace::of(&at(same), None).expect(same), place);
        }
        fs::write(at("other.toml"), "").expect("written");
        for (run, equal) in [(None, false), (Some(at("sub")), false)] {
            let of = |name| ControlPlace::of(&at(name), run.as_deref()).expect("a place");
            assert_eq!(of("keys.toml") == of("other.toml"), equal);
        }
    }

    #[test]
    fn the_versions_of_a_mounted_volume_have_one_place() {
        let volume = tempfile::tempdir().expect("a directory");
        let at = |name: &str| volume.path().join(name);
        symlink("..data/keys.toml", at("keys.toml")).expect("a link");
        let mut places = Vec::new();
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).expect("a version");
            fs::write(at(version).join("keys.toml"), version).expect("written");
            let _ = fs::remove_file(at("..data"));
            symlink(version, at("..data")).expect("a link");
            places.push(ControlPlace::of(&at("keys.toml"), None).expect("a place"));
        }
        assert_eq!(places[0], places[1]);
        let root = fs::canonicalize(volume.path()).expect("the volume");
        assert_eq!(places[0].directory(), root);
    }
}
