//! TLS of a server: the certificates that it presents, which are followed while it runs.
//!
//! [`ServerTls`] loads certificates and keys from files, chooses one for each connection by the name
//! that the client asks for (SNI, RFC 6066 §3), and exchanges them when the files change. A connection
//! that is open keeps the certificate with which it began.
//!
//! With a [`ClientAuth`], clients present certificates too; [`ClientIdentity`] says what is in one. Sessions
//! are then not resumed, because a resumed session is not verified again.
//!
//! TLS 1.2 and 1.3 are served, with the cipher suites of rustls. Early data (0-RTT) is never accepted,
//! because it can be replayed (RFC 8446 §8).

mod certificate;
mod client_auth;
mod follow;
mod resolver;
mod server;

pub use self::certificate::{CertificateFiles, CertificateInfo};
pub use self::client_auth::{ClientAuth, ClientIdentity};
pub use self::server::{MinVersion, ServerTls};
