//! How commands treat the keys file and other files in its directory.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use super::{DIGEST, Place, Ran};
use crate::skip::skip;

/// The user id of `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn every_other_byte_stays_unchanged() {
    let text = format!(
        "# Keys of the house.\r\n\r\n[[key]] # the first\r\n  sha256 = \"{DIGEST}\"   # of mine\r\n  \
         id = 'a'\r\n\r\n# What they share.\r\n[[account]]\r\nid = \"x\"\r\nmax_active_keys=0x3\r\n# end"
    );
    let place = Place::with(&text);
    place.run(&["new", "--id=b"]).token();
    let longer = place.text();
    assert!(
        longer.starts_with(&format!("{text}\r\n\r\n[[key]]\r\nid = \"b\"\r\n")),
        "{longer}"
    );
    assert!(
        longer
            .split_inclusive('\n')
            .all(|line| line.ends_with("\r\n"))
    );
    place.run(&["revoke", "a"]).done();
    assert_eq!(
        place.text(),
        longer.replace(
            "[[key]] # the first\r\n",
            "[[key]] # the first\r\n  disabled = true\r\n"
        )
    );
    place.run(&["revoke", "b"]).done();
    let revoked = longer
        .replace(
            "[[key]] # the first\r\n",
            "[[key]] # the first\r\n  disabled = true\r\n",
        )
        .replace("\"b\"\r\n", "\"b\"\r\ndisabled = true\r\n");
    assert_eq!(place.text(), revoked);
}

#[test]
fn permissions_owner_and_link_are_kept() {
    let place = Place::with("");
    let target = place.directory().join("real.toml");
    fs::rename(place.path(), &target).unwrap();
    symlink("link.toml", place.path()).unwrap();
    symlink(&target, place.directory().join("link.toml")).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
    // Only root may change the owner of a file.
    let is_root = chown(&target, Some(NOBODY), Some(NOBODY)).is_ok();
    let before = fs::metadata(&target).unwrap();
    place.run(&["new", "--id=a"]).token();
    let after = fs::metadata(&target).unwrap();
    assert_ne!(
        before.ino(),
        after.ino(),
        "it was replaced, and not written over"
    );
    assert_eq!(
        (before.mode(), before.uid(), before.gid()),
        (after.mode(), after.uid(), after.gid())
    );
    assert!(!is_root || after.uid() == NOBODY);
    assert_eq!(
        fs::read_link(place.path()).unwrap().to_str(),
        Some("link.toml")
    );
    assert_eq!(place.keys().keys().len(), 1);
    // A link to a file that does not exist yet.
    fs::remove_file(&target).unwrap();
    place.run(&["new", "--id=a"]).token();
    assert!(fs::symlink_metadata(place.path()).unwrap().is_symlink());
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o600);
}

/// Allows another user to read, like `setfacl -m u:65534:r` (`linux/posix_acl_xattr.h`).
#[cfg(target_os = "linux")]
#[test]
fn an_access_list_is_kept() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};

    const NAME: &str = "system.posix_acl_access";
    const NO_ID: u32 = u32::MAX;
    let entries = [
        (1, 6, NO_ID),
        (2, 4, NOBODY),
        (4, 0, NO_ID),
        (16, 4, NO_ID),
        (32, 0, NO_ID),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(id.to_le_bytes());
    }
    let place = Place::with("");
    if setxattr(place.path(), NAME, &list, XattrFlags::empty()).is_err() {
        skip("access lists", "the file system has none");
        return;
    }
    place.run(&["new", "--id=a"]).token();
    let mut kept = vec![0; 1024];
    let length = getxattr(place.path(), NAME, &mut kept[..]).unwrap();
    assert_eq!(kept[..length], list);
    assert_eq!(place.keys().keys().len(), 1);
}

#[test]
fn files_of_a_killed_run_are_removed() {
    let place = Place::with("");
    let left = place.directory().join(".keys.toml.voxgate-next");
    fs::write(&left, "half a k").unwrap();
    place.run(&["new", "--id=a"]).token();
    assert_eq!(place.others(), [""; 0]);
    // A link with the same name is removed as well.
    let elsewhere = place.directory().join("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    symlink(&elsewhere, &left).unwrap();
    place.run(&["new", "--id=b"]).token();
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "untouched");
    assert_eq!(place.keys().keys().len(), 2);
}

/// Copies the program to a place where every user can run it. If this process wrote the copy, a
/// child of another test could keep it open for writing, so that it could not be run.
fn copy_program(place: &Place) {
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_voxgate"))
        .arg(place.directory().join("voxgate"));
    assert!(copy.status().unwrap().success());
}

/// Runs the copied program as a user other than root.
fn as_nobody(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = Command::new(place.directory().join("voxgate"));
    command
        .arg("key")
        .args(arguments)
        .arg("--file")
        .arg(place.path());
    command.env_clear().stdin(Stdio::null());
    if fs::metadata(place.directory()).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ran::new(command.output().unwrap())
}

#[test]
fn a_directory_without_write_access_is_named_with_the_fix() {
    let place = Place::with(&format!("[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\n"));
    let text = place.text();
    fs::set_permissions(place.path(), Permissions::from_mode(0o644)).unwrap();
    copy_program(&place);
    fs::set_permissions(place.directory(), Permissions::from_mode(0o555)).unwrap();
    for arguments in [&["new", "--id=b"][..], &["revoke", "a"], &["rotate", "a"]] {
        let ran = as_nobody(&place, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.error.contains("--kubernetes-secret"), "{ran:?}");
    }
    let ran = as_nobody(&place, &["new", "--id=b", "--kubernetes-secret=keys"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(place.text(), text);
    fs::set_permissions(place.directory(), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_file_of_another_user_is_not_replaced() {
    let place = Place::with("");
    let is_root = fs::metadata(place.directory()).unwrap().uid() == 0;
    if !is_root {
        skip(
            "what needs root",
            "only root can make a file of another user",
        );
        return;
    }
    copy_program(&place);
    fs::set_permissions(place.path(), Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.directory(), Permissions::from_mode(0o777)).unwrap();
    let ran = as_nobody(&place, &["new", "--id=a"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.error.contains("user 0"), "{ran:?}");
    assert_eq!(
        (place.text().as_str(), place.others()),
        ("", vec!["voxgate".to_owned()])
    );
}

#[test]
fn concurrent_writers_lose_no_change() {
    let place = Place::with("# shared\n");
    let tokens: Vec<(String, String)> = thread::scope(|scope| {
        let runs: Vec<_> = (0..16)
            .map(|number| {
                let place = &place;
                scope.spawn(move || {
                    let id = format!("key-{number}");
                    let token = place.run(&["new", "--id", &id]).token();
                    (id, token)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let ids: BTreeSet<String> = tokens.iter().map(|(id, _)| id.clone()).collect();
    let file = place.keys();
    let found: BTreeSet<String> = file
        .keys()
        .iter()
        .map(|key| key.principal().id().to_owned())
        .collect();
    assert_eq!((found, file.keys().len()), (ids, 16));
    for (id, token) in tokens {
        let ran = place.run_with(&token, &["verify"]).done();
        assert_eq!(ran.out, format!("{id}: active\n"));
    }
    assert!(place.text().starts_with("# shared\n\n[[key]]\n"));
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn a_command_waits_for_the_lock() {
    let place = Place::with("");
    let directory = File::open(place.directory()).unwrap();
    directory.lock().unwrap();
    let mut command = place.command(&["new", "--id=a"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(std::time::Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    assert_eq!(place.text(), "");
    directory.unlock().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.keys().keys().len(), 1);
    // A command that only reads does not wait.
    directory.lock().unwrap();
    place.run(&["list"]).done();
    // The wait has a limit.
    let error = place.refuses(1, "", &["new", "--id=b"]);
    assert!(error.contains("lock"), "{error}");
}
