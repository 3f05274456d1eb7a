//! The settings of the audit trail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use voxgate::audit::log::Signer;
use voxgate::audit::{DeliveryGuarantee, Pepper};
use voxgate::env::{Environment, path_to_show, read_text};
use voxgate::{ConfigError, Problem};

use super::addresses::RecordedAddresses;
use super::sinks::{SinkSettings, http_url};
use super::time_stamps::TimeStampSettings;
use crate::settings::{
    AUDIT, AUDIT_ADDRESSES, AUDIT_DIR, AUDIT_PEPPER_FILE, AUDIT_RETENTION, AUDIT_RETENTION_SHARE,
    AUDIT_SEGMENT, AUDIT_SIGNING_KEY_FILE, AUDIT_TSA_INTERVAL, AUDIT_TSA_URL, default_of,
};

/// The audit trail as configured.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub(crate) promise: DeliveryGuarantee,
    /// `None` for standard output.
    pub(crate) log: Option<LogFiles>,
    pub(crate) sinks: SinkSettings,
    pub(crate) pepper: Option<Pepper>,
    pub(crate) addresses: RecordedAddresses,
}

/// The audit log in files.
#[derive(Clone, Debug)]
pub(crate) struct LogFiles {
    pub(crate) directory: PathBuf,
    pub(crate) segment_bytes: u64,
    /// `None` keeps every file.
    pub(crate) retention: Option<Duration>,
    /// The largest share of the closed files that is deleted within an hour, in percent.
    pub(crate) retention_percent: u8,
    pub(crate) signer: Option<Signer>,
    pub(crate) time_stamps: Option<TimeStampSettings>,
}

/// The values of the environment variables, not yet checked.
#[derive(Deserialize)]
struct RawAuditSettings {
    audit: Option<String>,
    audit_dir: Option<String>,
    audit_segment: Option<String>,
    audit_retention: Option<String>,
    audit_retention_share: Option<String>,
    audit_signing_key_file: Option<String>,
    audit_tsa_url: Option<String>,
    audit_tsa_interval: Option<String>,
    audit_pepper_file: Option<String>,
    audit_addresses: Option<String>,
}

impl Audit {
    /// Reads the settings, and collects what is wrong.
    ///
    /// # Errors
    ///
    /// When the environment cannot be read.
    pub(crate) fn read(
        environment: &Environment,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Self>, ConfigError> {
        let raw: RawAuditSettings = environment.fill("VOXGATE_")?;
        let mut reading = SettingsReader { problems };
        let directory = reading.directory(raw.audit_dir.as_deref());
        let guarantee = reading.guarantee(raw.audit.as_deref(), directory.is_some());
        let segment_bytes = reading.size(raw.audit_segment.as_deref());
        let retention = reading.retention(raw.audit_retention.as_deref());
        let retention_percent = reading.percent(raw.audit_retention_share.as_deref());
        if raw.audit_retention_share.is_some() && raw.audit_retention.is_none() {
            let message = format!("has no effect without {AUDIT_RETENTION}; set both or neither");
            reading.problem(AUDIT_RETENTION_SHARE, message);
        }
        let signer = reading.signer(raw.audit_signing_key_file.as_deref());
        let time_stamps = reading.time_stamps(
            raw.audit_tsa_url.as_deref(),
            raw.audit_tsa_interval.as_deref(),
        );
        if raw.audit_tsa_url.is_some() && raw.audit_signing_key_file.is_none() {
            let message =
                format!("has no effect without {AUDIT_SIGNING_KEY_FILE}; set both or neither");
            reading.problem(AUDIT_TSA_URL, message);
        }
        let pepper = reading.pepper(raw.audit_pepper_file.as_deref());
        let addresses = reading.addresses(raw.audit_addresses.as_deref(), pepper.as_ref());
        for (variable, given) in [
            (AUDIT_SEGMENT, raw.audit_segment.is_some()),
            (AUDIT_RETENTION, raw.audit_retention.is_some()),
            (AUDIT_SIGNING_KEY_FILE, raw.audit_signing_key_file.is_some()),
            (AUDIT_TSA_URL, raw.audit_tsa_url.is_some()),
        ] {
            if given && raw.audit_dir.is_none() {
                let message = format!("has no effect without {AUDIT_DIR}; set both or neither");
                reading.problem(variable, message);
            }
        }
        let has_directory = raw.audit_dir.is_some();
        let is_secured = |it: &TimeStampSettings| it.url.scheme_str() == Some("https");
        let sinks = SinkSettings::read(
            environment,
            &mut reading,
            has_directory,
            guarantee,
            time_stamps.as_ref().is_some_and(is_secured),
        )?;
        let (Some(guarantee), Some(segment_bytes), Some(retention_percent), Some(addresses)) =
            (guarantee, segment_bytes, retention_percent, addresses)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            promise: guarantee,
            log: directory.map(|directory| LogFiles {
                directory,
                segment_bytes,
                retention,
                retention_percent,
                signer,
                time_stamps,
            }),
            sinks,
            pepper,
            addresses,
        }))
    }
}

/// Reads single settings, and collects what is wrong.
pub(super) struct SettingsReader<'a> {
    problems: &'a mut Vec<Problem>,
}

impl SettingsReader<'_> {
    pub(super) fn problem(&mut self, variable: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(variable, message));
    }

    fn directory(&mut self, given: Option<&str>) -> Option<PathBuf> {
        let given = given?;
        if given.trim().is_empty() {
            self.problem(AUDIT_DIR, "is blank; set it to a directory, or remove it");
            return None;
        }
        Some(PathBuf::from(given))
    }

    fn guarantee(&mut self, given: Option<&str>, has_directory: bool) -> Option<DeliveryGuarantee> {
        let guarantee = match given.map(str::trim) {
            None if has_directory => DeliveryGuarantee::Blocking,
            None | Some("counted") => DeliveryGuarantee::Counted,
            Some("blocking") => DeliveryGuarantee::Blocking,
            Some("durable") if has_directory => DeliveryGuarantee::Durable,
            Some("durable") => {
                let message = format!(
                    "is `durable`, but standard output cannot be durable; set {AUDIT_DIR} as well"
                );
                self.problem(AUDIT, message);
                return None;
            }
            Some(_) => {
                self.problem(AUDIT, "must be `durable`, `blocking` or `counted`");
                return None;
            }
        };
        Some(guarantee)
    }

    fn size(&mut self, given: Option<&str>) -> Option<u64> {
        let given = given.unwrap_or_else(|| default_of(AUDIT_SEGMENT)).trim();
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let bytes = units.into_iter().find_map(|(unit, shift)| {
            let number: u64 = given.strip_suffix(unit)?.trim_end().parse().ok()?;
            number
                .checked_shl(shift)
                .filter(|bytes| bytes >> shift == number)
        });
        let bytes = bytes.filter(|bytes| (1 << 20..=1 << 40).contains(bytes));
        if bytes.is_none() {
            let message = "must be a size from 1MiB to 1024GiB, such as 64MiB";
            self.problem(AUDIT_SEGMENT, message);
        }
        bytes
    }

    fn retention(&mut self, given: Option<&str>) -> Option<Duration> {
        let given = given?;
        let time = humantime::parse_duration(given.trim()).ok();
        let time = time.filter(|time| *time >= Duration::from_secs(24 * 60 * 60));
        if time.is_none() {
            self.problem(AUDIT_RETENTION, "must be at least one day, such as 400d");
        }
        time
    }

    fn percent(&mut self, given: Option<&str>) -> Option<u8> {
        let given = given.unwrap_or_else(|| default_of(AUDIT_RETENTION_SHARE));
        let number = given.trim().strip_suffix('%').map(str::trim_end);
        let percent = number.and_then(|number| number.parse().ok());
        let percent = percent.filter(|percent| (1..=100).contains(percent));
        if percent.is_none() {
            let message = "must be a whole percentage from 1% to 100%, such as 10%";
            self.problem(AUDIT_RETENTION_SHARE, message);
        }
        percent
    }

    fn addresses(
        &mut self,
        given: Option<&str>,
        pepper: Option<&Pepper>,
    ) -> Option<RecordedAddresses> {
        match given.unwrap_or_else(|| default_of(AUDIT_ADDRESSES)).trim() {
            "full" => Some(RecordedAddresses::Full),
            "prefix" => Some(RecordedAddresses::Prefix),
            "hash" => match pepper.cloned().map_or_else(Pepper::random, Ok) {
                Ok(pepper) => Some(RecordedAddresses::Hash(pepper)),
                Err(error) => {
                    let message = format!("needs random bytes of the system ({error}); try again");
                    self.problem(AUDIT_ADDRESSES, message);
                    None
                }
            },
            _ => {
                self.problem(AUDIT_ADDRESSES, "must be `full`, `prefix` or `hash`");
                None
            }
        }
    }

    fn signer(&mut self, given: Option<&str>) -> Option<Signer> {
        let text = self.file(AUDIT_SIGNING_KEY_FILE, given?)?;
        let signer = Signer::parse(text.trim()).ok();
        if signer.is_none() {
            let message = "holds no signing key; make one with: voxgate audit keygen";
            self.problem(AUDIT_SIGNING_KEY_FILE, message);
        }
        signer
    }

    fn time_stamps(
        &mut self,
        url: Option<&str>,
        interval: Option<&str>,
    ) -> Option<TimeStampSettings> {
        let text = interval.unwrap_or_else(|| default_of(AUDIT_TSA_INTERVAL));
        let range = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
        let time = humantime::parse_duration(text.trim()).ok();
        let time = time.filter(|time| range.contains(time));
        if time.is_none() {
            self.problem(AUDIT_TSA_INTERVAL, "must be from 1s to 1day, such as 10m");
        }
        if url.is_none() && interval.is_some() {
            let message = format!("has no effect without {AUDIT_TSA_URL}; set both or neither");
            self.problem(AUDIT_TSA_INTERVAL, message);
        }
        let authority = http_url(url?.trim());
        if authority.is_none() {
            let message = "must be a URL such as https://tsa.example/, without a user's name";
            self.problem(AUDIT_TSA_URL, message);
        }
        Some(TimeStampSettings {
            url: authority?,
            interval: time?,
        })
    }

    fn pepper(&mut self, given: Option<&str>) -> Option<Pepper> {
        let text = self.file(AUDIT_PEPPER_FILE, given?)?;
        let pepper = Pepper::new(text.trim().as_bytes());
        if pepper.is_none() {
            let message = "holds less than 16 bytes; make one with: openssl rand -hex 32";
            self.problem(AUDIT_PEPPER_FILE, message);
        }
        pepper
    }

    /// Reads a file. Errors show its path only if it cannot be a secret, set in the wrong variable.
    pub(super) fn file(&mut self, variable: &str, path: &str) -> Option<String> {
        match read_text(Path::new(path)) {
            Ok(text) => Some(text),
            Err(error) => {
                let cannot = match path_to_show(Path::new(path)) {
                    Some(path) => format!("cannot read {path}"),
                    None => "cannot be read".to_owned(),
                };
                let message = format!("{cannot} ({error}); set it to the path of a readable file");
                self.problem(variable, message);
                None
            }
        }
    }
}
