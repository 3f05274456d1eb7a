//! Headers with which one server tells the next another caller, address, host, method or path than
//! the gateway checked. A client's own are removed.

use std::borrow::Cow;

use http::HeaderName;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
    CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING, USER_AGENT,
};

/// What most requests consist of. None is reserved; they are found without a search.
const COMMON: [HeaderName; 12] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    ORIGIN,
    TRANSFER_ENCODING,
    USER_AGENT,
];

/// The names, and who sets or reads them. A `*` at the end stands for any rest. The list is in the
/// order of its names, and no entry covers another, so that one look-up finds the entry of a name.
pub const RESERVED: [(&str, &str); 95] = [
    ("ali-cdn-real-ip", "Alibaba Cloud CDN"),
    ("cdn-src-ip", "Alibaba Cloud and Tencent Cloud CDN"),
    ("cf-*", "Cloudflare, Cloudflare Access"),
    ("client-cert*", "RFC 9440"),
    (
        "client-ip",
        "proxies without a standard; read by PHP frameworks",
    ),
    ("cloudfront-*", "Amazon CloudFront"),
    ("do-connecting-ip", "DigitalOcean App Platform"),
    ("fastly-*", "Fastly"),
    ("fly-*", "Fly.io"),
    ("forwarded", "RFC 7239"),
    (
        "front-end-https",
        "Microsoft IIS and Exchange; read by Rails",
    ),
    ("impersonate-*", "Kubernetes API server"),
    ("incap-*", "Imperva"),
    ("iv-*", "IBM WebSEAL"),
    ("l5d-*", "Linkerd"),
    ("mellon-*", "Apache mod_auth_mellon"),
    ("oidc-*", "Apache mod_auth_openidc"),
    ("path-info", "CGI (RFC 3875); Gunicorn `forwarder_headers`"),
    (
        "proxy*",
        "CVE-2016-5385 (httpoxy); Apache httpd and WebLogic plug-ins",
    ),
    ("remote-*", "CGI (RFC 3875); Authelia"),
    (
        "script-name",
        "CGI (RFC 3875); Gunicorn `forwarder_headers`",
    ),
    ("shib-*", "Shibboleth"),
    ("sm-*", "SiteMinder"),
    ("ssl-*", "ingress-nginx, HAProxy"),
    ("tailscale-*", "Tailscale Serve"),
    ("true-client-ip", "Akamai, Cloudflare"),
    ("wl-proxy-*", "Oracle WebLogic plug-ins"),
    ("x-accel-*", "nginx; Rack::Sendfile"),
    ("x-access-token", "Apache APISIX"),
    ("x-amz-cf-*", "Amazon CloudFront"),
    ("x-amzn-mtls-*", "AWS Application Load Balancer"),
    ("x-amzn-oidc-*", "AWS Application Load Balancer"),
    ("x-amzn-tls-*", "AWS Application Load Balancer"),
    ("x-anonymous-consumer", "Kong"),
    ("x-apigateway-*", "Google API Gateway"),
    ("x-appengine-*", "Google App Engine"),
    ("x-arr-*", "Microsoft Application Request Routing"),
    ("x-auth-request-*", "OAuth2 Proxy"),
    ("x-authenticated-*", "Kong"),
    ("x-authentik-*", "authentik"),
    ("x-azure-*", "Azure Front Door"),
    (
        "x-client-cert*",
        "nginx and HAProxy configurations for mutual TLS",
    ),
    ("x-client-ip", "Azure, Rackspace; read by many frameworks"),
    ("x-cluster-client-ip", "Rackspace, Zeus"),
    ("x-coming-from", "read by PHP frameworks"),
    ("x-consumer-*", "Kong, Apache APISIX"),
    ("x-credential-*", "Kong, Apache APISIX"),
    ("x-endpoint-api-*", "Google Cloud Endpoints"),
    ("x-envoy-*", "Envoy"),
    ("x-external-*", "Envoy Gateway and Emissary"),
    (
        "x-forward*",
        "de-facto standard; Envoy, Traefik, nginx, OAuth2 Proxy, Gunicorn, Uvicorn",
    ),
    ("x-goog-authenticated-*", "Google Identity-Aware Proxy"),
    ("x-goog-iap-*", "Google Identity-Aware Proxy"),
    ("x-hasura-*", "Hasura"),
    ("x-host", "read by frameworks as `X-Forwarded-Host`"),
    ("x-http-host-*", "read by frameworks as `X-Forwarded-Host`"),
    ("x-http-method*", "Rails, Symfony, Express method-override"),
    ("x-id-token", "Apache APISIX"),
    ("x-invoke-*", "Next.js"),
    ("x-istio-*", "Istio"),
    ("x-jwt-assertion", "WSO2 API Manager"),
    ("x-lighttpd-*", "lighttpd"),
    ("x-litespeed-*", "LiteSpeed"),
    ("x-matched-path", "Vercel"),
    ("x-method-override", "Express method-override, Flask"),
    ("x-middleware-*", "Next.js (CVE-2025-29927)"),
    ("x-ms-client-principal*", "Azure App Service authentication"),
    ("x-ms-token-*", "Azure App Service authentication"),
    ("x-nextjs-*", "Next.js"),
    ("x-nf-*", "Netlify"),
    ("x-nginx-*", "nginx configurations"),
    ("x-now-*", "Vercel"),
    (
        "x-original-*",
        "IIS URL Rewrite, Symfony (CVE-2018-14773), ingress-nginx, Azure Application Gateway",
    ),
    ("x-originating-*", "read by PHP frameworks"),
    ("x-override-*", "Symfony and IIS rewriting"),
    ("x-pomerium-*", "Pomerium"),
    ("x-proxy*", "proxies without a standard"),
    ("x-real-*", "nginx, Traefik"),
    ("x-refresh-token", "Apache APISIX"),
    ("x-remote-*", "Kubernetes API server; Apache configurations"),
    ("x-replaced-*", "Traefik"),
    ("x-request-id", "the gateway sets its own"),
    (
        "x-rewrite-*",
        "IIS URL Rewrite, Zend, Symfony (CVE-2018-14773)",
    ),
    ("x-scheme", "ingress-nginx"),
    ("x-script-name", "WSGI middleware for a path prefix"),
    ("x-sendfile*", "Apache mod_xsendfile; Rack::Sendfile"),
    ("x-ssl*", "HAProxy, F5 BIG-IP"),
    ("x-true-client-ip", "Akamai"),
    ("x-url-scheme", "read by WSGI middleware"),
    ("x-userinfo", "Apache APISIX, Kong OIDC"),
    ("x-vercel-*", "Vercel"),
    ("x-vouch-*", "Vouch Proxy"),
    ("x-voxgate-*", "the gateway sets its own"),
    ("x-waws-*", "Azure App Service"),
    ("x-webauth-*", "Grafana"),
];

/// Whether a client's header of this name is removed. A character other than a letter or a digit
/// counts as `-`, because CGI-like servers read it so (CVE-2025-64484).
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    if COMMON.contains(name) {
        return false;
    }
    let name: Cow<'_, [u8]> = match is_plain(name) {
        true => name.as_str().as_bytes().into(),
        false => name.as_str().bytes().map(folded).collect(),
    };
    let after = RESERVED.partition_point(|(entry, _)| start(entry) <= &*name);
    // The only entry that can match is the last one that does not come after the name.
    after.checked_sub(1).is_some_and(|at| {
        let (entry, _) = RESERVED[at];
        match entry.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()),
            None => name == entry.as_bytes(),
        }
    })
}

/// Whether a name consists of letters, digits and `-`, which every server reads alike.
pub(super) fn is_plain(name: &HeaderName) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.as_str().bytes().all(plain)
}

fn folded(byte: u8) -> u8 {
    match byte.is_ascii_alphanumeric() {
        true => byte,
        false => b'-',
    }
}

fn start(entry: &str) -> &[u8] {
    entry.strip_suffix('*').unwrap_or(entry).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The look-up depends on it.
    #[test]
    fn the_list_is_in_order_and_no_entry_covers_another() {
        for pair in RESERVED.windows(2) {
            let [(first, _), (second, _)] = pair else {
                unreachable!("windows of two");
            };
            assert!(start(first) < start(second), "{first} and {second}");
            let covers = first.ends_with('*') && start(second).starts_with(start(first));
            assert!(!covers, "{first} covers {second}");
        }
    }

    #[test]
    fn what_is_found_without_a_search_is_not_reserved() {
        for name in COMMON {
            let covers = |entry: &str| match entry.strip_suffix('*') {
                Some(prefix) => name.as_str().starts_with(prefix),
                None => name == entry,
            };
            assert!(!RESERVED.iter().any(|(entry, _)| covers(entry)), "{name}");
        }
    }

    #[test]
    fn every_entry_is_found_in_every_spelling() {
        for (entry, _) in RESERVED {
            let name = entry.replace('*', "anything");
            for name in [name.clone(), name.replace('-', "_"), name.replace('-', ".")] {
                assert!(is_reserved(&name.parse().expect("a name")), "{name}");
            }
        }
        for name in [
            "x-voxgate-key-id",
            "X_Voxgate_Key_Id",
            "X-Forwarded-For",
            "x_forwarded_proto",
            "X-Original-URL",
            "x_http_method_override",
            "x-original-forwarded-for",
            "remote-groups",
            "x-sendfile-type",
        ] {
            assert!(is_reserved(&name.parse().expect("a name")), "{name}");
        }
    }

    #[test]
    fn other_names_stay() {
        for name in [
            "a",
            "accept",
            "content-type",
            "forwarded2",
            "host",
            "traceparent",
            "user-agent",
            "x-b3-traceid",
            "x-request-idx",
            "x-scheme2",
            "x-voxgat",
            "x",
            "zzz",
        ] {
            assert!(!is_reserved(&name.parse().expect("a name")), "{name}");
        }
    }
}
