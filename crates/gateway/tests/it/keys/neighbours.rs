//! Concurrent changes of other processes in the file's directory.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{DIGEST, Place};
use crate::skip::{can_trace, skip};

fn entry(id: &str) -> String {
    format!("[[key]]\nid = \"{id}\"\nsha256 = \"{DIGEST}\"\n")
}

/// Every user who can open the directory can hold its lock.
#[test]
fn a_key_can_be_revoked_while_another_user_holds_the_lock() {
    let place = Place::with(&entry("a"));
    let directory = File::open(place.directory()).unwrap();
    directory.lock().unwrap();
    let error = place.refuses(1, "", &["revoke", "a"]);
    assert!(error.contains("--without-lock"), "{error}");
    place.run(&["revoke", "a", "--without-lock"]).done();
    assert!(place.text().contains("disabled = true"));
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn a_taken_file_name_is_replaced_by_a_random_one() {
    let place = Place::with("");
    // In a shared directory, the command may not be able to remove the file.
    let taken = place.directory().join(".keys.toml.voxgate-next");
    fs::create_dir(&taken).unwrap();
    place.run(&["new", "--id=a"]).token();
    assert_eq!(place.keys().keys().len(), 1);
    assert_eq!(place.others(), [".keys.toml.voxgate-next"]);
}

/// Editors do not take the lock.
#[test]
fn a_concurrent_change_of_an_editor_is_kept() {
    if !can_trace() {
        return;
    }
    let place = Place::with(&entry("a"));
    let run = place.command(&["revoke", "a"]);
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"])
        .arg("inject=fsync:delay_enter=10000000:when=1")
        .arg(run.get_program())
        .args(run.get_args())
        .env("VOXGATE_KEYS_FILE", place.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while place.others().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(Duration::from_millis(5));
    }
    let saved = place.directory().join("saved");
    fs::write(&saved, format!("# mine\n{}", entry("a"))).unwrap();
    fs::rename(saved, place.path()).unwrap();
    assert!(child.wait().unwrap().success());
    let expected = entry("a").replace("sha256", "disabled = true\nsha256");
    assert_eq!(place.text(), format!("# mine\n{expected}"));
    assert_eq!(place.others(), [""; 0]);
}

/// The default list of a directory (`setfacl -d -m u:65534:r`) does not apply to a file without a
/// list.
#[cfg(target_os = "linux")]
#[test]
fn a_default_access_list_of_the_directory_is_not_inherited() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    use std::os::unix::fs::PermissionsExt as _;

    const NO_ID: u32 = u32::MAX;
    let entries = [
        (1, 6, NO_ID),
        (2, 4, 65534),
        (4, 4, NO_ID),
        (16, 4, NO_ID),
        (32, 0, NO_ID),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(id.to_le_bytes());
    }
    let place = Place::with(&entry("a"));
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(place.path(), mode).unwrap();
    let name = "system.posix_acl_default";
    if setxattr(place.directory(), name, &list, XattrFlags::empty()).is_err() {
        skip("access lists", "the file system has none");
        return;
    }
    place.run(&["revoke", "a"]).done();
    let mut kept = vec![0; 1024];
    let read = getxattr(place.path(), "system.posix_acl_access", &mut kept[..]);
    assert_eq!(read, Err(rustix::io::Errno::NODATA));
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

/// The user must know that the new key cannot be used, and that the old key expires.
#[test]
fn a_lost_token_of_a_rotation_is_reported_with_the_expiry_of_the_old_key() {
    let place = Place::with(&entry("a"));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["rotate", "a"]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    for wanted in ["key a: expires 2", "token of `a-2` is lost", "revoke a-2"] {
        assert!(error.contains(wanted), "no {wanted} in {error}");
    }
}
