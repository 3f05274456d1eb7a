//! Proxies in front of the gateway.

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate::principal::Network;
use voxgate_client_address::{ClientHeader, TrustedProxies};

use super::{Setting, default_of};
use crate::connection::ClientAddresses;

pub(crate) const TRUSTED_PROXIES: &str = "VOXGATE_TRUSTED_PROXIES";
pub(crate) const CLIENT_ADDRESS_HEADER: &str = "VOXGATE_CLIENT_ADDRESS_HEADER";
pub(crate) const PROXY_PROTOCOL: &str = "VOXGATE_PROXY_PROTOCOL";

const GROUP: &str = "Proxies in front";

pub(super) const CLIENTS: &[Setting] = &[
    Setting::new(
        GROUP,
        TRUSTED_PROXIES,
        "NETWORKS",
        "Networks of the proxies in front, separated by commas, such as `10.0.0.0/8`: only from these \
         do `X-Forwarded-For` and the headers beside it count",
    )
    .with_default("none"),
    Setting::new(
        GROUP,
        CLIENT_ADDRESS_HEADER,
        "NAME",
        "Header in which the trusted proxies name the client: `x-forwarded-for`, `forwarded` (RFC \
         7239) or `x-real-ip`",
    )
    .with_default("x-forwarded-for"),
    Setting::new(
        GROUP,
        PROXY_PROTOCOL,
        "NETWORKS",
        "Networks of load balancers that begin each connection with a PROXY protocol header (version 1 \
         or 2): required from these, refused from others",
    )
    .with_default("none"),
];

/// Reads the settings.
pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> ClientAddresses {
    let mut networks = |variable| {
        let given = environment.get(variable)?;
        let networks = Network::parse_list(given);
        networks
            .map_err(|message| problems.push(Problem::new(variable, message)))
            .ok()
    };
    let proxies = networks(TRUSTED_PROXIES).unwrap_or_default();
    let load_balancers = networks(PROXY_PROTOCOL).unwrap_or_default();
    let given = environment.get(CLIENT_ADDRESS_HEADER);
    let name = given.unwrap_or_else(|| default_of(CLIENT_ADDRESS_HEADER));
    let header = ClientHeader::parse(&name.trim().to_ascii_lowercase());
    if header.is_none() {
        let message = "must be `x-forwarded-for`, `forwarded` or `x-real-ip`";
        problems.push(Problem::new(CLIENT_ADDRESS_HEADER, message));
    }
    if given.is_some() && environment.get(TRUSTED_PROXIES).is_none() {
        let message =
            format!("has no effect without {TRUSTED_PROXIES}; set that, or remove this setting");
        problems.push(Problem::new(CLIENT_ADDRESS_HEADER, message));
    }
    let proxies = TrustedProxies::new(proxies, header.unwrap_or_default());
    ClientAddresses::new(proxies, load_balancers)
}
