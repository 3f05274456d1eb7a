//! Commands that arrive at Redis later than commands that were sent after them.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use tempfile::TempDir;

use super::*;

/// A network that can delay the data of existing connections, and deliver it after the connections
/// are closed.
struct Network {
    directory: TempDir,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// Data of connections before this one is delayed.
    held_before: usize,
}

impl Network {
    fn to(socket: &Path) -> Self {
        let network = Self {
            directory: tempfile::tempdir().expect("a directory"),
            state: Arc::default(),
        };
        let listener = UnixListener::bind(network.socket()).expect("a socket");
        let (state, socket) = (Arc::clone(&network.state), socket.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                let Ok(server) = UnixStream::connect(&socket) else {
                    return;
                };
                let number = {
                    let mut state = state.0.lock().expect("a lock");
                    state.connections += 1;
                    state.connections - 1
                };
                let (answers, asker) = (server.try_clone(), client.try_clone());
                let (answers, asker) = (answers.expect("a copy"), asker.expect("a copy"));
                thread::spawn(move || carry(answers, asker, || ()));
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    carry(client, server, || {
                        let guard = state.0.lock().expect("a lock");
                        let is_held = |state: &mut State| number < state.held_before;
                        drop(state.1.wait_while(guard, is_held).expect("a lock"));
                    });
                });
            }
        });
        network
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("network.sock")
    }

    fn connections(&self) -> usize {
        self.state.0.lock().expect("a lock").connections
    }

    fn hold(&self) {
        let mut state = self.state.0.lock().expect("a lock");
        state.held_before = state.connections;
    }

    fn deliver(&self) {
        self.state.0.lock().expect("a lock").held_before = 0;
        self.state.1.notify_all();
    }
}

/// Copies bytes. Waits before each chunk.
fn carry(mut from: UnixStream, mut to: UnixStream, wait: impl Fn()) {
    let mut bytes = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        wait();
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn a_grant_that_arrives_after_its_release_is_released_again() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let network = Network::to(&server.socket());
    let url = format!("unix://{}", network.socket().display());
    let limits = started_with(RedisOptions {
        url: Secret::new(&url).expect("a URL"),
        deadline: Duration::from_secs(5),
        lease: Duration::from_secs(9),
        ..options(&server)
    });
    let slots = "{voxgate}:slots:key:a";
    let request = key(
        "a",
        Limits {
            concurrency: NonZeroU32::new(100),
            burst: NonZeroU32::new(100),
            ..rate("1/h")
        },
    );
    let _kept = limits.decide(&request).expect("granted");
    let counted = || server.counted("{voxgate}:rate:1/3600000000:key:a");
    assert_eq!(counted(), 1);
    network.hold();
    let asked: Vec<_> = (0..20).map(|_| limits.ask(&request, None)).collect();
    for asking in asked {
        assert_eq!(
            block_on(asking).result.expect_err("no answer"),
            AcquireError::Unavailable
        );
    }
    until("there is another connection", || limits.is_up());
    assert!(network.connections() > 1);
    assert_eq!(
        (counted(), server.taken(slots)),
        (1, 1),
        "nothing has arrived"
    );
    network.deliver();
    until("it arrives", || counted() > 1);
    // Redis removes expired leases only when it grants another, and none is granted here.
    until("it is given back", || server.taken(slots) == 1);
}
