//! Traits of the layer's types that servers need, checked by the compiler.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Ready;

use http::{Request, Response};
use tower::util::ServiceFn;
use voxgate::audit::AuditRecord;
use voxgate::env::{Environment, Settings};
use voxgate::{
    Auth, AuthBody, AuthFuture, AuthLayer, Caller, ConfigError, Denial, Key, KeyRing, Policy,
    Principal, RequestId, Secret, TracingSink, Tunnel,
};

use crate::support::Asking;

type Inner<B> = ServiceFn<fn(Request<B>) -> Ready<Result<Response<String>, Infallible>>>;

const fn is_send<T: Send>() {}
const fn is_send_sync<T: Send + Sync>() {}
const fn is_clone<T: Clone>() {}
const fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

const _: () = {
    is_send_sync::<AuthLayer>();
    is_send_sync::<AuthLayer<Asking>>();
    is_send_sync::<Auth<Inner<String>, KeyRing>>();
    is_send_sync::<Auth<Inner<String>, Asking>>();
    is_send_sync::<AuthBody<String>>();
    is_send_sync::<Caller>();
    is_send_sync::<Tunnel>();
    is_send_sync::<Principal>();
    is_send_sync::<RequestId>();
    is_send_sync::<KeyRing>();
    is_send_sync::<Key>();
    is_send_sync::<Secret>();
    is_send_sync::<Policy>();
    is_send_sync::<TracingSink>();
    is_send_sync::<AuditRecord<'static>>();
    is_send_sync::<Environment>();
    is_send_sync::<Settings>();
    // The future is `Send` even if the request body is not `Sync`.
    is_send::<AuthFuture<Inner<String>, KeyRing, String>>();
    is_send::<AuthFuture<Inner<Cell<u8>>, Asking, Cell<u8>>>();
    is_send::<AuthBody<Cell<u8>>>();
    // The verifier is shared, so that the layer is cheap to clone with any verifier.
    is_clone::<AuthLayer<Asking>>();
    is_clone::<Auth<Inner<String>, Asking>>();
    is_error::<ConfigError>();
    is_error::<Denial>();
};
