//! Metrics of what is spoken, and of quotas.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use voxgate::audit::Completion;
use voxgate::rate_limit::LimitScope;
use voxgate_usage::UsageBook;

use super::keys::{KeyId, KeyLabel};

/// Most models that have metrics of their own. Clients write the names.
const MODELS: usize = 100;
/// The label of all other models, and of requests that name none.
const OTHER: &str = "(other)";
const NO_MODEL: &str = "";
/// Seconds until the first byte.
const BUCKETS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
];

/// Characters and audio, by key and by model.
#[derive(Clone)]
pub(super) struct SpeechMetrics {
    characters: Family<KeyLabel, Counter>,
    audio: Family<KeyLabel, Counter<f64, AtomicU64>>,
    by_model: Family<ModelLabel, Counter>,
    unmetered: Counter,
    first_byte: Histogram,
    keys: Known<KeyId>,
    models: Known<Arc<str>>,
}

impl SpeechMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            characters: Family::default(),
            audio: Family::default(),
            by_model: Family::default(),
            unmetered: Counter::default(),
            first_byte: Histogram::new(BUCKETS),
            keys: Known::new(usize::MAX),
            models: Known::new(MODELS),
        };
        registry.register(
            "speech_characters",
            "Characters of text in requests, by key",
            metrics.characters.clone(),
        );
        registry.register_with_unit(
            "speech_audio",
            "Duration of the audio in answers, by key, where the format tells it",
            Unit::Seconds,
            metrics.audio.clone(),
        );
        registry.register(
            "speech_model_characters",
            "Characters of text in requests, by model",
            metrics.by_model.clone(),
        );
        registry.register(
            "speech_unmetered_requests",
            "Requests with text that could not be counted",
            metrics.unmetered.clone(),
        );
        registry.register_with_unit(
            "speech_first_byte",
            "Time from the arrival of a metered request to the first byte of its answer",
            Unit::Seconds,
            metrics.first_byte.clone(),
        );
        metrics
    }

    pub(super) fn limit_keys(&mut self, most: usize) {
        self.keys = Known::new(most);
    }

    pub(super) fn completed(&self, completion: &Completion<'_>) {
        let Some(meter) = completion.speech else {
            return;
        };
        let (characters, audio) = (meter.characters(), meter.audio_milliseconds());
        if meter.is_unmetered() {
            self.unmetered.inc();
        }
        if characters == 0 && audio.is_none() {
            return;
        }
        let key_id = KeyId::of(Some(completion.principal));
        let key_id = self.keys.own(key_id).unwrap_or(KeyId::Other);
        let label = KeyLabel { key_id };
        self.characters.get_or_create(&label).inc_by(characters);
        if let Some(audio) = audio {
            self.audio
                .get_or_create(&label)
                .inc_by(audio as f64 / 1000.0);
        }
        let model = meter.model().unwrap_or_else(|| NO_MODEL.into());
        let model = self.models.own(model).unwrap_or_else(|| OTHER.into());
        self.by_model
            .get_or_create(&ModelLabel { model })
            .inc_by(characters);
        if let Some(first_byte) = completion.first_byte {
            self.first_byte.observe(first_byte.as_secs_f64());
        }
    }

    /// Removes the metrics of a key. What it used counts among that of other keys.
    pub(super) fn forget(&self, key_id: &KeyId) {
        if !self.keys.remove(key_id) {
            return;
        }
        let label = KeyLabel {
            key_id: key_id.clone(),
        };
        let other = KeyLabel {
            key_id: KeyId::Other,
        };
        let characters = self.characters.get(&label).map(|it| it.get());
        let audio = self.audio.get(&label).map(|it| it.get());
        self.characters.remove(&label);
        self.audio.remove(&label);
        if let Some(characters) = characters {
            self.characters.get_or_create(&other).inc_by(characters);
        }
        if let Some(audio) = audio {
            self.audio.get_or_create(&other).inc_by(audio);
        }
    }
}

/// The first names that were seen, up to a number.
#[derive(Clone)]
struct Known<T> {
    most: usize,
    names: Arc<Mutex<HashSet<T>>>,
}

impl<T: Hash + Eq + Clone> Known<T> {
    fn new(most: usize) -> Self {
        Self {
            most,
            names: Arc::default(),
        }
    }

    /// The name, if it has metrics of its own.
    fn own(&self, name: T) -> Option<T> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(&name) {
            return Some(name);
        }
        let is_new = names.len() < self.most && names.insert(name.clone());
        is_new.then_some(name)
    }

    fn remove(&self, name: &T) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.remove(name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: Arc<str>,
}

/// The use of quotas, read when Prometheus asks.
#[derive(Clone, Debug, Default)]
pub(super) struct QuotaMetrics {
    pub(super) book: Arc<OnceLock<UsageBook>>,
    most: Arc<OnceLock<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuotaLabels {
    scope: &'static str,
    id: String,
    quota: String,
}

impl QuotaMetrics {
    /// Reports at most so many keys, and as many accounts.
    pub(super) fn limit_keys(&self, most: usize) {
        // It is set once, before the gateway starts.
        let _ = self.most.set(most);
    }
}

impl Collector for QuotaMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(book) = self.book.get() else {
            return Ok(());
        };
        let owners = book.limited(self.most.get().copied().unwrap_or(usize::MAX));
        if owners.is_empty() {
            return Ok(());
        }
        let mut encoder = encoder.encode_descriptor(
            "quota_used_ratio",
            "What is used of a quota in its current period, from 0 to 1",
            None,
            MetricType::Gauge,
        )?;
        for owner in owners {
            for used in owner.quotas {
                let labels = QuotaLabels {
                    scope: match owner.scope {
                        LimitScope::Account => "account",
                        _ => "key",
                    },
                    id: owner.id.clone(),
                    quota: used.quota.to_string(),
                };
                let ratio = used.used as f64 / used.quota.amount() as f64;
                ConstGauge::new(ratio).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
