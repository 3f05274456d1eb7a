//! Metering and quotas, as configured.

use std::io;
use std::path::{Path, PathBuf};

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate::rate_limit::OnFailure;
use voxgate_audit_log::cli::charges;
use voxgate_limits_redis::RedisStore;
use voxgate_usage::{BookBuilder, Calendar, UsageBook, UsageLayer};

use super::settings::{METERING, QUOTA_FILE, QUOTA_TIME_ZONE, USAGE_ANSWERS, default_of};

/// The settings of metering and quotas.
#[derive(Clone, Debug)]
pub(crate) struct UsageSettings {
    pub(crate) metering: bool,
    pub(crate) answers: bool,
    pub(crate) file: Option<PathBuf>,
    zone: String,
}

impl UsageSettings {
    /// Reads the settings, and collects what is wrong.
    pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut boolean =
            |variable: &'static str| match environment.get(variable).unwrap_or("false").trim() {
                "true" => true,
                "false" => false,
                _ => {
                    problems.push(Problem::new(variable, "must be `true` or `false`"));
                    false
                }
            };
        let (metering, answers) = (boolean(METERING), boolean(USAGE_ANSWERS));
        let file = environment.get(QUOTA_FILE).map(PathBuf::from);
        let zone = environment.get(QUOTA_TIME_ZONE);
        let zone = zone.unwrap_or_else(|| default_of(QUOTA_TIME_ZONE)).trim();
        if Calendar::in_zone(zone).is_none() {
            let message = "must be the IANA name of a time zone, such as UTC or Europe/Berlin";
            problems.push(Problem::new(QUOTA_TIME_ZONE, message));
            return None;
        }
        Some(Self {
            metering,
            answers,
            file,
            zone: zone.to_owned(),
        })
    }

    fn builder(&self) -> io::Result<BookBuilder> {
        let calendar = Calendar::in_zone(&self.zone).ok_or(io::ErrorKind::NotFound)?;
        Ok(UsageBook::builder(calendar))
    }

    /// Opens the book. Without a state file, or if it is lost, what was used in this month is
    /// counted from the audit log, unless `has_quotas` is false and nothing else asks for it. Replicas
    /// that share quotas need no audit log: the store has what they have used.
    ///
    /// # Errors
    ///
    /// If the state file or the audit log cannot be used.
    pub(crate) fn open(
        &self,
        store: Option<(RedisStore, OnFailure)>,
        audit_directory: Option<&Path>,
        header_fields: bool,
        has_quotas: bool,
    ) -> io::Result<UsageBook> {
        let mut builder = self.builder()?.with_header_fields(header_fields);
        if let Some(file) = &self.file {
            builder = builder.with_state_file(file);
        }
        let is_asked_for = has_quotas || self.metering || self.answers;
        let audit_directory = audit_directory.filter(|_| is_asked_for && store.is_none());
        if let Some((store, on_failure)) = store {
            builder = builder.with_store(store, on_failure);
        }
        if self.metering || self.answers {
            builder = builder.with_all_principals();
        }
        let mut restored = Ok(());
        let book = builder.build_with(|book| {
            if let Some(directory) = audit_directory {
                restored = restore(book, directory);
            }
        });
        restored.map_err(io::Error::other)?;
        book.map_err(io::Error::other)
    }

    /// The book in the state file, as another process has written it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is not a state file.
    pub(crate) fn peek(&self) -> io::Result<Option<UsageBook>> {
        let Some(file) = self.file.as_deref().filter(|file| file.exists()) else {
            return Ok(None);
        };
        let book = self.builder()?.read_only(file);
        book.map(Some).map_err(io::Error::other)
    }

    /// The layer that counts.
    pub(crate) fn layer(&self, book: UsageBook) -> UsageLayer {
        let layer = UsageLayer::new(book);
        match self.answers {
            true => layer.with_answers(),
            false => layer,
        }
    }
}

fn restore(book: &UsageBook, directory: &Path) -> Result<(), String> {
    let mut requests = 0_u64;
    charges(directory, book.restores_from(), |charge| {
        requests += 1;
        let amounts = [charge.characters, 1, charge.audio_ms];
        book.restore(charge.key, charge.account, charge.time, amounts);
    })?;
    if requests > 0 {
        tracing::info!(
            requests,
            "what keys have used in this month was counted from the audit log"
        );
    }
    Ok(())
}

/// A layer that counts in memory.
#[cfg(test)]
pub(crate) fn in_memory() -> UsageLayer {
    let calendar = Calendar::in_zone("UTC").expect("a zone");
    UsageLayer::new(
        UsageBook::builder(calendar)
            .build()
            .expect("without a file"),
    )
}
