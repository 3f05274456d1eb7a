//! `voxgate demo`, as a newcomer meets it. The vendors' own clients meet it in `tests/clients`.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::harness::{Reply, send_raw};
use crate::skip::skip;

/// The demo as a child process.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    gateway: SocketAddr,
    key: String,
    banner: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

/// One demo at a time: they all want the usual port.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Demo {
    fn start(turn: MutexGuard<'static, ()>, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_voxgate"))
            .arg("demo")
            .args(arguments)
            // Whatever is set, the demo is the demo.
            .env("VOXGATE_LISTEN", "nonsense")
            .env("VOXGATE_API_KEYS", "")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut demo = Self {
            child,
            lines,
            gateway: SocketAddr::from(([127, 0, 0, 1], 0)),
            key: String::new(),
            banner: Vec::new(),
            _turn: turn,
        };
        let banner = demo.until("started");
        let field = |name: &str| {
            let line = banner
                .iter()
                .find_map(|line| line.strip_prefix("  ")?.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        demo.gateway = field("gateway")
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap();
        demo.key = field("key");
        demo.banner = banner;
        demo
    }

    /// The lines up to the first that holds `text`.
    fn until(&self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(300));
            lines.push(line.unwrap_or_else(|_| panic!("no {text} in {lines:#?}")));
            if lines.last().is_some_and(|line| line.contains(text)) {
                return lines;
            }
        }
    }

    async fn speak(&self, authorization: &str) -> Reply {
        let body = r#"{"text":"Hello","speaker":"cove","modelId":"mistv2"}"#;
        let request = format!(
            "POST /v1/rime-tts HTTP/1.0\r\nHost: demo\r\n{authorization}Accept: audio/pcm\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        send_raw(self.gateway, request).await
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn each_decision_appears_as_a_line_as_it_is_made() {
    let demo = Demo::start(turn(), &[]);
    let refused = demo.speak("").await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (401, "missing headers")
    );
    let line = demo.until("refused").pop().unwrap();
    assert!(
        line.ends_with("POST /v1/rime-tts with 401: missing_credential"),
        "{line}"
    );

    let refused = demo.speak("Authorization: Bearer wrong\r\n").await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (401, "invalid api key")
    );
    demo.until("with 401: unknown_credential");

    let accepted = demo
        .speak(&format!("Authorization: Bearer {}\r\n", demo.key))
        .await;
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.header("content-type"), Some("audio/pcm"));
    assert!(accepted.bytes.len() > 1000, "too short to be speech");
    demo.until("accepted  POST /v1/rime-tts for env-1 (api_key)");
    let ended = demo.until("ended").pop().unwrap();
    assert!(
        ended.contains(&format!("{} bytes sent", accepted.bytes.len())),
        "{ended}"
    );
}

#[tokio::test]
async fn with_a_preconfigured_key_no_caller_needs_one() {
    let demo = Demo::start(turn(), &["--mode", "preconfigured"]);
    assert_eq!(demo.key, "not needed (preconfigured)");
    assert_eq!(demo.speak("").await.status, 200);
    assert_eq!(demo.speak("Authorization: nonsense\r\n").await.status, 200);
    demo.until("for deployment (deployment_key)");
}

#[tokio::test]
async fn a_port_that_is_taken_is_replaced_and_said() {
    let turn = turn();
    // Somebody has the usual port: we do, or who had it before us and is none of these tests.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let demo = Demo::start(turn, &[]);
    assert_ne!(demo.gateway.port(), 8080);
    let said = format!(
        "  port 8080 is in use, so the gateway uses port {}",
        demo.gateway.port()
    );
    assert!(demo.banner.contains(&said), "{:#?}", demo.banner);
    assert_eq!(demo.speak("").await.status, 401);
}

/// The commands that are printed are the ones that work: they are run as they stand.
#[tokio::test]
async fn the_printed_commands_do_what_they_say() {
    if Command::new("curl").arg("--version").output().is_err() {
        skip("the commands of the demo", "curl is not installed");
        return;
    }
    let demo = Demo::start(turn(), &[]);
    let directory = tempfile::tempdir().unwrap();
    let text = demo.banner.join("\n");
    let mut outputs = Vec::new();
    for block in text.split("\n\n").filter(|block| block.contains("  curl ")) {
        let command: String = block
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n");
        let ran = Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        outputs.push(String::from_utf8(ran.stdout).unwrap());
    }
    assert_eq!(outputs.len(), 3);
    let spoken = std::fs::read(directory.path().join("hello.wav")).unwrap();
    assert!(spoken.starts_with(b"RIFF") && spoken.len() > 1000);
    assert!(outputs[1].ends_with("missing headers"), "{}", outputs[1]);
    assert!(outputs[2].ends_with("invalid api key"), "{}", outputs[2]);
}
