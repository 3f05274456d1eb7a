//! Copies of the audit trail, beside the primary output.
//!
//! Each copy has a bounded queue, a thread and deadlines of its own, so that a receiver that is
//! stuck holds nobody up: neither the primary output nor another copy. Requests wait for a copy only
//! if the promise binds it.

mod chunk;
mod config;
mod copy;
mod courier;
mod fan_out;
mod http;
mod stdout;
mod syslog;
mod tls;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use voxgate::audit::{DeliveryGuarantee, Output};

use self::chunk::Chunk;
pub(super) use self::config::Targets;
use self::copy::Bound;
pub(crate) use self::copy::Copy;
use self::courier::Deliver;
use self::fan_out::FanOut;
use self::http::HttpSink;
use self::stdout::Stdout;
use self::syslog::{Server, Syslog};

/// All copies of a process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies(Vec<Arc<Copy>>);

impl Copies {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When there is no thread to have, or standard output cannot be had.
    pub(super) fn start(targets: &Targets, instance: &str) -> io::Result<Self> {
        let mut copies = Self::default();
        let Targets {
            stdout,
            syslog,
            http,
            roots,
        } = targets;
        if let Some(bound) = stdout {
            copies.add("stdout", *bound, instance, Stdout::new()?)?;
        }
        if let Some((server, bound)) = syslog {
            let tls = match server {
                Server::Tls(..) => Some(tls::client(roots)?),
                Server::Unix(_) | Server::Tcp(_) => None,
            };
            let sink = Syslog::new(server.clone(), tls, *bound);
            copies.add("syslog", *bound, instance, sink)?;
        }
        if let Some((collector, bound)) = http {
            let sink = HttpSink::new(collector.clone(), *bound, roots);
            copies.add("http", *bound, instance, sink)?;
        }
        Ok(copies)
    }

    fn add(
        &mut self,
        name: &'static str,
        bound: Bound,
        instance: &str,
        sink: impl Deliver + 'static,
    ) -> io::Result<()> {
        let copy = Arc::new(Copy::new(name, bound, instance));
        courier::start(&copy, sink)?;
        self.0.push(copy);
        Ok(())
    }

    /// The copies, in the order in which they take lines.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Copy> {
        self.0.iter().map(|copy| &**copy)
    }

    /// What writes to the primary output and to all copies.
    pub(super) fn fan_out<O: Output>(&self, primary: O, promise: DeliveryGuarantee) -> FanOut<O> {
        FanOut::new(primary, promise, &self.0)
    }

    /// Passes a checkpoint on: kept apart from the log, it shows what the log alone cannot.
    pub(super) fn checkpoint(&self, instance: &str, note: &str) {
        let chunk = Chunk::checkpoint(instance, note);
        for copy in &self.0 {
            copy.offer_or_lose(&chunk);
        }
    }
}
