//! Answers proxies that ask whether to forward a request.
//!
//! A proxy such as nginx, Traefik or Envoy asks about each request and forwards it itself. The
//! [`Authorizer`] reads which request that is, from the fields of that proxy and from no others, has the
//! authentication layer decide about it, and answers in the proxy's form: what to set and to remove in the
//! request, or the refusal in the words of the vendor.
//!
//! - [`Proxy`] has the forms, and the path of each. `original.rs` reads the request that a proxy asks about.
//! - [`Changes`] is what the proxy must do to an accepted request. The service inside of the authentication
//!   layer puts it into the extensions of its answer.
//! - `check.rs` and `grpc.rs` have `envoy.service.auth.v3.Authorization`.
//!
//! # Deployment caveat
//!
//! The fields say what their author wants. Serve only connections from proxies that overwrite them.

mod answer;
mod changes;
mod check;
mod grpc;
mod original;
mod proxy;
mod service;

pub use self::answer::AnswerBody;
pub use self::changes::Changes;
pub use self::original::{Original, Unclear, read};
pub use self::proxy::Proxy;
pub use self::service::{Authorizer, Options};
