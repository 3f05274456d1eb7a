//! TLS of a server and of a client, with certificates that are followed while they run.
//!
//! [`ServerTls`] loads certificates and keys from files, chooses one for each connection by the name
//! that the client asks for (SNI, RFC 6066 §3), and exchanges them when the files change. A connection
//! that is open keeps the certificate with which it began.
//!
//! With a [`ClientAuth`], clients present certificates too; [`ClientIdentity`] says what is in one. Sessions
//! are then not resumed, because a resumed session is not verified again.
//!
//! [`ClientTls`] verifies servers by the certificate authorities of a file or of the system, and by
//! lists of revoked certificates. It presents a certificate to servers that ask for one.
//!
//! TLS 1.2 and 1.3 are spoken, with the cipher suites of rustls. Early data (0-RTT) is never accepted,
//! because it can be replayed (RFC 8446 §8).

mod certificate;
mod client;
mod client_auth;
mod failure;
mod follow;
mod resolver;
mod server;

pub use self::certificate::{CertificateFiles, CertificateInfo};
pub use self::client::{Alpn, ClientFiles, ClientTls};
pub use self::client_auth::{ClientAuth, ClientIdentity};
pub use self::failure::describe;
pub use self::server::{MinVersion, ServerTls};
