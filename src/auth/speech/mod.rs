//! The second layer: reads bodies for the rights and the meter of what is spoken.
//!
//! It is inside the authentication layer, which leaves an `Inspection` in the extensions of each
//! request that must be read. A request without one passes unchanged.

mod body;
mod budget;
mod inspection;
mod layer;
mod service;
mod session;
mod verdict;

pub use self::body::{SpeechBody, SpeechBodyError};
pub(super) use self::inspection::Inspecting;
pub use self::layer::{SpeechAuthLayer, SpeechOptions};
pub use self::service::{Inspect, InspectFuture};
pub use self::session::SpeechSession;
