//! A worker: the thread of one core, with its own listener, runtime and upstream connections.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;
use voxgate::{Dialect, Secret, SpeechAuthLayer};
use voxgate_lists::FilterListsLayer;
use voxgate_tls::ServerTls;

use super::config::Timeouts;
use super::connection::{self, ClientAddresses, ConnectionLimiter, Server};
use super::credential_header::CredentialHeader;
use super::first_message::FirstMessages;
use super::proxy::{Clients, Forward, ForwardedHeaders, Forwarding, Revocations};
use super::rejections::Rejections;
use super::upstreams::Upstreams;

/// What each worker builds its own proxy from.
#[derive(Clone)]
pub(crate) struct WorkerConfig {
    pub(crate) layer: SpeechAuthLayer,
    /// TLS of the data listener; `None` if it speaks none.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) clients: ClientAddresses,
    pub(crate) upstreams: Upstreams,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) forwarded_headers: ForwardedHeaders,
    pub(crate) lists: FilterListsLayer,
    pub(crate) revocations: Revocations,
    pub(crate) timeouts: Timeouts,
    /// The limits of connections from clients and to upstreams, shared by all workers.
    pub(crate) connections: ConnectionLimiter,
    pub(crate) upstream_permits: Arc<Semaphore>,
    pub(crate) rejections: Arc<Rejections>,
    /// A further header in which callers of this dialect send their key.
    pub(crate) credential_header: Option<(Dialect, CredentialHeader)>,
    /// The limit of WebSockets that wait for their first message, shared by all workers, and the
    /// dialect of the clients. `None` if no credential is read from a message.
    pub(crate) first_messages: Option<(Dialect, ConnectionLimiter)>,
}

/// A runtime for one thread.
pub(crate) fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// A worker that has not started yet.
pub(crate) struct Worker {
    pub(crate) listener: TcpListener,
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
                        served = self.serve() => {
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
    async fn serve(self) -> io::Result<()> {
        let WorkerConfig {
            layer,
            tls,
            clients,
            upstreams,
            deployment_key,
            forwarded_headers,
            lists,
            revocations,
            timeouts,
            connections,
            upstream_permits,
            rejections,
            first_messages,
            credential_header,
        } = self.config;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let tasks = TaskTracker::new();
        let forward = Forward::new(Forwarding {
            upstreams,
            clients: Clients::new(timeouts.connect, upstream_permits),
            deployment_key,
            forwarded_headers,
            scheme: if tls.is_some() { "https" } else { "http" },
            upstream_timeout: timeouts.upstream,
            revocations,
            tunnels: tasks.clone(),
        });
        let first_messages = first_messages.map(|(dialect, waiting)| {
            FirstMessages::new(dialect, waiting, tasks.clone(), self.stop.clone())
        });
        let server = Server {
            auth: layer,
            proxy: lists.layer(forward),
            tls,
            clients,
            idle_timeout: timeouts.header_read,
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
