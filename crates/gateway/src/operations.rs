//! What operators ask the admin listener for: the settings in force, and the level of the log.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::log_filter::LogFilter;
use super::settings::LOG;

/// The settings in force, and the log.
#[derive(Clone)]
pub(crate) struct Operations {
    config: Value,
    log: LogFilter,
}

impl Operations {
    /// `digest` identifies the configuration, as in start records; `settings` contains no secret.
    pub(crate) fn new(digest: &str, settings: Value, log: LogFilter) -> Self {
        let config = json!({ "config": digest, "settings": settings });
        Self { config, log }
    }

    /// `GET /config`, `GET /log-level` and `PUT /log-level`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/config", get(config))
            .route("/log-level", get(log_level).put(set_log_level))
            .with_state(self)
    }
}

async fn config(State(operations): State<Operations>) -> Json<Value> {
    let mut config = operations.config;
    config["settings"][LOG]["value"] = operations.log.current().into();
    Json(config)
}

async fn log_level(State(operations): State<Operations>) -> String {
    operations.log.current() + "\n"
}

/// The body is a value of `VOXGATE_LOG`. It holds until the next start.
async fn set_log_level(
    State(operations): State<Operations>,
    filter: String,
) -> (StatusCode, String) {
    let filter = filter.trim();
    match operations.log.replace(filter) {
        Ok(()) => {
            tracing::warn!(
                filter,
                "the level of the log was changed on the admin listener"
            );
            (StatusCode::OK, format!("{filter}\n"))
        }
        Err(message) => (
            StatusCode::BAD_REQUEST,
            format!("the log level {message}\n"),
        ),
    }
}
