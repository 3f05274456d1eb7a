//! Serves until a signal: reloads, notices a worker that ends, and drains.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join_all, select_all};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use voxgate::SharedKeyRing;
use voxgate::policy::SharedPolicy;
use voxgate::token::TokenIssuer;
use voxgate_tls::ServerTls;

use super::admin::{self, Readiness};
use super::connection::ClientListener;
use super::gateway::Addresses;
use super::key_watch::KeyWatch;
use super::listener::{BoundListener, SocketFile};
use super::metrics::Metrics;
use super::operations::Operations;
use super::recorder::Recorder;
use super::rejections::Rejections;
use super::signals::Signals;
use super::start_error::{StartError, cannot};
use super::upstreams::Routes;
use super::worker::RunningWorker;

/// Why serving ended, and how.
pub(crate) struct ServeEnd {
    pub(crate) why: &'static str,
    /// Whether all requests ended before the drain timeout.
    pub(crate) drained: bool,
    /// `Err` when no signal asked for it.
    pub(crate) result: Result<(), StartError>,
}

/// Watches the workers and the signals, and serves the admin listener.
pub(crate) struct Supervisor<'a> {
    pub(crate) workers: &'a [RunningWorker],
    pub(crate) stop: CancellationToken,
    pub(crate) drain: Duration,
    pub(crate) addresses: Addresses,
    pub(crate) keys: Option<SharedKeyRing>,
    pub(crate) key_watch: Option<KeyWatch>,
    pub(crate) policy: SharedPolicy,
    pub(crate) sink: Arc<Recorder>,
    pub(crate) rejections: Arc<Rejections>,
    pub(crate) published: Option<TokenIssuer>,
    pub(crate) routes: Routes,
    /// The file of the data listener, if it is a Unix socket.
    pub(crate) data_file: Option<SocketFile>,
}

impl Supervisor<'_> {
    fn reload(&self) -> bool {
        let keys = self.keys.as_ref().is_some_and(SharedKeyRing::reload);
        let policy = self.policy.reload();
        match (keys, policy) {
            (true, true) => tracing::info!("SIGHUP: reloading the keys and the policy"),
            (true, false) => tracing::info!("SIGHUP: reloading the keys"),
            (false, true) => tracing::info!("SIGHUP: reloading the policy"),
            (false, false) => {}
        }
        keys || policy
    }

    /// Serves the admin listener until the gateway has drained.
    pub(crate) async fn run(
        self,
        (admin, tls): (BoundListener, Option<ServerTls>),
        metrics: Metrics,
        operations: Operations,
    ) -> Result<ServeEnd, StartError> {
        let mut signals = Signals::new().map_err(cannot("cannot listen for signals"))?;
        let listener =
            ClientListener::from_std(admin).map_err(cannot("cannot serve the admin listener"))?;
        let readiness = Readiness::new(metrics.audit().cloned(), self.key_watch.clone());
        let router = admin::router(readiness.clone(), metrics, self.published.clone());
        let router = router.merge(operations.router());
        tokio::spawn(admin::serve(listener, tls, router));
        let rejections = Arc::clone(&self.rejections);
        tokio::spawn(async move { rejections.follow().await });
        let sink = Arc::clone(&self.sink);
        tokio::spawn(async move { sink.refusals().follow().await });
        for upstream in self.routes.iter().map(Arc::clone) {
            tokio::spawn(async move { upstream.maintain().await });
        }
        readiness.set(true);
        let Addresses {
            data,
            admin,
            authorizer,
        } = &self.addresses;
        let authorizer = authorizer.map(display);
        tracing::info!(address = %data, %admin, authorizer, "listening");

        let one_stopped = select_all(self.workers.iter().map(|worker| worker.finished().boxed()));
        let (why, result) = tokio::select! {
            signal = signals.end(|| self.reload()) => (signal, Ok(())),
            _ = one_stopped => {
                let error = io::Error::other("its thread ended unexpectedly");
                ("a worker stopped", Err(cannot("a worker stopped")(error)))
            }
        };
        tracing::info!(why, seconds = self.drain.as_secs(), "draining");
        readiness.set(false);
        drop(self.data_file);
        self.stop.cancel();
        let all_finished = join_all(self.workers.iter().map(RunningWorker::finished));
        let drained = tokio::select! {
            finished = timeout(self.drain, all_finished) => finished.is_ok(),
            signal = signals.end(|| true) => {
                tracing::warn!(signal, "second signal: stopping without waiting for requests in flight");
                false
            }
        };
        Ok(ServeEnd {
            why,
            drained,
            result,
        })
    }
}
