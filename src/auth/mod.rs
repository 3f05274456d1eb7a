//! The layer.
//!
//! [`AuthLayer`] holds the settings, [`Auth`] is the service, [`AuthFuture`] its response future and
//! [`AuthBody`] the body of its responses. `pipeline.rs` has the path of a request in one function;
//! `stages/` has its stages as types.

mod body;
mod clock;
mod decision_record;
mod future;
mod inner_uri;
mod layer;
mod pipeline;
mod record_texts;
mod request_guard;
mod request_start;
mod service;
#[cfg(feature = "speech")]
mod speech;
mod stages;

pub use self::body::AuthBody;
pub use self::future::AuthFuture;
pub use self::layer::AuthLayer;
pub use self::request_guard::Tunnel;
pub use self::request_start::{
    AskedBy, ClientAddr, ClientCertificate, ClientRequestId, PeerAddr, RefuseAs,
};
pub use self::service::Auth;
#[cfg(feature = "speech")]
pub use self::speech::{
    Inspect, InspectFuture, SpeechAuthLayer, SpeechBody, SpeechBodyError, SpeechOptions,
    SpeechSession,
};
pub use self::stages::CloseConnection;
