//! The gateway's end of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::{ControlRequest, ControlResponse};
use super::place::{ControlPlace, connect};

/// How long a client may take for its request, and for its answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
/// How often the server looks whether its socket is still there, and whether it should end.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Access for the owner only.
const MODE: u32 = 0o600;

/// Listens on a control socket until it is dropped.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
}

impl ControlServer {
    /// Listens, and answers each request with `handle`. Removes the sockets of gateways that are gone.
    ///
    /// # Errors
    ///
    /// When the socket or the thread cannot be made.
    pub fn start(
        place: &ControlPlace,
        handle: impl Fn(ControlRequest) -> ControlResponse + Send + 'static,
    ) -> io::Result<Self> {
        for socket in place.sockets()? {
            // One that cannot be removed does no harm.
            let _ = connect(&socket);
        }
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = place.socket(process::id(), random);
        let listener = listen(&path)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let server = Self {
            path: path.clone(),
            is_over: Arc::clone(&is_over),
        };
        let thread = thread::Builder::new().name("voxgate-control".to_owned());
        thread.spawn(move || {
            let mut listener = listener;
            while !is_over.load(Ordering::SeqCst) {
                if let Some(stream) = accept(&listener) {
                    // The client sees that it got no answer.
                    let _ = answer(stream, &handle);
                }
                // Programs that tidy up remove what they do not know.
                if !path.exists()
                    && !is_over.load(Ordering::SeqCst)
                    && let Ok(again) = listen(&path)
                {
                    listener = again;
                }
            }
        })?;
        Ok(server)
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Otherwise the next gateway removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds a socket that can be connected to as soon as it has its name: a socket that does not
/// listen yet would be taken for that of a gateway that is gone.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let next = path.with_extension("new");
    let listening = || {
        let listener = UnixListener::bind(&next)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&next, Permissions::from_mode(MODE))?;
        fs::rename(&next, path)?;
        Ok(listener)
    };
    listening().inspect_err(|_: &io::Error| {
        // The first error is reported.
        let _ = fs::remove_file(&next);
    })
}

/// Waits a while for a connection.
fn accept(listener: &UnixListener) -> Option<UnixStream> {
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut waiting, Some(&LOOK_EVERY)).ok()?;
    let (stream, _) = listener.accept().ok()?;
    Some(stream)
}

fn answer(
    mut stream: UnixStream,
    handle: &impl Fn(ControlRequest) -> ControlResponse,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let request = ControlRequest::read(&stream)?;
    let mut response = handle(request);
    response.process = process::id();
    response.write(&mut stream)
}
