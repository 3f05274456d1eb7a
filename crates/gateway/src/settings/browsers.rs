//! Cross-origin requests of browsers.

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate_browsers::{BrowserLayer, Origins, Preflights};

use super::{Setting, default_of};

pub(crate) const CORS_ORIGINS: &str = "VOXGATE_CORS_ORIGINS";
pub(crate) const CORS_PREFLIGHTS: &str = "VOXGATE_CORS_PREFLIGHTS";

const GROUP: &str = "Browsers";

pub(super) const BROWSERS: &[Setting] = &[
    Setting::new(
        GROUP,
        CORS_ORIGINS,
        "ORIGINS",
        "Origins whose pages may send requests and read answers, such as `https://app.example`, separated \
         by commas; `*` for all. WebSockets of pages of other origins are refused (403)",
    )
    .with_default("none: answers get no CORS fields, and WebSockets of all pages are accepted"),
    Setting::new(
        GROUP,
        CORS_PREFLIGHTS,
        "ACTION",
        "What happens to preflights: `answer` (the gateway answers them) or `forward` (the TTS server \
         does; their paths must be public, such as `VOXGATE_PUBLIC=OPTIONS /v1/*`)",
    )
    .with_default("answer"),
];

/// Reads the settings.
pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> BrowserLayer {
    let given = environment.get(CORS_PREFLIGHTS);
    let preflights = match given.unwrap_or_else(|| default_of(CORS_PREFLIGHTS)).trim() {
        "answer" => Preflights::Answer,
        "forward" => Preflights::Forward,
        _ => {
            problems.push(Problem::new(
                CORS_PREFLIGHTS,
                "must be `answer` or `forward`",
            ));
            Preflights::Answer
        }
    };
    let Some(origins) = environment.get(CORS_ORIGINS) else {
        if given.is_some() {
            let message =
                format!("has no effect without {CORS_ORIGINS}; set that, or remove this setting");
            problems.push(Problem::new(CORS_PREFLIGHTS, message));
        }
        return BrowserLayer::default();
    };
    match Origins::parse(origins) {
        Ok(origins) => BrowserLayer::new(origins, preflights),
        Err(error) => {
            problems.push(Problem::new(CORS_ORIGINS, error.to_string()));
            BrowserLayer::default()
        }
    }
}
