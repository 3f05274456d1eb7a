//! Metering and quotas.

use super::Setting;

pub(crate) const METERING: &str = "VOXGATE_METERING";
pub(crate) const QUOTA_FILE: &str = "VOXGATE_QUOTA_FILE";
pub(crate) const QUOTA_TIME_ZONE: &str = "VOXGATE_QUOTA_TIME_ZONE";
pub(crate) const USAGE_ANSWERS: &str = "VOXGATE_USAGE_ANSWERS";

pub(crate) const USAGE_GROUP: &str = "Usage and quotas";

pub(super) const USAGE: &[Setting] = &[
    Setting::new(
        USAGE_GROUP,
        METERING,
        "BOOLEAN",
        "Whether characters, audio, voices and models of every request are counted; those of keys \
         with quotas always are",
    )
    .with_default("false"),
    Setting::new(
        USAGE_GROUP,
        QUOTA_FILE,
        "PATH",
        "File that keeps what is used of quotas across restarts",
    )
    .with_default("counted in memory, and again from the audit log at start"),
    Setting::new(
        USAGE_GROUP,
        QUOTA_TIME_ZONE,
        "ZONE",
        "Time zone in which days and months of quotas begin, such as `Europe/Berlin`",
    )
    .with_default("UTC"),
    Setting::new(
        USAGE_GROUP,
        USAGE_ANSWERS,
        "BOOLEAN",
        "Whether the gateway answers `GET /voxgate/v1/usage`, and the usage requests of Supertone's, \
         ElevenLabs' and Deepgram's clients",
    )
    .with_default("false"),
];
