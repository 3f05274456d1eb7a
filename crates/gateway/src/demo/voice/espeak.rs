//! Running `espeak-ng` as a child process.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, io};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{SpeechError, engine};

/// Most bytes accepted from one run: about four minutes of speech.
const MAX_BYTES: u64 = 240 * 22_050 * 2;

/// Runs `espeak-ng` once, text on its standard input, WAV from its output.
///
/// No shell is involved and the text is never an argument. The child dies with
/// this future.
///
/// # Errors
///
/// Fails when the program cannot be run, ends badly, or prints too much.
pub(super) async fn run(path: &Path, text: &str) -> Result<Vec<u8>, SpeechError> {
    let mut child = Command::new(path)
        .args(["-b", "1", "--stdin", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(engine)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(text.as_bytes()).await?;
            stdin.shutdown().await?;
        }
        io::Result::Ok(())
    };
    let read = async {
        let mut file = Vec::new();
        if let Some(stdout) = stdout {
            let mut limited = stdout.take(MAX_BYTES + 1);
            limited.read_to_end(&mut file).await?;
        }
        io::Result::Ok(file)
    };
    let (written, file) = tokio::join!(write, read);
    let file = file.map_err(engine)?;
    if file.len() as u64 > MAX_BYTES {
        return Err(SpeechError::TextTooLong);
    }
    let status = child.wait().await.map_err(engine)?;
    if !status.success() {
        return Err(engine(format_args!("espeak-ng ended with {status}")));
    }
    written.map_err(engine)?;
    Ok(file)
}

/// Finds `espeak-ng` in the absolute directories of a `PATH` value.
pub(super) fn find_in(path: &OsStr) -> Option<PathBuf> {
    let file_name = format!("espeak-ng{}", env::consts::EXE_SUFFIX);
    env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&file_name))
        .find(|candidate| is_executable(candidate))
}

/// Whether a path names a file that may be run.
fn is_executable(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else {
        return false;
    };
    #[cfg(unix)]
    let runnable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let runnable = true;
    metadata.is_file() && runnable
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;

    /// A folder of this test alone, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> io::Result<Self> {
            let unique = format!("voxgate-espeak-{name}-{}", std::process::id());
            let folder = env::temp_dir().join(unique);
            fs::create_dir_all(&folder)?;
            Ok(Self(folder))
        }

        /// Writes an executable `espeak-ng` shell script. A child does the
        /// writing, so that no concurrent fork holds the file open.
        fn script(&self, body: &str) -> io::Result<PathBuf> {
            let path = self.0.join("espeak-ng");
            let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
            let mut shell = std::process::Command::new("sh");
            let status = shell.arg("-c").arg(write).arg(&path).arg(body).status()?;
            assert!(status.success());
            Ok(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn text_goes_in_on_stdin_and_arguments_are_fixed()
    -> Result<(), Box<dyn std::error::Error>> {
        let folder = Folder::new("echo")?;
        let path = folder.script(r#"printf '%s|' "$@"; cat"#)?;
        let printed = run(&path, "--help; $(id) 'x'").await?;
        let printed = String::from_utf8(printed)?;
        assert_eq!(printed, "-b|1|--stdin|--stdout|--help; $(id) 'x'");
        Ok(())
    }

    #[tokio::test]
    async fn failures_and_floods_are_errors() -> Result<(), Box<dyn std::error::Error>> {
        let folder = Folder::new("fail")?;
        let path = folder.script("exit 3")?;
        let error = run(&path, &"long ".repeat(40_000)).await.err();
        assert!(error.is_some_and(|error| error.to_string().contains("exit status: 3")));
        let path = folder.script("exec cat /dev/zero")?;
        let error = run(&path, "hi").await.err();
        assert!(matches!(error, Some(SpeechError::TextTooLong)));
        Ok(())
    }

    #[test]
    fn only_executables_in_absolute_folders_are_found() -> io::Result<()> {
        let folder = Folder::new("path")?;
        let search = env::join_paths([Path::new("."), Path::new("/nonexistent"), &folder.0]);
        let search = search.map_err(io::Error::other)?;
        assert_eq!(find_in(&search), None);
        let script = folder.script("true")?;
        assert_eq!(find_in(&search), Some(script.clone()));
        let mut permissions = fs::metadata(&script)?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(&script, permissions)?;
        assert_eq!(find_in(&search), None);
        assert_eq!(find_in(OsStr::new("")), None);
        Ok(())
    }
}
