//! Checks which other users can open the keys file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const WRITABLE: u32 = 0o022;
const READABLE: u32 = 0o004;

/// A warning about the permissions of the file, if they are too wide.
pub(super) fn warning(path: &Path, name: &str) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & WRITABLE != 0 {
        return Some(format!(
            "warning: other users can write {name} and add keys; run: chmod go-w"
        ));
    }
    (mode & READABLE != 0).then(|| {
        format!(
            "note: every user of the machine can read {name}; if that is not needed, run: \
                chmod o-r"
        )
    })
}
