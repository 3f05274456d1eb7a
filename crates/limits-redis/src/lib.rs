//! Limits that replicas of Voxgate share, through Redis or Valkey.
//!
//! [`RedisStore`] is a [`LimitStore`](voxgate::rate_limit::LimitStore): add it to a limiter with
//! [`LimiterBuilder::with_store`](voxgate::rate_limit::LimiterBuilder::with_store).
//!
//! A program that reads its settings from the environment needs one line,
//! [`layer_from_env`]. With its own environment it needs three:
//!
//! ```
//! use voxgate::env::{Environment, Settings};
//! use voxgate_limits_redis::RedisSettings;
//!
//! # let vars = [
//! #     ("VOXGATE_API_KEYS", "a-long-enough-key-for-this-example"),
//! #     ("VOXGATE_REDIS_URL", "redis://127.0.0.1:1"),
//! # ];
//! # let environment = Environment::new(vars, &[]);
//! # let mut problems = Vec::new();
//! # let settings = Settings::from_environment(&environment)?;
//! let redis = RedisSettings::read(&environment, &mut problems).ok_or("no VOXGATE_REDIS_URL")?;
//! let auth = settings.into_layer_with(|limiter| redis.add_to(limiter))?;
//! # drop(auth);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod breaker;
mod command;
mod connection;
mod connection_task;
mod dispatcher;
mod engine;
mod gauges;
mod health;
mod jitter;
mod keys;
mod lease;
mod lease_table;
mod message;
mod options;
mod redis_error;
mod script;
mod settings;
mod store;
mod tls;
mod wait_queues;

pub use self::options::RedisOptions;
pub use self::settings::{RedisSettings, layer_from_env};
pub use self::store::RedisStore;
