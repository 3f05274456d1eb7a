//! The HTTP client of the program: no redirects, no proxies.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A client that follows no redirects and ignores the proxy settings of the environment: another host
/// must neither answer nor get what is sent. A response with an error status is not an error.
pub(crate) fn agent(tls: TlsConfig, answer_within: Duration) -> Agent {
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("voxgate/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT_WITHIN))
        .timeout_connect(Some(CONNECT_WITHIN))
        .timeout_global(Some(answer_within))
        .build()
        .new_agent()
}
