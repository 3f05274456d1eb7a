//! Resolves the names of servers, again and again.

use std::io;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use crate::RequestBody;
use crate::server::Server;
use crate::transport::Address;
use crate::upstream::{PROBE_EVERY, Upstream};

impl<B: RequestBody> Upstream<B> {
    /// Resolves names on schedule, and checks the servers' health. It never returns: run it as a task,
    /// once for all workers.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped; it can be called again.
    pub async fn maintain(&self) {
        tokio::join!(self.keep_resolving(), self.keep_checking());
    }

    /// Resolves the names until there is an address. The caller limits the time.
    pub(crate) async fn resolve_first(&self) -> io::Result<()> {
        let _turn = self.resolving().lock().await;
        match self.endpoints().is_empty() {
            true => self.resolve().await,
            false => Ok(()),
        }
    }

    async fn keep_resolving(&self) {
        if self
            .servers()
            .iter()
            .all(|own| own.literal_address().is_some())
        {
            return;
        }
        loop {
            {
                let _turn = self.resolving().lock().await;
                // A failure is logged for each server.
                let _ = self.resolve().await;
            }
            let settings = self.settings();
            // A failed connection asks for it, at most once a second.
            sleep(PROBE_EVERY.min(settings.resolve_every)).await;
            let rest = settings.resolve_every.saturating_sub(PROBE_EVERY);
            let _ = timeout(rest, self.resolve_now().notified()).await;
        }
    }

    /// Looks all names up. A server whose name cannot be resolved keeps its addresses.
    ///
    /// # Errors
    ///
    /// When there is no address at all.
    async fn resolve(&self) -> io::Result<()> {
        let mut found = Vec::new();
        let mut failure = None;
        for server in self.servers() {
            let before: Vec<Address> = self
                .endpoints()
                .iter()
                .filter(|endpoint| Arc::ptr_eq(endpoint.server(), server))
                .map(|endpoint| endpoint.address().clone())
                .collect();
            let addresses = match look_up(server).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    server.counters.failed_lookups.increment();
                    tracing::warn!(%server, %error, "cannot resolve the upstream's name; its last addresses stay in use");
                    failure = Some(error);
                    before
                }
            };
            found.push((Arc::clone(server), addresses));
        }
        self.set_addresses(&found);
        match failure {
            Some(error) if self.endpoints().is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

async fn look_up(server: &Server) -> io::Result<Vec<Address>> {
    if let Some(address) = server.literal_address() {
        return Ok(vec![address]);
    }
    let mut addresses = Vec::new();
    for address in tokio::net::lookup_host((server.host(), server.port())).await? {
        let address = Address::from(address);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        )),
        false => Ok(addresses),
    }
}
