//! Where a request can hold a credential: every header of every dialect, and what else there is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request};
use voxgate::Dialect;
use voxgate_constant_time::valgrind;

/// One place of one dialect.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) dialect: Dialect,
    target: &'static str,
    holder: Holder,
    /// From which byte of the presented credential on it is marked. Not at all where a parser has
    /// to look at every byte; that is declared, too.
    pub(crate) marked_from: Option<usize>,
}

enum Holder {
    /// The end of this header's value, after these words.
    Header(&'static str, &'static str),
    /// `Authorization: Basic base64(id:secret)`.
    Basic,
    /// A subprotocol of an upgrade, after these words.
    Subprotocol(&'static str),
    /// The end of the query of an upgrade.
    Query,
}

/// One where the credential stands in a header and is read as it is.
const fn header(
    name: &'static str,
    dialect: Dialect,
    header: &'static str,
    before: &'static str,
) -> Place {
    Place {
        name,
        dialect,
        target: "/v1",
        holder: Holder::Header(header, before),
        marked_from: Some(0),
    }
}

const fn decoded(
    name: &'static str,
    dialect: Dialect,
    target: &'static str,
    holder: Holder,
) -> Place {
    Place {
        name,
        dialect,
        target,
        holder,
        marked_from: None,
    }
}

/// A key of Kugel's can begin with a region, `global-` being the longest.
const REGION_BYTES: usize = 7;

pub(crate) static PLACES: [Place; 21] = [
    header("bearer", Dialect::Bearer, "authorization", "Bearer "),
    header("rime", Dialect::Rime, "authorization", "Bearer "),
    header("smallest", Dialect::Smallest, "authorization", "Bearer "),
    header("openai", Dialect::OpenAi, "authorization", "Bearer "),
    header("cartesia", Dialect::Cartesia, "authorization", "Bearer "),
    header("cartesia", Dialect::Cartesia, "x-api-key", ""),
    header("deepgram", Dialect::Deepgram, "authorization", "Token "),
    header("supertone", Dialect::Supertone, "x-sup-api-key", ""),
    header("elevenlabs", Dialect::ElevenLabs, "xi-api-key", ""),
    header("google", Dialect::Google, "x-goog-api-key", ""),
    header("azure", Dialect::Azure, "ocp-apim-subscription-key", ""),
    header("azure token", Dialect::Azure, "authorization", "Bearer "),
    Place {
        target: "/v1/rime-tts",
        ..header("auto", Dialect::Auto, "authorization", "Bearer ")
    },
    Place {
        marked_from: Some(REGION_BYTES),
        ..header("kugel", Dialect::Kugel, "authorization", "Bearer ")
    },
    Place {
        marked_from: Some(REGION_BYTES),
        ..header("kugel", Dialect::Kugel, "x-api-key", "")
    },
    decoded(
        "kugel query",
        Dialect::Kugel,
        "/ws/tts?api_key=",
        Holder::Query,
    ),
    decoded("inworld", Dialect::Inworld, "/v1", Holder::Basic),
    decoded(
        "elevenlabs query",
        Dialect::ElevenLabs,
        "/v1/text-to-speech/cove/stream-input?single_use_token=",
        Holder::Query,
    ),
    decoded(
        "nim ws",
        Dialect::Bearer,
        "/v1/realtime",
        Holder::Subprotocol("realtime, realtime-token."),
    ),
    decoded(
        "deepgram ws",
        Dialect::Deepgram,
        "/v1/speak",
        Holder::Subprotocol("token, "),
    ),
    decoded(
        "openai ws",
        Dialect::OpenAi,
        "/v1/realtime",
        Holder::Subprotocol("realtime, openai-insecure-api-key."),
    ),
];

impl Place {
    pub(crate) fn has_scheme(&self) -> bool {
        matches!(self.holder, Holder::Header(_, before) if !before.is_empty())
    }

    /// What the layer must find when the client holds `token`.
    pub(crate) fn credential(&self, token: &[u8]) -> Vec<u8> {
        match self.holder {
            Holder::Basic => [b"id:", token].concat(),
            _ => token.to_vec(),
        }
    }

    /// A request that presents `token`, with its bytes marked if `mark` says so.
    pub(crate) fn request(&self, token: &[u8], mark: bool) -> Request<()> {
        let credential = self.credential(token);
        let mut target = self.target.as_bytes().to_vec();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        if let Holder::Query | Holder::Subprotocol(_) = self.holder {
            *request.method_mut() = Method::GET;
            let headers = request.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let (name, value) = match self.holder {
            Holder::Header(name, before) => (name, [before.as_bytes(), token].concat()),
            Holder::Basic => {
                let encoded = STANDARD.encode(&credential);
                ("authorization", format!("Basic {encoded}").into_bytes())
            }
            Holder::Subprotocol(before) => (
                "sec-websocket-protocol",
                [before.as_bytes(), token].concat(),
            ),
            Holder::Query => {
                target.extend(token);
                ("host", b"door".to_vec())
            }
        };
        let value = HeaderValue::try_from(value).expect("visible characters");
        // Marked before it is inserted: a look-up by text reads a scratch buffer of `http`, which
        // memcheck reports or not as the compiler inlines it. The bytes do not move with the value.
        if let (Some(from), true) = (self.marked_from, mark) {
            let value = value.as_bytes();
            valgrind::mark_undefined(&value[value.len() - token.len() + from..]);
        }
        let name = HeaderName::from_static(name);
        request.headers_mut().insert(name, value);
        *request.uri_mut() = target.try_into().expect("a path and a query");
        request
    }
}
