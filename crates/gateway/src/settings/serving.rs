//! Listeners, the upstream, and timeouts.

use super::Setting;

pub(crate) const LISTEN: &str = "VOXGATE_LISTEN";
pub(crate) const LISTEN_MODE: &str = "VOXGATE_LISTEN_MODE";
pub(crate) const ADMIN_LISTEN: &str = "VOXGATE_ADMIN_LISTEN";
pub(crate) const UPSTREAM: &str = "VOXGATE_UPSTREAM";
pub(crate) const CONNECT_TIMEOUT: &str = "VOXGATE_CONNECT_TIMEOUT_SECONDS";
pub(crate) const UPSTREAM_TIMEOUT: &str = "VOXGATE_UPSTREAM_TIMEOUT_SECONDS";
pub(crate) const UPSTREAM_IDLE_TIMEOUT: &str = "VOXGATE_UPSTREAM_IDLE_TIMEOUT_SECONDS";
pub(crate) const TUNNEL_IDLE_TIMEOUT: &str = "VOXGATE_TUNNEL_IDLE_TIMEOUT_SECONDS";
pub(crate) const REQUEST_TIMEOUT: &str = "VOXGATE_REQUEST_TIMEOUT_SECONDS";
pub(crate) const UPSTREAM_RESOLVE: &str = "VOXGATE_UPSTREAM_RESOLVE_SECONDS";
pub(crate) const UPSTREAM_CONNECTION_AGE: &str = "VOXGATE_UPSTREAM_CONNECTION_AGE_SECONDS";
pub(crate) const UPSTREAM_HEALTH: &str = "VOXGATE_UPSTREAM_HEALTH";
pub(crate) const BODY_INSPECT: &str = "VOXGATE_BODY_INSPECT_KIB";
pub(crate) const BODY_HELD: &str = "VOXGATE_BODY_HELD_MIB";
pub(crate) const HEADER_READ_TIMEOUT: &str = "VOXGATE_HEADER_READ_TIMEOUT_SECONDS";
pub(crate) const CLIENT_IDLE_TIMEOUT: &str = "VOXGATE_CLIENT_IDLE_TIMEOUT_SECONDS";
pub(crate) const FORWARDED: &str = "VOXGATE_FORWARDED";
pub(crate) const VIA: &str = "VOXGATE_VIA";
pub(crate) const CONTROL_DIR: &str = "VOXGATE_CONTROL_DIR";
pub(crate) const HEADER_NAMES: &str = "VOXGATE_HEADER_NAMES";
pub(crate) const FORWARD_HEADERS: &str = "VOXGATE_FORWARD_HEADERS";
pub(crate) const FORWARD_HEADERS_ALSO: &str = "VOXGATE_FORWARD_HEADERS_ALSO";
pub(crate) const FILTER_LISTS: &str = "VOXGATE_FILTER_LISTS";
pub(crate) const CONNECTIONS_PER_CLIENT: &str = "VOXGATE_CONNECTIONS_PER_CLIENT";
pub(crate) const CREDENTIAL_HEADER: &str = "VOXGATE_CREDENTIAL_HEADER";
pub(crate) const FIRST_MESSAGE_CONNECTIONS: &str = "VOXGATE_FIRST_MESSAGE_CONNECTIONS";
pub(crate) const METRICS_KEYS: &str = "VOXGATE_METRICS_KEYS";
pub(crate) const DRAIN: &str = "VOXGATE_DRAIN_SECONDS";

const GROUP: &str = "Listeners and upstream";

pub(super) const SERVING: &[Setting] = &[
    Setting::new(
        GROUP,
        UPSTREAM,
        "URL",
        "TTS server to forward to; several servers of the same API, separated by spaces; for several \
         path prefixes, a comma-separated list of `prefix=URLs`. A URL is `http://`, `https://`, \
         `h2c://` (HTTP/2 without TLS), or `unix:` and the path of a Unix socket",
    )
    .with_default("required"),
    Setting::new(
        GROUP,
        LISTEN,
        "ADDRESS",
        "Address on which clients connect, or `unix:` and the path of a Unix socket",
    )
    .with_default("127.0.0.1:8080"),
    Setting::new(
        GROUP,
        ADMIN_LISTEN,
        "ADDRESS",
        "Address of `/livez`, `/readyz` and `/metrics`, or `unix:` and the path of a Unix socket",
    )
    .with_default("127.0.0.1:8081"),
    Setting::new(
        GROUP,
        LISTEN_MODE,
        "MODE",
        "Permissions of the files of Unix sockets on which the gateway listens, in octal",
    )
    .with_default("0660"),
    Setting::new(
        GROUP,
        CONTROL_DIR,
        "PATH",
        "Directory of the socket by which `voxgate key revoke --now` reaches this gateway",
    )
    .with_default("the directory of the keys file, if the gateway may write to it"),
    Setting::new(
        GROUP,
        CONNECT_TIMEOUT,
        "SECONDS",
        "Timeout for a connection to the TTS server, including name resolution",
    )
    .with_default("5"),
    Setting::new(
        GROUP,
        UPSTREAM_TIMEOUT,
        "SECONDS",
        "Longest time without progress before the TTS server begins its response",
    )
    .with_default("60"),
    Setting::new(
        GROUP,
        UPSTREAM_IDLE_TIMEOUT,
        "SECONDS",
        "Longest time in which the TTS server sends nothing amid its response; 0 for no limit",
    )
    .with_default("300"),
    Setting::new(
        GROUP,
        TUNNEL_IDLE_TIMEOUT,
        "SECONDS",
        "Longest time in which a WebSocket carries nothing; 0 for no limit",
    )
    .with_default("0"),
    Setting::new(
        GROUP,
        REQUEST_TIMEOUT,
        "SECONDS",
        "Longest time from the acceptance of a request to the end of its response, except for a \
         WebSocket; 0 for no limit",
    )
    .with_default("0"),
    Setting::new(
        GROUP,
        UPSTREAM_RESOLVE,
        "SECONDS",
        "How often the names of TTS servers are resolved again",
    )
    .with_default("30"),
    Setting::new(
        GROUP,
        UPSTREAM_CONNECTION_AGE,
        "SECONDS",
        "Age after which a connection to a TTS server gets no more requests; 0 for no limit",
    )
    .with_default("300"),
    Setting::new(
        GROUP,
        UPSTREAM_HEALTH,
        "REQUEST",
        "Request that every address of the TTS servers must answer with a status from 200 to 299, every \
         5 seconds, such as `GET /health`",
    ),
    Setting::new(
        GROUP,
        HEADER_READ_TIMEOUT,
        "SECONDS",
        "Timeout for the header of a request, and for the first bytes of a connection",
    )
    .with_default("30"),
    Setting::new(
        GROUP,
        CLIENT_IDLE_TIMEOUT,
        "SECONDS",
        "Idle timeout of a client connection; longer than that of a load balancer in front, which is \
         often 60",
    )
    .with_default("75"),
    Setting::new(
        GROUP,
        DRAIN,
        "SECONDS",
        "Longest wait at shutdown for requests and tunnels in flight",
    )
    .with_default("30"),
    Setting::new(
        GROUP,
        BODY_INSPECT,
        "KIB",
        "Largest request body in KiB that is read for voices, models, languages and characters; a \
         larger body is refused (413) to a key with such limits, and not counted for other keys",
    )
    .with_default("256"),
    Setting::new(
        GROUP,
        BODY_HELD,
        "MIB",
        "Most memory in MiB for all request bodies that are being read at once",
    )
    .with_default("64"),
    Setting::new(
        GROUP,
        HEADER_NAMES,
        "ACTION",
        "What happens to a request header whose name has a character other than letters, digits and \
         `-`: `drop` (the header is not forwarded) or `refuse` (answer 400)",
    )
    .with_default("drop"),
    Setting::new(
        GROUP,
        FORWARD_HEADERS,
        "HEADERS",
        "Request headers to forward: `all` (except those that the gateway removes) or `listed` (only \
         those that the clients of the dialect need)",
    )
    .with_default("all"),
    Setting::new(
        GROUP,
        FORWARD_HEADERS_ALSO,
        "NAMES",
        "With `VOXGATE_FORWARD_HEADERS=listed`: further request headers to forward, separated by commas",
    ),
    Setting::new(
        GROUP,
        FORWARDED,
        "SWITCH",
        "`on` or `off`: whether the TTS server gets a `Forwarded` header (RFC 7239) besides \
         `X-Forwarded-*`",
    )
    .with_default("off"),
    Setting::new(
        GROUP,
        VIA,
        "NAME",
        "Name of this gateway in the `Via` header of forwarded requests and responses (RFC 9110, \
         section 7.6.3); without a name, there is no such header",
    ),
    Setting::new(
        GROUP,
        FILTER_LISTS,
        "SWITCH",
        "`on` or `off`: whether lists of voices and models have only those that the key may use",
    )
    .with_default("off"),
    Setting::new(
        GROUP,
        CONNECTIONS_PER_CLIENT,
        "NUMBER",
        "Most open connections of one client address; for IPv6, of one `/64` network",
    )
    .with_default("half of all connections that the limit of open files allows"),
    Setting::new(
        GROUP,
        CREDENTIAL_HEADER,
        "NAME",
        "Further request header in which callers send their key, with or without the scheme of the \
         dialect, such as the one that `API_KEY_HEADER` names for Rime's API container",
    )
    .with_default("none"),
    Setting::new(
        GROUP,
        FIRST_MESSAGE_CONNECTIONS,
        "NUMBER",
        "Most WebSockets that wait for a credential in their first message, half of them of one client \
         address; `0` refuses a WebSocket without a credential before its upgrade",
    )
    .with_default("1000"),
    Setting::new(
        GROUP,
        METRICS_KEYS,
        "NUMBER",
        "Most keys with metrics of their own; those of further keys are summed as `(other)`",
    )
    .with_default("1000"),
];
