//! Tells the gateways of a keys file what to do.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::message::{ControlRequest, ControlResponse};
use super::place::{ControlPlace, connect};

/// More than a gateway takes: it waits for its file for some seconds, and for Redis.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks every gateway, all at once. Returns the name of the process and its answer; a gateway that
/// is gone has none.
pub(crate) fn tell(
    place: &ControlPlace,
    request: &ControlRequest,
) -> io::Result<Vec<(String, io::Result<ControlResponse>)>> {
    let sockets = place.sockets()?;
    let answers = thread::scope(|scope| {
        let asked: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(|| ask(socket, request)))
            .collect();
        let answers = asked.into_iter().map(|answer| {
            let panicked = |_| Some(Err(io::Error::other("asking it failed")));
            answer.join().unwrap_or_else(panicked)
        });
        answers.collect::<Vec<_>>()
    });
    let named = sockets.iter().zip(answers);
    let named = named.filter_map(|(socket, answer)| Some((process(socket), answer?)));
    Ok(named.collect())
}

/// `None` if the gateway is gone.
fn ask(socket: &Path, request: &ControlRequest) -> Option<io::Result<ControlResponse>> {
    let mut stream = match connect(socket) {
        Ok(stream) => stream?,
        Err(error) => return Some(Err(error)),
    };
    let mut ask = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        request.write(&mut stream)?;
        ControlResponse::read(&stream)
    };
    Some(ask().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let message = format!("it did not answer within {} seconds", PATIENCE.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, message)
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            io::Error::other("it ended before it answered")
        }
        _ => error,
    }))
}

/// The process that a socket names.
fn process(socket: &Path) -> String {
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let process = name
        .rsplit_once('-')
        .and_then(|(name, _)| name.rsplit_once('-'));
    process.map_or_else(|| name.to_string(), |(_, process)| process.to_owned())
}
