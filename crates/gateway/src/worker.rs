//! One core's share of the work.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use voxgate::{AuthLayer, Secret};

use super::config::Timeouts;
use super::connection::{self, Server};
use super::proxy::{Clients, Forward, Forwarding, Revocations};
use super::upstreams::Upstreams;

/// What each worker makes its own proxy from.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) layer: AuthLayer,
    pub(crate) upstreams: Upstreams,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) revocations: Revocations,
    pub(crate) timeouts: Timeouts,
    /// How many connections the process can hold, from clients and to upstreams; shared by all
    /// workers.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) upstream_places: Arc<Semaphore>,
}

/// A runtime for one thread.
pub(crate) fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// One core's share: its own listener, runtime and upstream connections.
pub(crate) struct Worker {
    pub(crate) listener: TcpListener,
    pub(crate) parts: Parts,
    /// Tells it to take no more connections, and to end when what it has is done.
    pub(crate) stop: CancellationToken,
}

/// A worker's thread, and how to follow it.
pub(crate) struct Running {
    thread: JoinHandle<()>,
    finished: CancellationToken,
    cut: CancellationToken,
}

impl Worker {
    /// Starts the worker on a thread of its own.
    ///
    /// # Errors
    ///
    /// When there is no thread or runtime to have.
    pub(crate) fn spawn(self, index: usize) -> io::Result<Running> {
        let runtime = runtime()?;
        let finished = CancellationToken::new();
        let cut = CancellationToken::new();
        let (finish, give_up) = (finished.clone(), cut.clone());
        let thread = thread::Builder::new()
            .name(format!("voxgate-{index}"))
            .spawn(move || {
                // Whatever happens to this worker, shutdown must not wait for it.
                let _finish = finish.drop_guard();
                runtime.block_on(async {
                    tokio::select! {
                        served = self.serve() => {
                            if let Err(error) = served {
                                tracing::error!(%error, "cannot serve the data listener");
                            }
                        }
                        () = give_up.cancelled() => {}
                    }
                });
                // Drops whatever is still in flight, and waits for no name to be resolved.
                runtime.shutdown_background();
            })?;
        Ok(Running {
            thread,
            finished,
            cut,
        })
    }

    /// Takes connections until it is told to stop, and returns when the last has ended.
    async fn serve(self) -> io::Result<()> {
        let Parts {
            layer,
            upstreams,
            deployment_key,
            revocations,
            timeouts,
            places,
            upstream_places,
        } = self.parts;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let tasks = TaskTracker::new();
        let forward = Forward::new(Forwarding {
            upstreams,
            clients: Clients::new(timeouts.connect, upstream_places),
            deployment_key,
            upstream_timeout: timeouts.upstream,
            revocations,
            tunnels: tasks.clone(),
        });
        let server = Server {
            auth: layer,
            proxy: forward,
            idle_timeout: timeouts.header_read,
        };
        connection::accept(listener, server, places, self.stop, tasks.clone()).await;
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

impl Running {
    /// Resolves when the worker has nothing more to do, or has failed.
    pub(crate) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// Drops whatever is still in flight, and waits for the thread to end.
    pub(crate) fn end(self) {
        self.cut.cancel();
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}
