//! The program as a child process, and everything that it prints.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jsonschema::Validator;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for anything. Only a failing test ever waits for so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until `found` has a value, looking again and again.
pub(crate) async fn wait_until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a stream has shown so far, line by line.
#[derive(Clone, Default)]
struct Lines(Arc<Collected>);

#[derive(Default)]
struct Collected {
    lines: Mutex<Vec<String>>,
    more: Condvar,
    /// Whether the stream is at its end.
    whole: AtomicBool,
}

impl Lines {
    fn collect(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                shared.0.lines.lock().unwrap().push(line);
                shared.0.more.notify_all();
            }
            shared.0.whole.store(true, Ordering::Release);
        });
        lines
    }

    /// Of a stream that is somebody else's.
    fn none() -> Self {
        let lines = Self::default();
        lines.0.whole.store(true, Ordering::Release);
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }

    fn are_whole(&self) -> bool {
        self.0.whole.load(Ordering::Acquire)
    }

    fn wait_for<T>(&self, what: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.0.lines.lock().unwrap();
        loop {
            if let Some(found) = found(&lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} in:\n{}", lines.join("\n"));
            lines = self.0.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// Reads an audit record, which must be as its schema says.
pub(crate) fn record(line: &str) -> Value {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
        let schema = include_str!("../../../../../../docs/audit.schema.json");
        jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
    });
    let record = serde_json::from_str(line).unwrap();
    if let Err(error) = SCHEMA.validate(&record) {
        panic!("{error}: {line}");
    }
    record
}

/// The program, with only those variables in its environment that the test gives.
pub(crate) struct Program {
    command: Command,
}

impl Program {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxgate"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        Self { command }
    }

    pub(crate) fn var(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same program, started by another, which is the first of these words.
    pub(crate) fn inside(self, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.command.get_program());
        command.args(self.command.get_args());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path);
        let variables = self.command.get_envs();
        command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null());
        Self { command }
    }

    /// Runs a command that ends by itself: its exit code, its output and its error output.
    pub(crate) fn run(mut self) -> (Option<i32>, String, String) {
        let output = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// `voxgate serve` in front of `upstream`, on free ports.
    pub(crate) fn gateway(upstream: impl std::fmt::Display) -> Self {
        Self::new(&["serve"])
            .var("VOXGATE_LISTEN", "127.0.0.1:0")
            .var("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0")
            .var("VOXGATE_UPSTREAM", format!("http://{upstream}"))
            .var("VOXGATE_LOG", "debug")
    }

    /// In validate mode with one key, [`KEY`](super::KEY), whose id is `env-1`.
    pub(crate) fn validating(upstream: impl std::fmt::Display) -> Self {
        Self::gateway(upstream).var("VOXGATE_API_KEYS", super::KEY)
    }

    /// Starts the gateway and waits until it listens.
    pub(crate) fn start(mut self) -> Started {
        let mut child = self.spawn(Stdio::piped());
        let audit = Lines::collect(child.stdout.take().unwrap());
        Started::hear(child, audit)
    }

    /// The same, with another standard output.
    pub(crate) fn start_into(mut self, stdout: impl Into<Stdio>) -> Started {
        let child = self.spawn(stdout.into());
        Started::hear(child, Lines::none())
    }

    /// The same, and nobody reads its log any more: it is what this leaves in the pipe.
    pub(crate) fn start_unheard(mut self) -> (Started, BufReader<ChildStderr>) {
        let mut child = self.spawn(Stdio::null());
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let addresses = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "no listening line");
            if let Some(addresses) = listening(&line) {
                break addresses;
            }
        };
        let started = Started::new(child, addresses, Lines::none(), Lines::none());
        (started, log)
    }

    fn spawn(&mut self, stdout: Stdio) -> Child {
        let command = self.command.stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

/// The two addresses, if this line of the log says them. A Unix socket has the address on record of
/// its clients.
fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |field: &str| match line[field].as_str().unwrap() {
        socket if socket.starts_with("unix:/") => SocketAddr::from(([127, 0, 0, 1], 0)),
        address => address.parse().unwrap(),
    };
    (line["message"] == "listening").then(|| (address("address"), address("admin")))
}

/// A gateway that runs. Dropping it ends it.
pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    audit: Lines,
    log: Lines,
}

impl Started {
    fn new(
        child: Child,
        (address, admin): (SocketAddr, SocketAddr),
        audit: Lines,
        log: Lines,
    ) -> Self {
        Self {
            address,
            admin,
            child,
            audit,
            log,
        }
    }

    /// Waits for the log to say where the gateway listens.
    fn hear(mut child: Child, audit: Lines) -> Self {
        let log = Lines::collect(child.stderr.take().unwrap());
        let addresses = log.wait_for("listening line", |lines| {
            lines.iter().find_map(|line| listening(line))
        });
        Self::new(child, addresses, audit, log)
    }

    /// The address of the listener for proxies that ask.
    pub(crate) fn authorizer(&self) -> SocketAddr {
        let own = |line: &String| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["authorizer"].as_str()?.parse().ok()
        };
        self.log.wait_for("address of the authorizer", |lines| {
            lines.iter().find_map(own)
        })
    }

    /// All audit records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let lines = self.audit.all();
        lines.iter().map(|line| record(line)).collect()
    }

    /// Waits for an audit record.
    pub(crate) fn wait_for_record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.audit.wait_for(what, |lines| {
            lines.iter().map(|line| record(line)).find(&wanted)
        })
    }

    /// Waits for the completion of the request with this identifier.
    pub(crate) fn wait_for_completion(&self, request_id: &str) -> Value {
        self.wait_for_record("completion", |record| {
            record["event"] == "complete" && record["request_id"] == request_id
        })
    }

    /// Waits for a line in the log that holds `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.log.wait_for(text, |lines| {
            lines.iter().any(|line| line.contains(text)).then_some(())
        });
    }

    /// Everything it printed so far, audit and log.
    pub(crate) fn printed(&self) -> String {
        [self.audit.all(), self.log.all()].concat().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the process to end, and for all that it printed.
    pub(crate) async fn exit_status(&mut self) -> ExitStatus {
        let status = wait_until("end of the process", || self.child.try_wait().unwrap()).await;
        let whole = || (self.audit.are_whole() && self.log.are_whole()).then_some(());
        wait_until("end of what it printed", whole).await;
        status
    }

    /// A figure of `/proc/<pid>/status`, in KiB.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        files.count()
    }

    /// Forgets the peak of the memory so far, so that `VmHWM` starts anew.
    pub(crate) fn forget_memory_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
