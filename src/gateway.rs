//! What the program needs and no other server does. Hidden from the documentation; it may change in
//! any release.

pub use crate::auth::{AskedBy, CloseConnection, RefuseAs};
pub use crate::dialect::{basic_id, is_grpc};
pub use crate::websocket::{asks_for_websocket, upgrades_to_websocket};
pub use voxgate_core::request_id::X_REQUEST_ID;
pub use voxgate_core::trace::{SpanId, TRACEPARENT, TRACESTATE};
