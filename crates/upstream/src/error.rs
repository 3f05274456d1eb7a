//! Why a request got no answer.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::transport::tls_cause;

/// No server gave an answer.
#[derive(Debug)]
pub struct SendError(Cause);

#[derive(Debug)]
enum Cause {
    NoPermit,
    AllOut,
    Resolve(io::Error),
    Connect(io::Error),
    Http1(hyper::Error),
    Http2(hyper::Error),
    Timeout,
    Late(Duration),
}

/// The kind of a [`SendError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The process cannot open more connections.
    NoPermit,
    /// All addresses of the upstream are out. Nothing was sent.
    AllOut,
    /// The server could not be reached, or broke off before it answered.
    Unreachable,
    /// The server did not accept a connection, or did not answer, in time.
    Timeout,
    /// The request's own body failed.
    Client,
}

impl SendError {
    pub(crate) fn no_permit() -> Self {
        Self(Cause::NoPermit)
    }

    pub(crate) fn all_out() -> Self {
        Self(Cause::AllOut)
    }

    pub(crate) fn resolve(error: io::Error) -> Self {
        Self(Cause::Resolve(error))
    }

    pub(crate) fn connect(error: io::Error) -> Self {
        Self(Cause::Connect(error))
    }

    /// No connection stayed open for long enough to take the request.
    pub(crate) fn not_sent() -> Self {
        Self(Cause::Connect(io::ErrorKind::ConnectionReset.into()))
    }

    pub(crate) fn http1(error: hyper::Error) -> Self {
        Self(Cause::Http1(error))
    }

    pub(crate) fn http2(error: hyper::Error) -> Self {
        Self(Cause::Http2(error))
    }

    /// The server made no progress in time.
    #[must_use]
    pub fn timeout() -> Self {
        Self(Cause::Timeout)
    }

    /// The whole request took longer than this.
    #[must_use]
    pub fn late(limit: Duration) -> Self {
        Self(Cause::Late(limit))
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> SendErrorKind {
        match &self.0 {
            Cause::NoPermit => SendErrorKind::NoPermit,
            Cause::AllOut => SendErrorKind::AllOut,
            Cause::Timeout | Cause::Late(_) => SendErrorKind::Timeout,
            Cause::Resolve(error) | Cause::Connect(error) => match error.kind() {
                io::ErrorKind::TimedOut => SendErrorKind::Timeout,
                _ => SendErrorKind::Unreachable,
            },
            // The request's body comes from the client: if it fails, the client broke off.
            Cause::Http1(error) if error.is_user() => SendErrorKind::Client,
            // The system gave the connection up (`ETIMEDOUT`).
            Cause::Http1(error) | Cause::Http2(error) if has_timed_out(error) => {
                SendErrorKind::Timeout
            }
            Cause::Http1(_) | Cause::Http2(_) => SendErrorKind::Unreachable,
        }
    }
}

fn has_timed_out(error: &hyper::Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    })
}

/// Whether HTTP/2 says that the request was not processed: `REFUSED_STREAM`, or a `GOAWAY` with a
/// lower last stream (RFC 9113 §6.8, §8.7). The body of the request is not at fault: in HTTP/2, hyper
/// does not tell of its errors.
pub(crate) fn was_not_processed(error: &hyper::Error) -> bool {
    // hyper drops a request that waits for its stream to be opened when the connection ends: its
    // header was not written, or it is above the last stream of the `GOAWAY`.
    let is_unopened = error.is_user();
    is_unopened
        || causes(error)
            .filter_map(|cause| cause.downcast_ref::<h2::Error>())
            .any(|error| {
                let is_refused =
                    error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
                // h2 ends only the streams above the last one with the server's `GOAWAY`.
                error.is_remote() && (is_refused || error.is_go_away())
            })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::NoPermit => f.write_str(
                "too many open connections; raise the limit of open files (`ulimit -n`)",
            ),
            Cause::AllOut => {
                f.write_str("all addresses of the upstream are out; they are tried every second")
            }
            Cause::Resolve(error) => write!(f, "cannot resolve the upstream's name: {error}"),
            Cause::Connect(error) => write!(f, "cannot connect to the upstream: {error}"),
            Cause::Http1(error) | Cause::Http2(error) => {
                f.write_str("the upstream failed")?;
                for cause in causes(error) {
                    match cause.downcast_ref().and_then(tls_cause) {
                        Some(tls) => write!(f, ": {}", voxgate_tls::describe(tls))?,
                        None => write!(f, ": {cause}")?,
                    }
                }
                Ok(())
            }
            Cause::Timeout => f.write_str("the upstream did not answer in time"),
            Cause::Late(limit) => write!(f, "the request did not end within {} s", limit.as_secs()),
        }
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Cause::Resolve(error) | Cause::Connect(error) => Some(error),
            Cause::Http1(error) | Cause::Http2(error) => Some(error),
            _ => None,
        }
    }
}
