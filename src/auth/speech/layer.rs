//! The layer that also reads bodies, and its settings.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::super::layer::AuthLayer;
use super::super::service::Auth;
use super::budget::Budget;
use super::inspection::Inspecting;
use super::service::Inspect;
use crate::keys::SharedKeyRing;
use crate::speech::TextQuota;
use crate::verify::Verify;

/// How bodies are read.
#[derive(Clone)]
pub struct SpeechOptions {
    pub(super) body_bytes: usize,
    pub(super) held_bytes: usize,
    pub(super) reads_messages: bool,
    pub(super) quota: Option<Arc<dyn TextQuota>>,
}

impl Default for SpeechOptions {
    /// Bodies of 256 KiB, 64 MiB of held bodies, no quota, and WebSocket messages that the service
    /// does not read.
    fn default() -> Self {
        Self {
            body_bytes: 256 * 1024,
            held_bytes: 64 * 1024 * 1024,
            reads_messages: false,
            quota: None,
        }
    }
}

impl SpeechOptions {
    /// Sets the largest body in bytes that is read. A larger body of a limited key is refused with
    /// 413; that of another key is forwarded and not counted.
    #[must_use]
    pub fn with_body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// The largest body in bytes that is read.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Sets the bytes of all bodies that are held at once. When they are used up, requests of
    /// limited keys are refused with 503, and others are forwarded and not counted.
    #[must_use]
    pub fn with_held_bytes(mut self, bytes: usize) -> Self {
        self.held_bytes = bytes;
        self
    }

    /// Declares that the inner service asks the [`SpeechSession`](super::SpeechSession) in the
    /// request's extensions about each message of a WebSocket. Without it, a limited key cannot open
    /// a WebSocket whose messages name voices.
    #[must_use]
    pub fn with_message_reading(mut self) -> Self {
        self.reads_messages = true;
        self
    }

    /// Sets the quota that is asked before text is forwarded.
    #[must_use]
    pub fn with_quota(mut self, quota: Arc<dyn TextQuota>) -> Self {
        self.quota = Some(quota);
        self
    }
}

impl fmt::Debug for SpeechOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechOptions")
            .field("body_bytes", &self.body_bytes)
            .field("held_bytes", &self.held_bytes)
            .field("reads_messages", &self.reads_messages)
            .finish_non_exhaustive()
    }
}

/// An [`AuthLayer`] that also reads bodies: it checks voices, models and languages that are not in
/// the request's head, and counts characters. Made by [`AuthLayer::with_speech`].
///
/// A body is read only if the request's rule says where its text and voice are, and if the key is
/// limited, has a quota, or has a meter. The inner service receives every byte unchanged, in a
/// [`SpeechBody`](super::SpeechBody).
pub struct SpeechAuthLayer<V = SharedKeyRing> {
    auth: AuthLayer<V>,
    options: SpeechOptions,
    budget: Budget,
}

impl<V> AuthLayer<V> {
    /// A layer that also reads bodies.
    #[must_use]
    pub fn with_speech(self, options: SpeechOptions) -> SpeechAuthLayer<V> {
        let inspecting = Inspecting {
            quota: options.quota.clone(),
        };
        SpeechAuthLayer {
            auth: self.with(|pipeline| pipeline.inspecting = Some(inspecting)),
            budget: Budget::new(options.held_bytes),
            options,
        }
    }
}

impl<V> Clone for SpeechAuthLayer<V> {
    fn clone(&self) -> Self {
        Self {
            auth: self.auth.clone(),
            options: self.options.clone(),
            budget: self.budget.clone(),
        }
    }
}

impl<V> fmt::Debug for SpeechAuthLayer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechAuthLayer")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<S, V: Verify> Layer<S> for SpeechAuthLayer<V> {
    type Service = Auth<Inspect<S>, V>;

    fn layer(&self, inner: S) -> Self::Service {
        let inspect = Inspect::new(inner, self.options.clone(), self.budget.clone());
        self.auth.layer(inspect)
    }
}
