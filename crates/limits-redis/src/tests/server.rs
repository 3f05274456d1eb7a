//! A Redis server for one test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use redis::{Client, Connection, FromRedisValue};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::until;

/// A server that listens on a Unix socket in its own directory, and saves nothing.
pub(crate) struct Server {
    directory: TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl Server {
    /// Returns `None` if Redis is not installed, and adds the test to the list of skipped checks.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        Self::start_in(directory, arguments)
    }

    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let child = launch(directory.path(), &arguments)?;
        let server = Self {
            directory,
            arguments,
            child,
        };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        until("Redis answers", || self.connect().is_some());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn connect(&self) -> Option<Connection> {
        let client = Client::open(self.url()).expect("a URL");
        client.get_connection().ok()
    }

    /// Runs a command, its words separated by blanks.
    pub(crate) fn run<T: FromRedisValue>(&self, words: &str) -> T {
        self.run_words(&words.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn run_words<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connect().expect("a connection");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection).expect("an answer")
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.run("KEYS *");
        keys.sort();
        keys
    }

    /// How many slots of this key are taken.
    pub(crate) fn taken(&self, slots: &str) -> usize {
        self.run_words(&["ZCARD", slots])
    }

    /// How many requests a rate of one per hour has allowed recently.
    pub(crate) fn counted(&self, level: &str) -> u64 {
        let state: String = self.run_words(&["GET", level]);
        let (level, _) = state.split_once(' ').expect("a level and a time");
        // Less than one whole request has drained since the first.
        let level: u64 = level.parse().expect("a whole number");
        level.div_ceil(3_600_000_000)
    }

    /// How many scripts the server has run.
    pub(crate) fn scripts_run(&self) -> u64 {
        let stats: String = self.run("INFO commandstats");
        let calls = |line: &str| {
            let counts = line.strip_prefix("cmdstat_evalsha:calls=")?;
            counts.split(',').next()?.parse::<u64>().ok()
        };
        stats.lines().find_map(calls).unwrap_or_default()
    }

    /// Suspends the server until `thaw` is called.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill(1)").success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
        // The socket file that it left is not a server.
        let _ = fs::remove_file(self.socket());
    }

    /// Restarts the server after `kill`. It has lost its data.
    pub(crate) fn start_again(&mut self) {
        self.child = launch(self.directory.path(), &self.arguments).expect("Redis, as before");
        self.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that no other process gets while the socket exists. Redis reuses its address.
pub(crate) fn reserve() -> (Socket, u16) {
    let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    reserved.set_reuse_address(true).expect("reused");
    reserved
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("a port");
    let own = reserved.local_addr().expect("an address");
    let port = own.as_socket().expect("an address").port();
    (reserved, port)
}

fn launch(directory: &Path, arguments: &[String]) -> Option<Child> {
    let program = program()?;
    let mut command = Command::new(program);
    command.current_dir(directory).stdout(Stdio::null());
    for setting in [
        ["--unixsocket", "redis.sock"],
        ["--port", "0"],
        ["--save", ""],
        ["--appendonly", "no"],
    ] {
        command.args(setting);
    }
    let child = command.args(arguments).spawn();
    Some(child.expect("a server"))
}

/// Returns the server's program, and installs it if that is allowed. `REDIS_SERVER` names another one.
pub(crate) fn program() -> Option<&'static str> {
    static PROGRAM: OnceLock<Option<&'static str>> = OnceLock::new();
    *PROGRAM.get_or_init(|| {
        if let Ok(program) = std::env::var("REDIS_SERVER") {
            return Some(program.leak());
        }
        let known = || {
            let runs = |program: &&str| Command::new(program).arg("--version").output().is_ok();
            ["redis-server", "valkey-server"].into_iter().find(runs)
        };
        let known = known();
        if known.is_some() {
            return known;
        }
        let installed = script("debian-package.sh", &["redis-server"]);
        if installed.is_ok() {
            return Some("redis-server");
        }
        let why = installed.unwrap_err();
        script("skipped.sh", &["add", "limits across replicas", &why]).expect("on the list");
        None
    })
}

fn script(name: &str, arguments: &[&str]) -> Result<(), String> {
    // The tests of the library and of the gateway both include this file.
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = ["scripts", "../../scripts"].map(|folder| crate_root.join(folder).join(name));
    let path = found.iter().find(|path| path.exists()).expect("the script");
    let output = Command::new(path).args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
    }
}
