//! The gateway: binds the listeners, runs the workers, handles signals, and drains.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use voxgate::audit::{Start, Stop};
use voxgate::env::Mode;
use voxgate::keys::TokenKeys;
use voxgate::policy::SharedPolicy;
use voxgate::token::TokenIssuer;
use voxgate::{AuditRecord, AuditSink, Limiter, PeerAddr, SharedKeyRing};
use voxgate_authorizer::Options;
use voxgate_forwarding::HeaderRules;
use voxgate_key_cli::control::ControlServer;
use voxgate_limits_redis::RedisSettings;
use voxgate_lists::FilterListsLayer;
use voxgate_request_tracing::{RequestLog, SpanSink, UpstreamSpans};
use voxgate_tls::ServerTls;
use voxgate_usage::UsageBook;

use super::authorizing::{self, AuthorizerConfig};
use super::config::Config;
use super::connection::ConnectionLimiter;
use super::control::ControlSettings;
use super::key_changes;
use super::key_watch::KeyWatch;
use super::listener::{self, BoundListener, ListenAddress, SocketFile};
use super::log_filter::LogFilter;
use super::metrics::Metrics;
use super::open_files;
use super::operations::Operations;
use super::proxy::Revocations;
use super::recorder::Recorder;
use super::rejections::Rejections;
use super::settings::authorizer::{AUTHORIZE_LISTEN, AuthorizerSettings};
use super::settings::{ADMIN_LISTEN, CONTROL_DIR, LISTEN, QUOTA_FILE};
use super::start_error::{StartError, cannot, cannot_use};
use super::supervisor::Supervisor;
use super::worker::{self, Worker, WorkerConfig};

/// How long the start waits for the revocations in Redis.
const REDIS_WITHIN: Duration = Duration::from_secs(2);

/// A gateway whose sockets are bound, before it accepts the first connection.
pub(crate) struct Gateway {
    listeners: Vec<BoundListener>,
    admin: BoundListener,
    /// For proxies that only ask: none, or one for each worker.
    authorizers: Vec<TcpListener>,
    /// The files of Unix sockets.
    socket_files: SocketFiles,
    /// TLS of the admin listener; `None` if it speaks none.
    admin_tls: Option<ServerTls>,
    addresses: Addresses,
    worker_config: WorkerConfig,
    start: Start,
    sink: Arc<Recorder>,
    metrics: Metrics,
    keys: Option<SharedKeyRing>,
    /// Follows the Secrets with keys, if they are watched.
    key_watch: Option<KeyWatch>,
    policy: SharedPolicy,
    limiter: Limiter,
    book: UsageBook,
    /// Removes its socket at the end.
    control: Option<ControlServer>,
    rejections: Arc<Rejections>,
    operations: Operations,
    /// The issuer of tokens whose public keys the admin listener shows.
    published: Option<TokenIssuer>,
}

/// The addresses that a gateway listens on.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) data: ListenAddress,
    pub(crate) admin: ListenAddress,
    pub(crate) authorizer: Option<SocketAddr>,
}

/// The files of the listeners that are Unix sockets. Each is removed while its socket is still open, so
/// that the file of another process is never taken for it.
struct SocketFiles {
    data: Option<SocketFile>,
    admin: Option<SocketFile>,
}

impl Gateway {
    /// Binds the sockets. Records go to `sink` and to `metrics`, and spans to `spans`.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub(crate) fn bind(
        config: Config,
        sink: impl AuditSink + 'static,
        metrics: Metrics,
        log: LogFilter,
        spans: Option<Arc<dyn SpanSink>>,
    ) -> Result<Self, StartError> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let bind = |setting, address: &ListenAddress, count| {
            let bound = listener::bind(address, config.listen_mode, count);
            bound.map_err(cannot_use(setting, format!("cannot listen on {address}")))
        };
        let mut admin = bind(ADMIN_LISTEN, &config.admin_listen, 1)?;
        let data = bind(LISTEN, &config.listen, workers)?;
        let authorizers = match &config.authorizer {
            Some(AuthorizerSettings { listen, .. }) => listener::bind_tcp(*listen, workers)
                .map_err(cannot_use(
                    AUTHORIZE_LISTEN,
                    format!("cannot listen on {listen}"),
                ))?,
            None => Vec::new(),
        };
        let addresses = Addresses {
            data: data.address,
            admin: admin.address,
            authorizer: match authorizers.first().map(TcpListener::local_addr) {
                Some(address) => {
                    let address =
                        address.map_err(cannot("cannot read the address of a listener"))?;
                    Some(PeerAddr(address).canonical())
                }
                None => None,
            },
        };
        let socket_files = SocketFiles {
            data: data.file,
            admin: admin.file,
        };

        let operations = Operations::new(&config.digest, config.effective, log);
        let mode = config.auth.mode();
        let mut start = Start {
            time: SystemTime::now(),
            mode: mode.as_str(),
            dialect: config.auth.dialect().as_str(),
            keys: config.auth.key_count(),
            key_ring: config.auth.key_ring_digest(),
            config: config.digest.clone(),
            policy: config
                .auth
                .policy()
                .file_digest()
                .unwrap_or_default()
                .to_owned(),
            public: config.auth.public_routes().join(", "),
            listen: addresses.data.to_string(),
            exposed: mode == Mode::Preconfigured && !addresses.data.is_local(),
            changed_settings: config
                .audit
                .log
                .as_ref()
                .and_then(|files| config.digests.changed_since_last_start(&files.directory)),
        };
        let sink = Arc::new(Recorder::new(
            sink,
            metrics.clone(),
            config.audit.addresses.clone(),
            RequestLog::new(spans.clone(), config.headers.scheme),
        ));
        let deployment_key = config.auth.deployment_key().cloned();
        let dialect = config.auth.dialect();
        let store = config.redis.as_ref().map(|redis| {
            let store = redis.start().map_err(io::Error::other);
            store.map(|store| (store, redis.on_failure()))
        });
        let store = store.transpose();
        let store = store.map_err(cannot("cannot share limits through Redis"))?;
        let header_fields = config.auth.limits().header_fields();
        let has_quotas = config.auth.has_quotas();
        let limits_store = store.clone();
        let layer = config.auth.into_layer_with(|limiter| {
            Ok(match limits_store {
                Some((store, on_failure)) => {
                    limiter.with_store(store).with_failure_mode(on_failure)
                }
                None => limiter,
            })
        });
        let layer = layer.map_err(io::Error::other);
        let layer = layer.map_err(cannot("cannot start the authentication layer"))?;
        let (cuts_tunnels, published) = (config.tokens.cut, config.tokens.published());
        let mint = config.minting.layer(
            config.tokens.issuer(),
            Arc::clone(&sink) as Arc<dyn AuditSink>,
        );
        let (keys, policy) = (layer.verifier().cloned(), layer.policy().clone());
        let key_watch = match (&keys, config.key_watch) {
            (Some(keys), Some(settings)) => {
                let watch = settings.start(keys, dialect);
                Some(watch.map_err(cannot("cannot watch the Secrets with keys"))?)
            }
            _ => None,
        };
        if let (Some(keys), Some(watch)) = (&keys, &key_watch) {
            let ring = keys.ring();
            (start.keys, start.key_ring) = (ring.len(), ring.digest());
            metrics.observe_key_watch(watch.clone());
        }
        metrics.observe_policy(policy.clone());
        let shared = config.tokens.shared_store(config.redis.as_ref());
        let shared = shared.map_err(cannot("cannot share tokens with other replicas"))?;
        let verifier = match keys.clone() {
            Some(keys) => config.tokens.verifier(keys, shared.clone()).map(Some),
            None => Ok(None),
        };
        let verifier = verifier.map_err(cannot("cannot start a thread that follows keys"))?;
        let layer = layer.map_verifier(|keys| {
            let verifier = verifier.unwrap_or_else(|| TokenKeys::without_tokens(keys));
            config.minting.verifier(verifier, shared)
        });
        let layer = match config.audit.pepper {
            Some(pepper) => layer.with_pepper(pepper),
            None => layer,
        };
        let audit_directory = config.audit.log.as_ref().map(|log| &*log.directory);
        let book = config
            .usage
            .open(store, audit_directory, header_fields, has_quotas);
        let book = book.map_err(cannot(format!("{QUOTA_FILE}: cannot count quotas")))?;
        metrics.observe_quotas(book.clone());
        let usage = config.usage.layer(book.clone());
        let layer = match config.usage.metering {
            true => layer.with_speech_meters(),
            false => layer,
        };
        let layer = match config.usage.answers {
            true => voxgate_usage::answered_routes()
                .into_iter()
                .fold(layer, |layer, rule| layer.with_first_rule(rule)),
            false => layer,
        };
        let limiter = layer.limiter().clone();
        metrics.observe_limits(limiter.clone());
        if let Some(keys) = &keys {
            metrics.observe_keys(keys.clone());
            key_changes::follow(keys, Arc::clone(&sink), metrics.clone());
        }
        key_changes::follow_policy(&policy, Arc::clone(&sink));
        let control = control(
            config.control.as_ref(),
            config.redis.as_ref(),
            keys.as_ref(),
        )?;
        if let Some(tls) = &config.tls {
            tls.follow()
                .map_err(cannot("cannot follow the TLS certificates"))?;
            metrics.observe_certificates(tls.clone());
        }
        if let Some(tls) = &config.admin_tls {
            tls.follow().map_err(cannot(
                "cannot follow the TLS certificate of the admin listener",
            ))?;
            metrics.observe_admin_certificate(tls.clone());
        }
        if let Some(tls) = &config.upstream_tls {
            tls.follow()
                .map_err(cannot("cannot follow the TLS files of the upstream"))?;
            metrics.observe_client_certificate(tls.clone());
        }
        let rejections = Arc::new(Rejections::new(
            Arc::clone(&sink) as Arc<dyn AuditSink>,
            metrics.rejections().clone(),
        ));
        let most = open_files::connections(match config.authorizer {
            Some(_) => authorizing::CONNECTIONS,
            None => 0,
        });
        let per_client = config.connections_per_client.unwrap_or((most / 2).max(1));
        let connections = ConnectionLimiter::new(most, per_client);
        metrics.observe_connections(connections.clone());
        let permits = Arc::new(Semaphore::new(most));
        let tls = config.upstream_tls.as_ref();
        let routes = config
            .upstreams
            .routes(config.forwarding, tls, workers, &permits);
        metrics.observe_upstreams(routes.clone());
        // In preconfigured mode, the gateway reads no caller's credential.
        let first_messages = (keys.is_some() && config.first_message_connections > 0).then(|| {
            let most = config.first_message_connections;
            let waiting = ConnectionLimiter::new(most, most.div_ceil(2));
            (dialect, waiting)
        });
        let credential_header = config.credential_header.map(|header| (dialect, header));
        let body_bytes = config.speech.body_bytes();
        let layer = layer
            .with_request_validation(config.request_validation)
            .with_audit_sink(Arc::clone(&sink))
            .with_speech(config.speech.with_quota(Arc::new(book.clone())));
        let authorizer = config.authorizer.map(|own| AuthorizerConfig {
            auth: layer.clone(),
            usage: usage.clone(),
            mint: mint.clone(),
            browsers: config.browsers.clone(),
            credential_header: credential_header.clone(),
            deployment_key: deployment_key.clone(),
            // The proxy that asks tells the server of itself.
            headers: HeaderRules {
                forwarded: config.headers.forwarded.clone(),
                ..HeaderRules::default()
            },
            clients: config.clients.clone(),
            options: Arc::new(Options::new(
                config.clients.proxies(),
                body_bytes,
                own.accepts_unenforced,
            )),
            connections: Arc::new(Semaphore::new(authorizing::CONNECTIONS)),
            rejections: Arc::clone(&rejections),
        });
        let worker_config = WorkerConfig {
            authorizer,
            first_messages,
            credential_header,
            rejections: Arc::clone(&rejections),
            routes,
            usage,
            tls: config.tls,
            clients: config.clients,
            browsers: config.browsers,
            traces: config.traces.with_spans(spans.clone()),
            spans: UpstreamSpans::new(spans),
            deployment_key,
            headers: config.headers,
            lists: FilterListsLayer::new(config.filters_lists),
            revocations: Revocations::new(keys.clone(), cuts_tunnels),
            failures: Arc::default(),
            timeouts: config.timeouts,
            connections,
            mint,
            layer,
        };
        Ok(Self {
            listeners: data.listeners,
            admin: admin.listeners.remove(0),
            authorizers,
            socket_files,
            admin_tls: config.admin_tls,
            addresses,
            worker_config,
            start,
            sink,
            metrics,
            keys,
            key_watch,
            policy,
            limiter,
            book,
            control,
            rejections,
            operations,
            published,
        })
    }

    /// The addresses, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Serves until SIGTERM or SIGINT, then drains and returns. A second signal ends the drain.
    ///
    /// # Errors
    ///
    /// When a thread or runtime cannot be started.
    pub(crate) fn run(self) -> Result<(), StartError> {
        let stop = CancellationToken::new();
        let drain = self.worker_config.timeouts.drain;
        if self.start.exposed {
            tracing::warn!(
                "preconfigured mode on a non-loopback address: every client that can reach this \
                 address is served without a credential"
            );
        }
        self.sink.record(&AuditRecord::Start(self.start));
        let mut authorizers = self.authorizers.into_iter();
        let workers = self
            .listeners
            .into_iter()
            .enumerate()
            .map(|(index, listener)| {
                Worker {
                    listener,
                    authorizer: authorizers.next(),
                    config: self.worker_config.clone(),
                    stop: stop.clone(),
                }
                .spawn(index)
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(cannot("cannot start a worker"))?;

        let supervisor = Supervisor {
            workers: &workers,
            stop,
            drain,
            addresses: self.addresses,
            keys: self.keys,
            key_watch: self.key_watch,
            policy: self.policy,
            sink: Arc::clone(&self.sink),
            rejections: Arc::clone(&self.rejections),
            published: self.published,
            routes: self.worker_config.routes.clone(),
            data_file: self.socket_files.data,
        };
        let runtime = worker::runtime().map_err(cannot("cannot start the runtime"))?;
        let admin = (self.admin, self.admin_tls);
        let admin_file = self.socket_files.admin;
        let end = runtime.block_on(supervisor.run(admin, self.metrics, self.operations))?;
        if !end.drained {
            tracing::warn!("closing the connections that are still in flight");
            self.sink.cut();
        }
        for worker in workers {
            worker.end();
        }
        drop(self.control);
        drop(admin_file);
        self.book.finish();
        self.limiter.shutdown();
        self.rejections.finish();
        self.sink.refusals().say();
        self.sink.record(&AuditRecord::Stop(Stop {
            time: SystemTime::now(),
            why: end.why,
        }));
        tracing::info!("stopped");
        end.result
    }
}

/// Shares revocations with the other replicas, and listens for them.
fn control(
    settings: Option<&ControlSettings>,
    redis: Option<&RedisSettings>,
    keys: Option<&SharedKeyRing>,
) -> Result<Option<ControlServer>, StartError> {
    let Some(keys) = keys else {
        return Ok(None);
    };
    let replicas = redis.map(|redis| redis.share_revocations(keys)).transpose();
    let replicas = replicas.map_err(io::Error::other);
    let replicas = replicas.map_err(cannot("cannot share revocations"))?;
    if let Some(replicas) = &replicas
        && !replicas.wait_until_read(REDIS_WITHIN)
    {
        tracing::error!(
            "Redis does not answer: this gateway starts without the revocations in it, and applies \
             them when it answers"
        );
    }
    let Some(settings) = settings else {
        return Ok(None);
    };
    let server = settings.listen(keys.clone(), replicas);
    server.map_err(cannot_use(CONTROL_DIR, "cannot make the control socket"))
}
