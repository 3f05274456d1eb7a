//! The policy files for open-source servers, `helm/files/policies`: each loads, and judges requests as
//! its server needs it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use tower::{Layer as _, Service as _, service_fn};
use voxgate::principal::KeyKind;
use voxgate::{AuthLayer, Dialect, Key, KeyRing, Principal, RequestValidation, Scope, Secret};

use crate::support::Records;

/// Which keys may send a request. Each other key gets 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Every key, except a realtime key.
    All,
    /// Keys without scopes, and keys with this scope.
    Scope(&'static str),
    /// As `Scope`, and realtime keys.
    Realtime(&'static str),
    /// Only keys with this scope.
    Only(&'static str),
    /// No key: the path is ambiguous.
    Nobody,
}

use Who::{All, Nobody, Only, Realtime};

const SPEAK: Who = Who::Scope("tts:synthesize");
const VOICES: Who = Who::Scope("voices:read");
const MODELS: Who = Who::Scope("models:read");
const SERVER: Who = Only("admin:server");
const ADMIN_MODELS: Who = Only("admin:models");

/// All scopes of the tables.
const SCOPES: [&str; 8] = [
    "tts:synthesize",
    "voices:read",
    "voices:write",
    "models:read",
    "realtime",
    "admin:models",
    "admin:files",
    "admin:server",
];

type Table = &'static [(&'static str, &'static str, Who)];

/// What no preset may open, whatever else it names.
const OF_ALL: Table = &[
    ("POST", "/unknown", SERVER),
    ("GET", "/", SERVER),
    ("GET", "/docs", SERVER),
    ("GET", "/openapi.json", SERVER),
    ("GET", "/metrics", SERVER),
    ("GET", "/debug/threads", SERVER),
    ("PUT", "/v1/audio/speech", SERVER),
    ("POST", "/v1/audio/speech/", SERVER),
    ("GET", "/health/", SERVER),
    ("GET", "/v1/audio/voices%2F..%2F..%2Fdebug", Nobody),
    ("GET", "/v1/models/..%2F..%2Fdebug", Nobody),
    ("GET", "/v1/models/%2e%2e/debug", Nobody),
    ("GET", "/v1/models/a%252F..", Nobody),
    ("GET", "/v1/models/a%2F%c0%ae%c0%ae", Nobody),
    ("POST", "/v1/audio%2Fspeech", Nobody),
];

const PRESETS: [(&str, Table); 8] = [
    (
        "kokoro",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("POST", "/dev/captioned_speech", SPEAK),
            ("GET", "/v1/audio/voices", VOICES),
            ("POST", "/v1/audio/voices/combine", Only("voices:write")),
            ("GET", "/v1/download/a.wav", Only("admin:files")),
            ("GET", "/v1/models/hexgrad%2FKokoro-82M", MODELS),
            ("POST", "/dev/unload", ADMIN_MODELS),
            ("GET", "/debug/storage", SERVER),
            ("GET", "/web/index.html", SERVER),
            ("GET", "/health", All),
        ],
    ),
    (
        "speaches",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("GET", "/v1/audio/voices", VOICES),
            ("GET", "/v1/realtime", Realtime("realtime")),
            ("POST", "/v1/realtime", Realtime("realtime")),
            ("GET", "/v1/models", MODELS),
            ("GET", "/v1/models/speaches-ai/Kokoro-82M-v1.0-ONNX", MODELS),
            (
                "GET",
                "/v1/models/speaches-ai%2FKokoro-82M-v1.0-ONNX",
                MODELS,
            ),
            ("POST", "/v1/models/org%2Fmodel", ADMIN_MODELS),
            ("POST", "/v1/models/org/model", ADMIN_MODELS),
            ("DELETE", "/v1/models/org%2fmodel", ADMIN_MODELS),
            ("DELETE", "/v1/models/org/model", ADMIN_MODELS),
            ("GET", "/api/ps", ADMIN_MODELS),
            ("POST", "/api/ps/org%2Fmodel", ADMIN_MODELS),
            ("DELETE", "/api/ps/org/model", ADMIN_MODELS),
            ("GET", "/health", All),
        ],
    ),
    (
        "localai",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("POST", "/tts", SPEAK),
            ("POST", "/v1/text-to-speech/alloy", SPEAK),
            ("GET", "/v1/models", MODELS),
            ("GET", "/v1/realtime", Realtime("realtime")),
            ("POST", "/models/apply", ADMIN_MODELS),
            ("POST", "/models/delete/a", ADMIN_MODELS),
            ("POST", "/v1/chat/completions", SERVER),
            ("POST", "/api/settings", SERVER),
            ("GET", "/readyz", All),
        ],
    ),
    (
        "vllm-omni",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("POST", "/v1/audio/speech/batch", SPEAK),
            ("GET", "/v1/audio/speech/stream", SPEAK),
            ("GET", "/v1/audio/voices", VOICES),
            ("POST", "/v1/audio/voices", Only("voices:write")),
            ("DELETE", "/v1/audio/voices/mine", Only("voices:write")),
            ("GET", "/v1/models/Qwen%2FQwen3-TTS", MODELS),
            ("POST", "/v1/load_lora_adapter", SERVER),
            ("POST", "/sleep", SERVER),
            ("GET", "/health", All),
        ],
    ),
    (
        "chatterbox",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("POST", "/tts", SPEAK),
            ("GET", "/get_reference_files", VOICES),
            ("POST", "/upload_reference", Only("voices:write")),
            ("POST", "/save_settings", SERVER),
            ("POST", "/restart_server", SERVER),
            ("POST", "/api/unload", ADMIN_MODELS),
            ("GET", "/ui/script.js", SERVER),
        ],
    ),
    (
        "orpheus",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("POST", "/speak", SPEAK),
            ("GET", "/v1/audio/voices", VOICES),
            ("GET", "/outputs/tara_1.wav", Only("admin:files")),
            ("POST", "/save_config", SERVER),
            ("POST", "/restart_server", SERVER),
            ("GET", "/static/a.js", SERVER),
        ],
    ),
    (
        "openedai-speech",
        &[
            ("POST", "/v1/audio/speech", SPEAK),
            ("GET", "/v1/models", MODELS),
            ("GET", "/health", All),
        ],
    ),
    (
        "piper",
        &[
            ("POST", "/", SPEAK),
            ("POST", "/synthesize", SPEAK),
            ("GET", "/voices", VOICES),
            ("GET", "/info", SERVER),
            ("GET", "/all-voices", ADMIN_MODELS),
            ("POST", "/download", ADMIN_MODELS),
            ("POST", "/v1/audio/speech", SPEAK),
        ],
    ),
];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/helm/files/policies"))
}

fn secret(id: &str) -> String {
    format!("key-{id}-that-is-long-enough")
}

/// A key for each scope, one with all scopes that are not for administrators, one without scopes,
/// and one for realtime sessions.
fn ring() -> KeyRing {
    let of_scope = SCOPES.map(|scope| Principal::new(scope).with_scopes(Scope::new(scope)));
    let others = [
        Principal::new("none"),
        Principal::new("voices").with_voices(["another"]),
        Principal::new("live").with_kind(KeyKind::Realtime),
    ];
    let keys = of_scope.into_iter().chain(others).map(|principal| {
        let secret = Secret::new(&secret(principal.id())).expect("a secret");
        Key::from_secret(&secret, principal)
    });
    KeyRing::new(keys).expect("different keys")
}

fn expected(who: Who, id: &str) -> StatusCode {
    let is_accepted = match (who, id) {
        (Nobody, _) => return StatusCode::BAD_REQUEST,
        (All, id) => !["live", "voices"].contains(&id),
        (Who::Scope(scope), "voices") => scope != "tts:synthesize",
        (Realtime(_), "live") => true,
        // The voice is in messages that this layer does not read.
        (Realtime(_), "voices") => false,
        (Who::Scope(scope) | Realtime(scope), id) => id == scope || id == "none",
        (Only(scope), id) => id == scope,
    };
    match is_accepted {
        true => StatusCode::OK,
        false => StatusCode::FORBIDDEN,
    }
}

#[test]
fn each_preset_judges_the_requests_of_its_server() {
    for (name, table) in PRESETS {
        let file = folder().join(format!("{name}.toml"));
        let policy = Dialect::OpenAi.policy().load(&file).expect("a good file");
        let layer = AuthLayer::new(ring())
            .with_dialect(Dialect::OpenAi)
            .with_policy(policy)
            .with_request_validation(RequestValidation::Proxy)
            .with_audit_sink(Records::default());
        let served = async |_| Ok::<_, Infallible>(Response::new(String::new()));
        let mut service = layer.layer(service_fn(served));
        let own = |path: &str| table.iter().any(|(_, own, _)| *own == path);
        let of_all = OF_ALL.iter().filter(|(_, path, _)| !own(path));
        for (method, path, who) in table.iter().chain(of_all) {
            for id in SCOPES.iter().chain(&["none", "voices", "live"]) {
                let request = Request::builder()
                    .method(*method)
                    .uri(*path)
                    .header("host", "tts")
                    .header("authorization", format!("Bearer {}", secret(id)))
                    .body(())
                    .expect("a request");
                let answer = service.call(request).now_or_never();
                let status = answer.expect("no wait").expect("an answer").status();
                let case = format!("{name}: {method} {path} by {id}");
                assert_eq!(status, expected(*who, id), "{case}");
            }
        }
    }
}

#[test]
fn each_preset_is_tested() {
    let files = std::fs::read_dir(folder()).expect("the folder");
    let names = files.map(|file| file.expect("a file").file_name());
    let names: BTreeSet<String> = names
        .map(|name| name.to_string_lossy().trim_end_matches(".toml").to_owned())
        .collect();
    let tested = PRESETS.map(|(name, _)| name.to_owned());
    assert_eq!(names, BTreeSet::from(tested));
}
