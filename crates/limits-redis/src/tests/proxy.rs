//! A network between the nodes of a cluster that can be cut.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The address of the node that can be cut off, when it connects.
pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Forwards connections to the bus of a node.
pub(super) struct Proxy(Arc<State>);

struct State {
    /// Whether it is the node that can be cut off.
    is_separate: bool,
    is_cut: AtomicBool,
    /// Connections to that node, or from it.
    separate: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(super) fn new(is_separate: bool) -> Self {
        Self(Arc::new(State {
            is_separate,
            is_cut: AtomicBool::new(false),
            separate: Mutex::default(),
        }))
    }

    /// Starts forwarding to this port, and returns its own.
    pub(super) fn start(&self, to: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::clone(&self.0);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that fails is one that the node tries again.
                let _ = state.forward(stream, to);
            }
        });
        port
    }

    /// Ends all connections between that node and others, and lets none begin.
    pub(super) fn cut(&self) {
        self.0.is_cut.store(true, Ordering::SeqCst);
        for stream in self.0.separate.lock().expect("a lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn forward(self: &Arc<Self>, from: TcpStream, to: u16) -> io::Result<()> {
        let is_separate = self.is_separate || from.peer_addr()?.ip() == SOURCE;
        let to = TcpStream::connect(("127.0.0.1", to))?;
        if is_separate {
            let mut separate = self.separate.lock().expect("a lock");
            // Inside of the lock, so that `cut` sees the connection, or this sees the cut.
            if self.is_cut.load(Ordering::SeqCst) {
                return Ok(());
            }
            separate.push(from.try_clone()?);
        }
        for (mut from, mut to) in [(from.try_clone()?, to.try_clone()?), (to, from)] {
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }
}
