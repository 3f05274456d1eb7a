//! Requests that can still be changed, and requests of vendors' clients.

use http::{HeaderName, HeaderValue, Request, Uri, Version};
use voxgate::Dialect;

use super::door::{KEY, PAIR};
use super::model::base64;

/// A request that can still be changed, and that may be invalid.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) method: &'static str,
    pub(crate) version: Version,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
}

impl Draft {
    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            version: Version::HTTP_11,
            path: path.to_owned(),
            query: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn upgrade(path: &str) -> Self {
        Self::new("GET", path)
            .with("connection", "Upgrade")
            .with("upgrade", "websocket")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub(crate) fn query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The request, without invalid headers. `None` if the target is invalid. Neither reaches a
    /// layer.
    pub(crate) fn request(&self) -> Option<Request<()>> {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::try_from(self.target()).ok()?;
        *request.method_mut() = self.method.parse().expect("a method");
        *request.version_mut() = self.version;
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                let name = HeaderName::from_static(name);
                request.headers_mut().append(name, value);
            }
        }
        Some(request)
    }
}

/// Every dialect of a vendor, without `auto`.
pub(crate) fn vendors() -> impl Iterator<Item = Dialect> {
    let all = Dialect::ALL.into_iter();
    all.filter(|dialect| *dialect != Dialect::Auto)
}

/// The requests of the vendor's clients with a known key.
pub(crate) fn canonical(dialect: Dialect) -> Vec<Draft> {
    presenting(dialect, KEY, PAIR)
}

/// The requests of the vendor's clients with `key`, or with `pair` if the dialect needs two parts.
pub(crate) fn presenting(dialect: Dialect, key: &str, pair: &str) -> Vec<Draft> {
    const AUTHORIZATION: &str = "authorization";
    const PROTOCOL: &str = "sec-websocket-protocol";
    let post = |path| Draft::new("POST", path);
    let bearer = |draft: Draft| draft.with(AUTHORIZATION, format!("Bearer {key}"));
    let in_query = |path, name| Draft::upgrade(path).query(format!("a=1&{name}={key}&b=%2F"));
    match dialect {
        Dialect::Bearer => vec![
            bearer(post("/any")),
            Draft::upgrade("/v1/realtime")
                .with(PROTOCOL, format!("realtime, realtime-token.{key}")),
        ],
        Dialect::Rime => vec![
            bearer(post("/v1/rime-tts")),
            bearer(Draft::upgrade("/ws")),
            post("/v1/rime-tts").with(AUTHORIZATION, format!("Api-Key {key}")),
            bearer(Draft::upgrade("/ws2")),
            bearer(Draft::upgrade("/ws3")).with(PROTOCOL, "rime.v1.json"),
        ],
        Dialect::Supertone => vec![post("/v1/text-to-speech/cove").with("x-sup-api-key", key)],
        Dialect::Smallest => vec![
            bearer(post("/waves/v1/tts")),
            bearer(Draft::upgrade("/waves/v1/tts/live")),
        ],
        Dialect::Kugel => vec![
            bearer(post("/v1/tts/generate")),
            bearer(post("/v1/tts/generate")).with("x-api-key", key),
            bearer(post("/v1/tts/generate")).with("x-api-key", format!("eu-{key}")),
            bearer(Draft::upgrade("/ws/tts")),
            in_query("/ws/tts", "api_key"),
            Draft::upgrade("/ws/tts").query(format!("api_key=global-{key}")),
            post("/v1/tts/generate").with("x-vapi-secret", key),
        ],
        Dialect::Inworld => {
            let basic = |draft: Draft| {
                draft.with(AUTHORIZATION, format!("Basic {}", base64(pair.as_bytes())))
            };
            let stream = "/tts/v1/voice:streamBidirectional";
            vec![
                basic(post("/tts/v1/voice")),
                bearer(post("/tts/v1/voice")),
                basic(Draft::upgrade(stream)),
                Draft::upgrade(stream).with(PROTOCOL, format!("json, bearer_{key}")),
            ]
        }
        Dialect::OpenAi => vec![
            bearer(post("/v1/audio/speech")),
            Draft::upgrade("/v1/realtime")
                .with(PROTOCOL, format!("realtime, openai-insecure-api-key.{key}")),
        ],
        Dialect::ElevenLabs => vec![
            post("/v1/text-to-speech/cove").with("xi-api-key", key),
            in_query("/v1/text-to-speech/cove/stream-input", "single_use_token"),
        ],
        Dialect::Deepgram => {
            let token = |draft: Draft| draft.with(AUTHORIZATION, format!("Token {key}"));
            let offering =
                |name| Draft::upgrade("/v1/speak").with(PROTOCOL, format!("{name}, {key}"));
            vec![
                token(post("/v1/speak")),
                post("/v1/speak").with(AUTHORIZATION, format!("bearer {key}")),
                token(Draft::upgrade("/v1/speak")),
                offering("token"),
                offering("bearer"),
            ]
        }
        Dialect::Cartesia => vec![
            bearer(post("/tts/bytes")),
            post("/tts/bytes").with("x-api-key", key),
            in_query("/tts/websocket", "api_key"),
            in_query("/tts/websocket", "access_token"),
        ],
        Dialect::Azure => vec![
            post("/cognitiveservices/v1").with("ocp-apim-subscription-key", key),
            bearer(post("/cognitiveservices/v1")),
            Draft::upgrade("/cognitiveservices/websocket/v1")
                .with("ocp-apim-subscription-key", key)
                .with(PROTOCOL, "USP"),
        ],
        Dialect::Google => vec![
            post("/v1/text:synthesize").with("x-goog-api-key", key),
            post("/v1/text:synthesize").query(format!("a=1&key={key}&b=%2F")),
            bearer(post("/v1/text:synthesize")),
        ],
        Dialect::Auto => {
            // Without a vendor, `auto` has no path to recognize.
            let told = vendors().filter(|dialect| *dialect != Dialect::Bearer);
            // Deepgram and the self-hosted Smallest share `POST /v1/speak` and its header.
            told.flat_map(|dialect| presenting(dialect, key, pair))
                .filter(|draft| (draft.method, &*draft.path) != ("POST", "/v1/speak"))
                .collect()
        }
        other => panic!("nothing is said about {other}"),
    }
}
