//! Metering and quotas.
//!
//! - [`audio`]: the duration of audio, read in passing.
//! - [`Calendar`]: days and months in a time zone.
//! - [`UsageBook`]: what keys and accounts use in each day and month, and their quotas. It survives
//!   restarts in a state file ([`BookBuilder::with_state_file`]), and replicas share it through a
//!   [`QuotaStore`](voxgate::rate_limit::QuotaStore).
//! - [`TunnelUsage`]: the audio in the messages of WebSockets.
//! - [`UsageLayer`]: counts requests and the audio of answers. It goes inside the authentication
//!   layer, and outside of the layer that reads texts.
//!
//! Nothing here sees the text that is spoken: characters come from the
//! [`SpeechMeter`](voxgate::speech::SpeechMeter) of a request.

mod answers;
pub mod audio;
mod audio_account;
mod body;
mod book;
mod calendar;
mod layer;
mod owner;
mod spoken;
mod state_file;
mod tally;
mod text_quota;

pub use self::answers::{NEUTRAL_PATH, answered_routes};
pub use self::body::UsageBody;
pub use self::book::{BookBuilder, Exhausted, OwnerUsage, QuotaUse, Taken, UsageBook};
pub use self::calendar::{Calendar, Today};
pub use self::layer::{Usage, UsageFuture, UsageLayer};
pub use self::spoken::{MessageForm, TunnelReader, TunnelUsage};
pub use self::state_file::StateError;
