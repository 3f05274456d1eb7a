//! The gateway as a whole: listeners, workers, signals, drain.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use futures_util::future::{join_all, select_all};
use tokio::runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_layer::Layer as _;
use voxgate::audit::{Ended, Start};
use voxgate::env::Mode;
use voxgate::{AuditRecord, AuditSink, AuthLayer, Dialect, Screen, Secret};

use super::admin::{self, Readiness};
use super::config::{Config, Timeouts};
use super::connection::{self, Server};
use super::listener;
use super::metrics::Metrics;
use super::proxy::{Clients, Forward, Forwarding};
use super::signals::Signals;
use super::upstreams::Upstreams;

/// A gateway with its sockets bound, before it takes the first request.
pub(crate) struct Gateway {
    listeners: Vec<TcpListener>,
    admin: TcpListener,
    addresses: Addresses,
    parts: Parts,
    start: Start,
    sink: Arc<Sinks>,
    metrics: Metrics,
}

/// Where a gateway listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What each worker makes its own proxy from.
#[derive(Clone)]
struct Parts {
    layer: AuthLayer,
    upstreams: Upstreams,
    dialect: Dialect,
    deployment_key: Option<Secret>,
    timeouts: Timeouts,
}

/// A socket that could not be bound, or a thread or runtime that could not be started.
#[derive(Debug)]
pub(crate) struct StartError {
    what: String,
    error: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

fn cannot(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    |error| StartError { what, error }
}

impl Gateway {
    /// Binds the sockets. Records go to `sink` and to `metrics`.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub(crate) fn bind(
        config: Config,
        sink: impl AuditSink + 'static,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let bind = |address, count| {
            let listeners = listener::bind(address, count);
            listeners.map_err(cannot(format!("cannot listen on {address}")))
        };
        let mut admin = bind(config.admin_listen, 1)?;
        let listeners = bind(config.listen, workers)?;
        let address = |listener: Option<&TcpListener>| {
            let address = listener.map(TcpListener::local_addr);
            address
                .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
                .map_err(cannot("no listener"))
        };
        let addresses = Addresses {
            data: address(listeners.first())?,
            admin: address(admin.first())?,
        };

        let mode = config.auth.mode();
        let start = Start {
            time: SystemTime::now(),
            mode: mode.as_str(),
            dialect: config.auth.dialect().as_str(),
            keys: config.auth.key_count(),
            listen: addresses.data,
            exposed: mode == Mode::Preconfigured && !addresses.data.ip().is_loopback(),
        };
        let sink = Arc::new(Sinks {
            main: Box::new(sink),
            metrics: metrics.clone(),
            cut: AtomicBool::new(false),
        });
        let parts = Parts {
            upstreams: config.upstreams,
            dialect: config.auth.dialect(),
            deployment_key: config.auth.deployment_key().cloned(),
            timeouts: config.timeouts,
            layer: config
                .auth
                .into_layer()
                .screen(Screen::Proxy)
                .audit(Arc::clone(&sink)),
        };
        Ok(Self {
            listeners,
            admin: admin.remove(0),
            addresses,
            parts,
            start,
            sink,
            metrics,
        })
    }

    /// Where it listens, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until SIGTERM or SIGINT, then drains and returns. A second signal ends it at once.
    ///
    /// # Errors
    ///
    /// When a thread or runtime cannot be started.
    pub(crate) fn run(self) -> Result<(), StartError> {
        let stop = CancellationToken::new();
        let drain = self.parts.timeouts.drain;
        self.sink.record(&AuditRecord::Start(self.start));
        let workers = self
            .listeners
            .into_iter()
            .enumerate()
            .map(|(index, listener)| {
                Worker {
                    listener,
                    parts: self.parts.clone(),
                    stop: stop.clone(),
                }
                .spawn(index)
            })
            .collect::<Result<Vec<_>, _>>()?;

        let readiness = Readiness::default();
        let control = runtime().map_err(cannot("cannot start the runtime"))?;
        let (drained, result) = control.block_on(async {
            let mut signals = Signals::new().map_err(cannot("cannot listen for signals"))?;
            let listener = tokio::net::TcpListener::from_std(self.admin).map_err(cannot("cannot serve the admin listener"))?;
            let router = admin::router(readiness.clone(), self.metrics);
            tokio::spawn(async move { axum::serve(listener, router).await });
            readiness.set(true);
            let Addresses { data, admin } = self.addresses;
            tracing::info!(address = %data, %admin, "listening");

            let (signal, result) = tokio::select! {
                signal = signals.next() => (signal, Ok(())),
                () = one_stopped(&workers) => ("none", Err(cannot("cannot go on")(io::Error::other("a worker stopped")))),
            };
            tracing::info!(signal, seconds = drain.as_secs(), "draining");
            readiness.set(false);
            stop.cancel();
            let drained = tokio::select! {
                finished = timeout(drain, all_finished(&workers)) => finished.is_ok(),
                signal = signals.next() => {
                    tracing::warn!(signal, "second signal: not waiting any longer");
                    false
                }
            };
            Ok((drained, result))
        })?;
        if !drained {
            tracing::warn!("cutting what is still in flight");
            self.sink.cut.store(true, Ordering::Relaxed);
        }
        for worker in workers {
            worker.cut.cancel();
            if worker.thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        tracing::info!("stopped");
        result
    }
}

async fn all_finished(workers: &[Running]) {
    join_all(workers.iter().map(|worker| worker.finished.cancelled())).await;
}

async fn one_stopped(workers: &[Running]) {
    select_all(
        workers
            .iter()
            .map(|worker| Box::pin(worker.finished.cancelled())),
    )
    .await;
}

fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// One core's share: its own listener, runtime and upstream connections.
struct Worker {
    listener: TcpListener,
    parts: Parts,
    stop: CancellationToken,
}

/// A worker's thread, and how to follow it.
struct Running {
    thread: JoinHandle<()>,
    finished: CancellationToken,
    cut: CancellationToken,
}

impl Worker {
    fn spawn(self, index: usize) -> Result<Running, StartError> {
        let runtime = runtime().map_err(cannot("cannot start a worker's runtime"))?;
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
                // The runtime is dropped here, and with it whatever is still in flight.
            });
        let thread = thread.map_err(cannot("cannot start a worker"))?;
        Ok(Running {
            thread,
            finished,
            cut,
        })
    }

    async fn serve(self) -> io::Result<()> {
        let Parts {
            layer,
            upstreams,
            dialect,
            deployment_key,
            timeouts,
        } = self.parts;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let tasks = TaskTracker::new();
        let forward = Forward::new(Forwarding {
            upstreams,
            clients: Clients::new(timeouts.connect),
            dialect,
            deployment_key,
            upstream_timeout: timeouts.upstream,
            tunnels: tasks.clone(),
        });
        let server = Server {
            service: layer.layer(forward),
            header_read_timeout: timeouts.header_read,
        };
        connection::accept(listener, server, self.stop, tasks.clone()).await;
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

/// The sinks of the gateway, in the order in which they take a record.
struct Sinks {
    main: Box<dyn AuditSink>,
    metrics: Metrics,
    /// Set when the gateway gives up on what is in flight.
    cut: AtomicBool,
}

impl Sinks {
    fn pass(&self, record: &AuditRecord<'_>) {
        self.main.record(record);
        self.metrics.record(record);
    }
}

impl AuditSink for Sinks {
    fn record(&self, record: &AuditRecord<'_>) {
        match record {
            // Dropping an answer looks as if the caller had gone; here it was us.
            AuditRecord::Completion(completion)
                if completion.ended == Ended::ClientAbort && self.cut.load(Ordering::Relaxed) =>
            {
                let mut completion = completion.clone();
                completion.ended = Ended::Drained;
                self.pass(&AuditRecord::Completion(completion));
            }
            other => self.pass(other),
        }
    }
}
