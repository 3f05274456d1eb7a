//! The proxies that ask, and where each of them names the request that it asks about.

use http::HeaderName;

/// The path of `Check` (`envoy/service/auth/v3/external_auth.proto`).
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The path of the health check (`grpc/health/v1/health.proto`).
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";

const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
const ORIGINAL_UPGRADE: HeaderName = HeaderName::from_static("x-original-upgrade");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Every header in which a proxy names the request that it asks about. `X-Forwarded-Host` is not among
/// them, because proxies also send it beside other fields.
pub(crate) const ALL_FIELDS: [HeaderName; 7] = [
    ORIGINAL_METHOD,
    ORIGINAL_URI,
    ORIGINAL_URL,
    ORIGINAL_HOST,
    ORIGINAL_UPGRADE,
    FORWARDED_METHOD,
    FORWARDED_URI,
];

/// A proxy, and the way in which it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// nginx `auth_request`: `X-Original-Method`, `X-Original-URI`, `X-Original-Host` and, for an upgrade,
    /// `X-Original-Upgrade`.
    Nginx,
    /// Traefik `forwardAuth`: `X-Forwarded-Method`, `X-Forwarded-Uri` and `X-Forwarded-Host`.
    Traefik,
    /// Caddy `forward_auth`: the same fields as Traefik.
    Caddy,
    /// HAProxy with the Lua script of this project: the same fields as nginx.
    Haproxy,
    /// Envoy `ext_authz` over HTTP: the path of the request behind `/authorize/envoy_http`, its method and
    /// its authority.
    EnvoyHttp,
    /// Envoy `ext_authz` over gRPC: `attributes.request.http`.
    EnvoyGrpc,
}

/// The headers that name the request.
pub(crate) struct Fields {
    pub(crate) method: HeaderName,
    pub(crate) uri: HeaderName,
    pub(crate) host: HeaderName,
    pub(crate) upgrade: Option<HeaderName>,
}

impl Proxy {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Nginx,
        Self::Traefik,
        Self::Caddy,
        Self::Haproxy,
        Self::EnvoyHttp,
        Self::EnvoyGrpc,
    ];

    /// The name in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::EnvoyHttp => "envoy_http",
            Self::EnvoyGrpc => "envoy_grpc",
        }
    }

    /// The path at which the proxy asks. For [`EnvoyHttp`](Self::EnvoyHttp), what its path begins with.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Nginx => "/authorize/nginx",
            Self::Traefik => "/authorize/traefik",
            Self::Caddy => "/authorize/caddy",
            Self::Haproxy => "/authorize/haproxy",
            Self::EnvoyHttp => "/authorize/envoy_http",
            Self::EnvoyGrpc => CHECK,
        }
    }

    /// The proxy that asks at this path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|proxy| match path.strip_prefix(proxy.path()) {
                Some("") => *proxy != Self::EnvoyHttp,
                Some(rest) => *proxy == Self::EnvoyHttp && rest.starts_with('/'),
                None => false,
            })
    }

    /// The headers that name the request; `None` for Envoy.
    pub(crate) fn fields(self) -> Option<Fields> {
        match self {
            Self::Nginx | Self::Haproxy => Some(Fields {
                method: ORIGINAL_METHOD,
                uri: ORIGINAL_URI,
                host: ORIGINAL_HOST,
                upgrade: Some(ORIGINAL_UPGRADE),
            }),
            Self::Traefik | Self::Caddy => Some(Fields {
                method: FORWARDED_METHOD,
                uri: FORWARDED_URI,
                host: FORWARDED_HOST,
                upgrade: None,
            }),
            Self::EnvoyHttp | Self::EnvoyGrpc => None,
        }
    }

    /// Whether this proxy can send the body of the request along.
    pub(crate) fn sends_bodies(self) -> bool {
        matches!(self, Self::Traefik | Self::EnvoyHttp | Self::EnvoyGrpc)
    }
}
