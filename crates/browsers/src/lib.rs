//! Cross-origin requests of browsers.
//!
//! A page of another origin may send a request with a key only if the server answers its preflight, and may
//! read the answer, a refusal included, only if the answer allows its origin (Fetch §3.2). Neither holds
//! for a WebSocket: a browser opens one from every page, and says its origin (RFC 6455 §10.2).
//!
//! [`BrowserLayer`] stands outside of an [`AuthLayer`](voxgate::AuthLayer): it answers preflights, which
//! never have a credential, adds the fields to every answer, and has the layer refuse WebSockets of pages
//! that are not allowed. tower-http decides about the fields.

mod layer;
mod optional_body;
mod origins;

pub use self::layer::{BrowserLayer, Browsers, Preflights};
pub use self::optional_body::OptionalBody;
pub use self::origins::{InvalidOrigin, Origins};
