//! A worker: the thread of one core, with its own listener, runtime and upstream connections.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;
use voxgate::{Dialect, Secret, SpeechAuthLayer};
use voxgate_browsers::BrowserLayer;
use voxgate_forwarding::HeaderRules;
use voxgate_lists::FilterListsLayer;
use voxgate_mint::MintLayer;
use voxgate_request_tracing::{TraceContextLayer, UpstreamSpans};
use voxgate_tls::ServerTls;
use voxgate_upstream::Client;

use voxgate_usage::UsageLayer;

use super::authorizing::AuthorizerConfig;
use super::config::Timeouts;
use super::connection::{self, ClientAddresses, ClientListener, ConnectionLimiter, Server};
use super::credential_header::CredentialHeader;
use super::first_message::FirstMessages;
use super::listener::BoundListener;
use super::minting::Verifier;
use super::proxy::{Forward, Forwarding, Revocations, UpstreamFailures};
use super::rejections::Rejections;
use super::upstreams::Routes;

/// What each worker builds its own proxy from.
#[derive(Clone)]
pub(crate) struct WorkerConfig {
    pub(crate) layer: SpeechAuthLayer<Verifier>,
    /// Answers requests for tokens.
    pub(crate) mint: MintLayer,
    pub(crate) routes: Routes,
    /// TLS of the data listener; `None` if it speaks none.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) clients: ClientAddresses,
    pub(crate) browsers: BrowserLayer,
    pub(crate) traces: TraceContextLayer,
    pub(crate) spans: UpstreamSpans,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) headers: HeaderRules,
    pub(crate) lists: FilterListsLayer,
    pub(crate) revocations: Revocations,
    pub(crate) failures: Arc<UpstreamFailures>,
    pub(crate) timeouts: Timeouts,
    /// The limit of connections from clients, shared by all workers.
    pub(crate) connections: ConnectionLimiter,
    pub(crate) rejections: Arc<Rejections>,
    /// A further header in which callers of this dialect send their key.
    pub(crate) credential_header: Option<(Dialect, CredentialHeader)>,
    pub(crate) usage: UsageLayer,
    /// The limit of WebSockets that wait for their first message, shared by all workers, and the
    /// dialect of the clients. `None` if no credential is read from a message.
    pub(crate) first_messages: Option<(Dialect, ConnectionLimiter)>,
    /// What proxies that only ask are answered with.
    pub(crate) authorizer: Option<AuthorizerConfig>,
}

/// A runtime for one thread.
pub(crate) fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// A worker that has not started yet.
pub(crate) struct Worker {
    pub(crate) listener: BoundListener,
    /// The listener for proxies that only ask.
    pub(crate) authorizer: Option<TcpListener>,
    pub(crate) config: WorkerConfig,
    /// Tells the worker to accept no more connections, and to end when the last one has ended.
    pub(crate) stop: CancellationToken,
}

/// The thread of a worker that runs.
pub(crate) struct RunningWorker {
    thread: JoinHandle<()>,
    finished: CancellationToken,
    cut: CancellationToken,
}

impl Worker {
    /// Starts the worker on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the thread or its runtime cannot be started.
    pub(crate) fn spawn(self, index: usize) -> io::Result<RunningWorker> {
        let runtime = runtime()?;
        let finished = CancellationToken::new();
        let cut = CancellationToken::new();
        let (finish, give_up) = (finished.clone(), cut.clone());
        let thread = thread::Builder::new()
            .name(format!("voxgate-{index}"))
            .spawn(move || {
                // Also when this worker panics, so that shutdown does not wait for it.
                let _finish = finish.drop_guard();
                runtime.block_on(async {
                    tokio::select! {
                        served = self.serve(index) => {
                            if let Err(error) = served {
                                tracing::error!(%error, "cannot serve the listener of VOXGATE_LISTEN");
                            }
                        }
                        () = give_up.cancelled() => {}
                    }
                });
                // Drops requests that are still in flight, and does not wait for DNS lookups.
                runtime.shutdown_background();
            })?;
        Ok(RunningWorker {
            thread,
            finished,
            cut,
        })
    }

    /// Accepts connections until told to stop. Returns when the last one has ended.
    async fn serve(self, index: usize) -> io::Result<()> {
        let WorkerConfig {
            layer,
            mint,
            routes,
            tls,
            clients,
            browsers,
            traces,
            spans,
            deployment_key,
            headers,
            lists,
            revocations,
            failures,
            timeouts,
            connections,
            rejections,
            first_messages,
            credential_header,
            usage,
            authorizer,
        } = self.config;
        let listener = ClientListener::from_std(self.listener)?;
        let tasks = TaskTracker::new();
        if let Some((authorizer, listener)) = authorizer.zip(self.authorizer) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (stop, connections) = (self.stop.clone(), tasks.clone());
            tasks.spawn(authorizer.accept(listener, stop, connections));
        }
        let client = Arc::new(Client::new(index));
        let upstreams: Vec<_> = routes.iter().map(Arc::clone).collect();
        let sweeper = Arc::clone(&client);
        tokio::spawn(async move { sweeper.close_idle(&upstreams).await });
        let forward = Forward::new(Forwarding {
            routes,
            client,
            deployment_key,
            headers,
            spans,
            upstream_timeout: timeouts.upstream,
            request_timeout: timeouts.request,
            tunnel_idle: timeouts.tunnel_idle,
            revocations,
            failures,
            tunnels: tasks.clone(),
        });
        let first_messages = first_messages.map(|(dialect, waiting)| {
            FirstMessages::new(dialect, waiting, tasks.clone(), self.stop.clone())
        });
        let server = Server {
            auth: layer,
            proxy: mint.layer(lists.layer(forward)),
            usage,
            header_timeout: timeouts.header_read,
            idle_timeout: timeouts.client_idle,
            tls,
            clients,
            browsers,
            traces,
            write_stall: connection::WRITE_STALL,
            rejections,
            first_messages,
            credential_header,
        };
        connection::accept(listener, server, connections, self.stop, tasks.clone()).await;
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

impl RunningWorker {
    /// Resolves when the worker has ended or failed.
    pub(crate) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// Drops requests that are still in flight, and waits for the thread to end.
    pub(crate) fn end(self) {
        self.cut.cancel();
        if self.thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
}
