//! Runs `voxgate key` as a process.

mod files;
mod import;
mod kills;
mod making;
mod manifests;
mod neighbours;
mod reading;
mod rotation;
mod tokens;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use voxgate::Dialect;
use voxgate::keys::KeysFile;

/// A digest that matches no token.
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// A directory with or without a keys file.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(text: &str) -> Self {
        let place = Self::new();
        fs::write(place.path(), text).unwrap();
        place
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }

    fn path(&self) -> PathBuf {
        self.directory().join("keys.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn keys(&self) -> KeysFile {
        KeysFile::load(self.path(), Dialect::Rime).unwrap()
    }

    /// `voxgate key` for this file, with no other variables in its environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxgate"));
        command
            .arg("key")
            .args(arguments)
            .env_clear()
            .env("VOXGATE_KEYS_FILE", self.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).output().unwrap())
    }

    /// As this user.
    fn run_as(&self, user: &str, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).env("USER", user).output().unwrap())
    }

    fn run_with(&self, input: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = streams.stderr(Stdio::piped()).spawn().unwrap();
        // A command that refuses before it reads closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::new(child.wait_with_output().unwrap())
    }

    /// Checks that a command exits with `code` and changes nothing. Returns its error text.
    fn refuses(&self, code: i32, input: &str, arguments: &[&str]) -> String {
        let before = fs::read(self.path()).ok();
        let ran = self.run_with(input, arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.error);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(fs::read(self.path()).ok() == before, "{arguments:?}");
        ran.error
    }

    /// Everything in the directory except the keys file.
    fn others(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "keys.toml").collect()
    }
}

/// The result of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            error: text(output.stderr),
        }
    }

    fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The token. It must be the only line of standard output, and must not be on standard error.
    fn token(self) -> String {
        let ran = self.done();
        let token = ran.out.strip_suffix('\n').unwrap().to_owned();
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "{token}");
        assert!(!ran.error.contains(&token), "{}", ran.error);
        token
    }
}
