//! Audit sinks: further receivers of audit records, beside the primary output.
//!
//! Each sink has a bounded queue, a worker thread and deadlines of its own. A receiver that does not
//! answer delays neither the primary output nor another sink. Requests wait only for sinks that
//! `VOXGATE_AUDIT_REQUIRED` names.

mod chunk;
mod config;
mod fan_out;
mod http;
mod queue;
mod stdout;
mod syslog;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use voxgate::audit::{DeliveryGuarantee, Output};

use self::chunk::Chunk;
pub(super) use self::config::{SinkSettings, http_url};
use self::fan_out::FanOut;
use self::http::HttpSink;
use self::queue::Delivery;
pub(crate) use self::queue::SinkQueue;
use self::stdout::StdoutSink;
use self::syslog::{Server, SyslogSink};
use self::worker::Sink;
pub(super) use self::worker::jittered;
use crate::tls;

/// All audit sinks of the process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditSinks(Vec<Arc<SinkQueue>>);

impl AuditSinks {
    /// Starts the worker threads.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started, or standard output cannot be opened.
    pub(super) fn start(targets: &SinkSettings, instance: &str) -> io::Result<Self> {
        let mut sinks = Self::default();
        let SinkSettings {
            stdout,
            syslog,
            http,
            roots,
        } = targets;
        if let Some(delivery) = stdout {
            sinks.add("stdout", *delivery, instance, StdoutSink::new()?)?;
        }
        if let Some((server, delivery)) = syslog {
            let tls = match server {
                Server::Tls(..) => Some(tls::client(roots)?),
                Server::Unix(_) | Server::Tcp(_) => None,
            };
            let sink = SyslogSink::new(server.clone(), tls, *delivery);
            sinks.add("syslog", *delivery, instance, sink)?;
        }
        if let Some((collector, delivery)) = http {
            let sink = HttpSink::new(collector.clone(), *delivery, roots);
            sinks.add("http", *delivery, instance, sink)?;
        }
        Ok(sinks)
    }

    fn add(
        &mut self,
        name: &'static str,
        delivery: Delivery,
        instance: &str,
        sink: impl Sink + 'static,
    ) -> io::Result<()> {
        let queue = Arc::new(SinkQueue::new(name, delivery, instance));
        worker::start(&queue, sink)?;
        self.0.push(queue);
        Ok(())
    }

    /// The queues of all sinks, in the order in which they get lines.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SinkQueue> {
        self.0.iter().map(|queue| &**queue)
    }

    /// An output that writes to `primary` and to all sinks.
    pub(super) fn fan_out<O: Output>(&self, primary: O, guarantee: DeliveryGuarantee) -> FanOut<O> {
        FanOut::new(primary, guarantee, &self.0)
    }

    /// Sends a checkpoint of the audit log to all sinks. A checkpoint that is stored elsewhere shows
    /// whether the log was changed or cut off.
    pub(super) fn checkpoint(&self, instance: &str, note: &str) {
        let chunk = Chunk::checkpoint(instance, note);
        for queue in &self.0 {
            queue.offer_or_lose(&chunk);
        }
    }
}
