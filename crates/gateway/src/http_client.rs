//! How the program asks others by HTTP: that address, once, and nobody in its place.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// An agent that follows no redirect and no proxy, whatever the environment names: either could
/// answer in the place of whom is asked, or be given what is sent. Every status is an answer.
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
