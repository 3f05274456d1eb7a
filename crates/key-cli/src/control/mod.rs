//! The control socket, on which `voxgate key` reaches the running gateways of a keys file.
//!
//! Each gateway listens on a Unix socket of its own, in the directory of its keys file or in a
//! directory for such sockets. The name says which file the gateway follows. Only the user of the
//! gateway and root can connect. A request can take rights away and have the file read, and nothing
//! else.
//!
//! A gateway that was killed leaves its socket behind. Nothing accepts its connections, so the next
//! command or gateway removes it. The directory must therefore be on a local disk: a socket
//! of another machine looks the same.

mod client;
mod message;
mod place;
mod server;

pub(crate) use self::client::tell;
pub use self::message::{ControlRequest, ControlResponse};
pub use self::place::ControlPlace;
pub use self::server::ControlServer;
