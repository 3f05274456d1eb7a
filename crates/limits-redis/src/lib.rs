//! Limits that replicas of Voxgate share, through Redis or Valkey.
//!
//! [`RedisStore`] is a [`LimitStore`](voxgate::rate_limit::LimitStore): add it to a limiter with
//! [`LimiterBuilder::with_store`](voxgate::rate_limit::LimiterBuilder::with_store).
//! [`SharedSpentTokens`] accepts each single-use token once. [`SharedRevocations`] tells all replicas at once which keys are revoked.
//!
//! A program that reads its settings from the environment needs one line:
//!
//! ```no_run
//! let auth = voxgate_limits_redis::layer_from_env()?;
//! # drop(auth);
//! # Ok::<(), voxgate::ConfigError>(())
//! ```
//!
//! A program with its own variables needs three calls:
//!
//! ```
//! use voxgate::env::{Environment, Setting};
//! use voxgate_limits_redis::read_settings;
//!
//! # let vars = [
//! #     ("VOXGATE_API_KEYS", "a-long-enough-key-for-this-example"),
//! #     ("VOXGATE_REDIS_URL", "redis://127.0.0.1:1"),
//! #     ("VOXGATE_VOICES", "two"),
//! # ];
//! let own = [Setting::new("Speech", "VOXGATE_VOICES", "VOICES", "Voices that are loaded")];
//! let environment = Environment::new(vars, &own);
//! let (settings, redis) = read_settings(&environment)?;
//! let auth = settings.into_layer_with(|limiter| match redis {
//!     Some(redis) => redis.add_to(limiter),
//!     None => Ok(limiter),
//! })?;
//! # drop(auth);
//! # Ok::<(), voxgate::ConfigError>(())
//! ```

mod address;
mod breaker;
mod clock;
mod command;
mod connection;
mod connection_task;
mod dispatcher;
mod engine;
mod gauges;
mod hash_slot;
mod health;
mod jitter;
mod keys;
mod lazy_client;
mod lease;
mod lease_table;
mod link;
mod message;
mod node;
mod options;
mod quotas;
mod redirect;
mod redis_error;
mod replication;
mod revocations;
mod script;
mod sentinel;
mod settings;
mod several;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod slot_map;
mod spent;
mod store;
mod tls;
mod topology_task;
mod wait_queues;

pub use self::options::RedisOptions;
pub use self::revocations::SharedRevocations;
pub use self::settings::{RedisSettings, layer_from_env, read_settings};
pub use self::spent::SharedSpentTokens;
pub use self::store::RedisStore;
