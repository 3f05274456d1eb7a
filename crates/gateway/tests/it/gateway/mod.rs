//! The real program, over real sockets.

mod admin;
mod admission;
mod audit_log;
mod audit_loss;
mod audit_queries;
mod audit_sinks;
mod audit_time_stamps;
mod bodies;
mod broken_streams;
mod command_line;
mod connection_limits;
mod demo;
mod dialects;
mod floods;
mod forwarding;
pub(crate) mod harness;
mod keys_reload;
mod lifecycle;
mod limits;
mod rejections;
mod request_corpus;
mod revoking;
mod shared_limits;
mod slow_clients;
mod smuggling;
mod tunnels;
mod upstream_failures;
