//! Disks that really are full, limited, or know no reservation.

use std::env;
use std::process::Command;

use super::*;

const DIRECTORY: &str = "VOXGATE_TEST_AUDIT_LIMITED";

/// A file system in memory, unmounted at the end.
struct Mounted(TempDir);

impl Mounted {
    fn new(kind: &str, options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", kind, "-o", options, "none"])
            .arg(directory.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        skipped(
            &format!("the audit log on {kind}"),
            "this user may not mount it",
        );
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: until it is another program, a child that another test starts holds all that is
        // open here.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn a_full_disk_shows_at_rotation_and_never_amid_a_line() {
    let Some(mounted) = Mounted::new("tmpfs", "size=256k") else {
        return;
    };
    let directory = mounted.0.path().join("audit");
    let filler = mounted.0.path().join("filler");
    fs::write(&filler, vec![0; 128 * 1024]).unwrap();
    let mut writer = Writer::open(options(&directory, "i1"));
    let error = loop {
        if let Err(rejected) = writer.batch(10) {
            break rejected.error;
        }
    };
    let full = |error: &LogError| {
        let LogError::Io { source, .. } = error else {
            return false;
        };
        source.kind() == std::io::ErrorKind::StorageFull
    };
    assert!(full(&error), "{error}");
    // The segment before was sealed, and nothing failed amid it.
    let status = writer.log.status();
    assert!(!status.open && status.failed_segments == 0);
    assert!(assert_whole(&directory).sealed);
    let newest = *names::segments(&directory).unwrap().last().unwrap();
    assert_eq!(newest, status.synced.segment, "no empty file is left");
    writer.now += 1;
    assert!(full(&writer.batch(1).unwrap_err().error));
    fs::remove_file(filler).unwrap();
    writer.now += 1;
    writer.write(20);
    let up_to = writer.seq;
    writer.close();
    assert_whole(&directory);
    assert_eq!(events(&directory), numbered("i1", up_to));
}

#[test]
fn a_file_system_without_reservation_will_do() {
    let Some(mounted) = Mounted::new("ramfs", "mode=0700") else {
        return;
    };
    let mut writer = Writer::open(options(mounted.0.path(), "i1"));
    writer.write(100);
    writer.close();
    assert_whole(mounted.0.path());
    assert_eq!(events(mounted.0.path()), numbered("i1", 100));
}

#[test]
fn a_limit_of_the_file_s_size_fails_a_segment_and_loses_nothing() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return write_beyond_the_limit(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let name = "tests::real_disk::a_limit_of_the_file_s_size_fails_a_segment_and_loses_nothing";
    // Ignored, the signal becomes an error of the write that goes beyond the limit.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "-"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_whole(directory.path());
    assert_eq!(events(directory.path()), numbered("i1", 160));
}

fn write_beyond_the_limit(directory: &Path) {
    let mut its = options(directory, "i1");
    its.segment_bytes = 1024 * 1024;
    let mut writer = Writer::open(its);
    for _ in 0..16 {
        writer.write(10);
    }
    assert!(writer.log.status().failed_segments > 1);
    writer.close();
}
