//! The proxies that are trusted, and what their headers say.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use voxgate_core::network::Network;
use voxgate_core::request_id::X_REQUEST_ID;

use super::address;
use super::forwarded;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The longest identifier of a request that is kept, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// The header in which trusted proxies name the client. Only one counts: a proxy that writes one of
/// them usually passes the client's own copy of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientHeader {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto`, `-Host` and `-Port` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), which also has the scheme and the host.
    Forwarded,
    /// `X-Real-IP`, and `X-Forwarded-Proto`, `-Host` and `-Port` beside it.
    XRealIp,
}

impl ClientHeader {
    /// Parses the name of a header, in lower case. `None` for any other.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "x-forwarded-for" => Some(Self::XForwardedFor),
            "forwarded" => Some(Self::Forwarded),
            "x-real-ip" => Some(Self::XRealIp),
            _ => None,
        }
    }
}

/// The networks of proxies whose headers count.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ClientHeader,
}

/// What trusted proxies say about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// The address of the client.
    pub client: IpAddr,
    /// Whether a header names the client. Otherwise it is the proxy itself.
    pub is_named: bool,
    /// The identifier that a proxy gave the request: at most 128 visible ASCII characters.
    pub request_id: Option<HeaderValue>,
    /// What the next server is told.
    pub fields: ForwardedFields,
}

/// The `X-Forwarded-` headers for the next server. Each value is one that a trusted proxy vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedFields {
    /// The client and each proxy behind it, separated by commas: `X-Forwarded-For`.
    pub chain: HeaderValue,
    /// The scheme that the client used, `http` or `https`; for WebSockets also `ws` or `wss`.
    pub proto: Option<HeaderValue>,
    /// The authority that the client named.
    pub host: Option<HeaderValue>,
    /// The port that the client connected to.
    pub port: Option<HeaderValue>,
}

/// The address of a client, and the proxies that it came through, the nearest one first.
struct Chain<'a> {
    client: IpAddr,
    proxies: Vec<IpAddr>,
    /// With `Forwarded`: what the proxy that named the client wrote.
    element: forwarded::Element<'a>,
}

impl TrustedProxies {
    /// The proxies in these networks name the client in this header.
    #[must_use]
    pub fn new(networks: Vec<Network>, header: ClientHeader) -> Self {
        Self { networks, header }
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether this address is that of a trusted proxy.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    /// What the headers of a request from this address say. `None` if it is not that of a trusted
    /// proxy: then no header counts.
    #[must_use]
    pub fn read(&self, source: SocketAddr, headers: &HeaderMap) -> Option<Forwarded> {
        let source = source.ip().to_canonical();
        if !self.contain(source) {
            return None;
        }
        let chain = match self.header {
            ClientHeader::XForwardedFor => {
                let entries = entries(headers, &X_FORWARDED_FOR);
                let entries = entries.map(|entry| (address::parse(entry), Default::default()));
                self.walk(source, entries)
            }
            ClientHeader::XRealIp => {
                let entry = one(headers, &X_REAL_IP).into_iter();
                let entry = entry.map(|entry| (address::parse(entry), Default::default()));
                self.walk(source, entry)
            }
            ClientHeader::Forwarded => {
                let elements = elements(headers).into_iter();
                let named = elements.map(|element| {
                    let address = element.node.as_deref().and_then(address::parse);
                    (address, element)
                });
                self.walk(source, named)
            }
        };
        let (proto, host, port) = match self.header {
            ClientHeader::Forwarded => (
                chain.element.proto.clone(),
                chain.element.host.clone(),
                None,
            ),
            _ => {
                let text = |name| one(headers, name).map(Cow::Borrowed);
                (
                    text(&X_FORWARDED_PROTO),
                    text(&X_FORWARDED_HOST),
                    text(&X_FORWARDED_PORT),
                )
            }
        };
        Some(Forwarded {
            client: chain.client,
            is_named: !chain.proxies.is_empty(),
            request_id: request_id(headers),
            fields: ForwardedFields {
                chain: chain.to_header(),
                proto: proto.and_then(|proto| scheme(&proto)),
                host: host.and_then(|host| authority(&host)),
                port: port.and_then(|port| port_number(&port)),
            },
        })
    }

    /// Follows the entries, the newest one first, as long as trusted proxies wrote them. An entry that
    /// is no address ends it: the proxy that wrote it counts as the client.
    fn walk<'a>(
        &self,
        source: IpAddr,
        entries: impl Iterator<Item = (Option<IpAddr>, forwarded::Element<'a>)>,
    ) -> Chain<'a> {
        let mut chain = Chain {
            client: source,
            proxies: Vec::new(),
            element: forwarded::Element::default(),
        };
        for (address, element) in entries {
            let Some(address) = address.filter(|_| self.contain(chain.client)) else {
                break;
            };
            chain.proxies.push(chain.client);
            chain.client = address;
            chain.element = element;
        }
        chain
    }
}

impl Chain<'_> {
    fn to_header(&self) -> HeaderValue {
        let mut text = self.client.to_string();
        for proxy in self.proxies.iter().rev() {
            text.push_str(", ");
            text.push_str(&proxy.to_string());
        }
        // Addresses are visible ASCII.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

/// The entries of a list, from right to left. A line that is not ASCII has one entry, which is no
/// address.
fn entries<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    let lines = lines.into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','))
}

/// The elements of `Forwarded`, from right to left. A line that cannot be read ends them.
fn elements(headers: &HeaderMap) -> Vec<forwarded::Element<'_>> {
    let lines: Vec<&HeaderValue> = headers.get_all(&FORWARDED).iter().collect();
    let mut elements = Vec::new();
    for line in lines.into_iter().rev() {
        let Some(read) = line.to_str().ok().and_then(forwarded::parse) else {
            break;
        };
        elements.extend(read.into_iter().rev());
    }
    elements
}

/// The value of a header that occurs once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let text = one(headers, &X_REQUEST_ID)?;
    let is_short = (1..=MAX_REQUEST_ID).contains(&text.len());
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_short && is_visible).then(|| HeaderValue::from_str(text).ok())?
}

fn scheme(text: &str) -> Option<HeaderValue> {
    let schemes = ["http", "https", "ws", "wss"];
    let scheme = schemes
        .into_iter()
        .find(|scheme| text.eq_ignore_ascii_case(scheme));
    scheme.map(HeaderValue::from_static)
}

/// One host with or without a port. A user or a list in it could be read as another host.
fn authority(text: &str) -> Option<HeaderValue> {
    let authority = text.parse::<Authority>().ok()?;
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let is_plain = !authority.host().is_empty() && text.bytes().all(is_of_host);
    is_plain.then(|| HeaderValue::from_str(text).ok())?
}

fn port_number(text: &str) -> Option<HeaderValue> {
    let is_canonical = !text.starts_with(['0', '+']);
    text.parse::<u16>().ok().filter(|_| is_canonical)?;
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn proxies(header: ClientHeader) -> TrustedProxies {
        let networks = Network::parse_list("10.0.0.0/8, 2001:db8:1::/48");
        TrustedProxies::new(networks.expect("networks"), header)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn source(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().expect("an address"), 40000)
    }

    /// The client, and what the next server is told.
    fn chain(header: ClientHeader, from: &str, lines: &[(&'static str, &str)]) -> (String, String) {
        let read = proxies(header).read(source(from), &headers(lines));
        let read = read.expect("a trusted proxy");
        let chain = read.fields.chain.to_str().expect("text").to_owned();
        (read.client.to_string(), chain)
    }

    #[test]
    fn the_first_address_from_the_right_that_is_not_trusted_is_the_client() {
        let x = "x-forwarded-for";
        for (from, lines, client, told) in [
            ("10.0.0.1", &[][..], "10.0.0.1", "10.0.0.1"),
            (
                "10.0.0.1",
                &[(x, "203.0.113.7")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.1",
            ),
            // What the client itself wrote does not count.
            (
                "10.0.0.1",
                &[(x, "1.1.1.1, 203.0.113.7")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                &[(x, "10.9.9.9, 203.0.113.7")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                &[(x, "1.1.1.1, 203.0.113.7,10.0.0.2")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.2, 10.0.0.1",
            ),
            // Several lines are one list.
            (
                "10.0.0.1",
                &[(x, "1.1.1.1, 203.0.113.7"), (x, "10.0.0.2")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.2, 10.0.0.1",
            ),
            // A client within the trusted networks.
            (
                "10.0.0.1",
                &[(x, "10.0.0.3, 10.0.0.2")],
                "10.0.0.3",
                "10.0.0.3, 10.0.0.2, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                &[(x, "203.0.113.7:1234")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                &[(x, "::ffff:203.0.113.7")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.1",
            ),
            (
                "::ffff:10.0.0.1",
                &[(x, "203.0.113.7")],
                "203.0.113.7",
                "203.0.113.7, 10.0.0.1",
            ),
            (
                "2001:db8:1::1",
                &[(x, "2001:db8:2::1")],
                "2001:db8:2::1",
                "2001:db8:2::1, 2001:db8:1::1",
            ),
            // Of an entry that is no address, nothing to its left counts.
            (
                "10.0.0.1",
                &[(x, "203.0.113.7, unknown")],
                "10.0.0.1",
                "10.0.0.1",
            ),
            ("10.0.0.1", &[(x, "203.0.113.7, ")], "10.0.0.1", "10.0.0.1"),
            (
                "10.0.0.1",
                &[(x, "203.0.113.7, x, 10.0.0.2")],
                "10.0.0.2",
                "10.0.0.2, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                &[(x, "203.0.113.7"), (x, "\u{e9}")],
                "10.0.0.1",
                "10.0.0.1",
            ),
            // The other headers do not count.
            (
                "10.0.0.1",
                &[("x-real-ip", "203.0.113.7")],
                "10.0.0.1",
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                &[("forwarded", "for=203.0.113.7")],
                "10.0.0.1",
                "10.0.0.1",
            ),
        ] {
            let expected = (client.to_owned(), told.to_owned());
            assert_eq!(
                chain(ClientHeader::XForwardedFor, from, lines),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn x_real_ip_counts_if_there_is_one() {
        let x = "x-real-ip";
        for (lines, client) in [
            (&[(x, "203.0.113.7")][..], "203.0.113.7"),
            (&[(x, "203.0.113.7"), (x, "1.1.1.1")], "10.0.0.1"),
            (&[(x, "203.0.113.7, 1.1.1.1")], "10.0.0.1"),
            (&[("x-forwarded-for", "203.0.113.7")], "10.0.0.1"),
        ] {
            assert_eq!(
                chain(ClientHeader::XRealIp, "10.0.0.1", lines).0,
                client,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn forwarded_names_the_client_its_scheme_and_its_host() {
        let f = "forwarded";
        for (lines, client) in [
            (&[(f, "for=203.0.113.7")][..], "203.0.113.7"),
            (
                &[(f, "for=1.1.1.1, for=\"203.0.113.7:80\", for=10.0.0.2")],
                "203.0.113.7",
            ),
            (
                &[(f, "for=203.0.113.7"), (f, "for=10.0.0.2")],
                "203.0.113.7",
            ),
            (&[(f, "for=203.0.113.7, for=unknown")], "10.0.0.1"),
            (&[(f, "for=203.0.113.7, by=x")], "10.0.0.1"),
            (&[(f, "for=203.0.113.7"), (f, "for=\"10.0.0.2")], "10.0.0.1"),
            (&[("x-forwarded-for", "203.0.113.7")], "10.0.0.1"),
        ] {
            assert_eq!(
                chain(ClientHeader::Forwarded, "10.0.0.1", lines).0,
                client,
                "{lines:?}"
            );
        }
        let lines = [
            (
                f,
                "for=1.1.1.1;host=evil, for=203.0.113.7;proto=HTTPS;host=\"tts.example:8443\"",
            ),
            (f, "for=10.0.0.2;proto=http;host=inner"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
        ];
        let read = proxies(ClientHeader::Forwarded).read(source("10.0.0.1"), &headers(&lines));
        let fields = read.expect("a trusted proxy").fields;
        assert_eq!(fields.proto.expect("a scheme"), "https");
        assert_eq!(fields.host.expect("a host"), "tts.example:8443");
        assert_eq!(fields.port, None);
    }

    #[test]
    fn fields_beside_the_address_have_one_plain_value() {
        let read = |lines: &[(&'static str, &str)]| {
            let proxies = proxies(ClientHeader::XForwardedFor);
            let read = proxies.read(source("10.0.0.1"), &headers(lines));
            read.expect("a trusted proxy")
        };
        let good = read(&[
            ("x-forwarded-proto", "Https"),
            ("x-forwarded-host", "tts.example"),
            ("x-forwarded-port", "443"),
            ("x-request-id", "abc-123"),
        ]);
        assert_eq!(good.fields.proto.expect("a scheme"), "https");
        assert_eq!(good.fields.host.expect("a host"), "tts.example");
        assert_eq!(good.fields.port.expect("a port"), "443");
        assert_eq!(good.request_id.expect("an id"), "abc-123");
        let long = "x".repeat(129);
        for (name, value) in [
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-proto", "https,http"),
            ("x-forwarded-host", "user@tts.example"),
            ("x-forwarded-host", "a b"),
            ("x-forwarded-host", "a,b"),
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-host", ""),
            ("x-forwarded-port", "0443"),
            ("x-forwarded-port", "70000"),
            ("x-forwarded-port", "0"),
            ("x-request-id", "a b"),
            ("x-request-id", ""),
            ("x-request-id", &long),
        ] {
            let bad = read(&[(name, value)]);
            let fields = bad.fields;
            let nothing = (None, None, None, None);
            let got = (fields.proto, fields.host, fields.port, bad.request_id);
            assert_eq!(got, nothing, "{name}: {value}");
        }
        let twice = read(&[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(twice.fields.proto, None);
    }

    proptest! {
        /// No header of a stranger counts, and of a trusted proxy only what is right of the client.
        #[test]
        fn only_trusted_proxies_are_believed(
            written in "[0-9a-f.:, \\[\\]\"=;fory]{0,64}",
            client in any::<[u8; 4]>(),
        ) {
            let client = IpAddr::from(client);
            let all = [ClientHeader::XForwardedFor, ClientHeader::Forwarded, ClientHeader::XRealIp];
            for header in all {
                let proxies = proxies(header);
                prop_assume!(!proxies.contain(client));
                let lines = ["x-forwarded-for", "x-real-ip", "forwarded"];
                let spoofed = headers(&lines.map(|name| (name, written.as_str())));
                let stranger = SocketAddr::new(client, 1);
                prop_assert_eq!(proxies.read(stranger, &spoofed), None);
            }
            // A proxy adds the client's address to what the client wrote.
            let list = format!("{written},{client}");
            let (found, _) = chain(
                ClientHeader::XForwardedFor,
                "10.0.0.1",
                &[("x-forwarded-for", list.as_str())],
            );
            prop_assert_eq!(found, client.to_string());
        }
    }
}
