//! The file of other issuers (`issuers.toml`).

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use voxgate_core::error::{ConfigError, Problem};
use voxgate_core::files::read_text;
use voxgate_core::principal::Scope;
use voxgate_limits::{Limits, Rate};

use crate::key_set::KeySet;
use crate::refresh::{Fetch, KeySource, follow};
use crate::trusted::{ClaimMapping, TrustedIssuer, TrustedIssuers};

/// Other issuers whose tokens are accepted, as a file describes them:
///
/// ```toml
/// [[issuer]]
/// name = "kubernetes"            # first part of the ids of its principals: kubernetes/SUBJECT
/// issuer = "https://kubernetes.default.svc.cluster.local"     # the value of `iss`
/// audiences = ["voxgate"]        # a token must name one of them in `aud`
/// # Where its keys are. Without both, OpenID Connect Discovery 1.0 §4 finds them.
/// jwks_url = "https://kubernetes.default.svc/openid/v1/jwks"
/// # jwks_file = "/etc/voxgate/jwks.json"
/// ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
/// bearer_file = "/var/run/secrets/kubernetes.io/serviceaccount/token"
/// max_life_seconds = 3600        # refuses tokens that are valid for longer
/// # What its claims mean. A subject without any scope is refused.
/// default_scopes = ["tts:synthesize"]
/// scope_claim = "scope"          # or "roles", a list
/// scopes = { speaker = "tts:synthesize" }       # their names in ours; others are ignored
/// voice_claim = "voices"
/// account_claim = "tenant"
/// kind = "standard"              # or "realtime"
/// rate = "50/s"                  # limits of each subject
/// burst = 100
/// concurrency = 4
/// ```
#[derive(Debug)]
pub struct IssuersFile {
    issuers: Vec<Configured>,
}

#[derive(Debug)]
struct Configured {
    raw: RawIssuer,
    mapping: ClaimMapping,
    source: KeySource,
    keys: Option<KeySet>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default)]
    issuer: Vec<toml::Table>,
    #[serde(flatten)]
    others: BTreeMap<String, toml::Value>,
}

/// The issuers of a file that may change.
pub struct FollowedIssuers {
    trusted: TrustedIssuers,
    running: Vec<(RawIssuer, Arc<TrustedIssuer>)>,
    fetch: Arc<Fetch>,
}

impl FollowedIssuers {
    /// The issuers. They change with [`replace`](Self::replace).
    #[must_use]
    pub fn trusted(&self) -> TrustedIssuers {
        self.trusted.clone()
    }

    /// Accepts the tokens of these issuers from now on, and of no others. An issuer whose table is
    /// the same goes on; one whose keys are in the same place keeps them until they are read again.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started. Then the last issuers stay in force.
    pub fn replace(&mut self, file: IssuersFile) -> std::io::Result<()> {
        let next = file.issuers.into_iter().map(|configured| {
            let same = |(raw, _): &&(RawIssuer, _)| *raw == configured.raw;
            if let Some((raw, issuer)) = self.running.iter().find(same) {
                return Ok((raw.clone(), Arc::clone(issuer)));
            }
            let last = self.running.iter();
            let last = last.map(|(raw, issuer)| (raw, &**issuer));
            let last = last
                .filter(|(raw, _)| raw.has_keys_of(&configured.raw))
                .map(|(_, issuer)| issuer)
                .next();
            configured.start(&self.fetch, last)
        });
        let next = next.collect::<std::io::Result<Vec<_>>>()?;
        let issuers = next.iter().map(|(_, issuer)| Arc::clone(issuer));
        self.trusted.replace(issuers);
        self.running = next;
        Ok(())
    }
}

impl std::fmt::Debug for FollowedIssuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FollowedIssuers")
            .field(&self.trusted)
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    name: String,
    issuer: String,
    audiences: Vec<String>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    bearer_file: Option<PathBuf>,
    max_life_seconds: Option<u64>,
    #[serde(default)]
    default_scopes: Vec<String>,
    scope_claim: Option<String>,
    #[serde(default)]
    scopes: BTreeMap<String, String>,
    voice_claim: Option<String>,
    account_claim: Option<String>,
    kind: Option<String>,
    rate: Option<String>,
    burst: Option<NonZeroU32>,
    concurrency: Option<NonZeroU32>,
}

impl IssuersFile {
    /// Reads and validates the file, and the key sets that it mounts. `own` is the issuer that no
    /// other may claim to be: Voxgate itself.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file; of each issuer, its first wrong type.
    pub fn load(path: &Path, own: Option<&str>) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let text = read_text(path).map_err(|error| {
            ConfigError::from(Problem::new(&*place, format!("cannot be read: {error}")))
        })?;
        Self::parse(&text, &place, own)
    }

    /// Validates the text of such a file. `place` names it in problems.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(text: &str, place: &str, own: Option<&str>) -> Result<Self, ConfigError> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            ConfigError::from(Problem::new(
                place,
                format!("is not valid TOML: {}", error.message()),
            ))
        })?;
        let mut problems = Vec::new();
        for name in raw.others.keys() {
            let message = format!("{name} is unknown; issuers are tables [[issuer]]");
            problems.push(Problem::new(place, message));
        }
        if raw.issuer.is_empty() {
            problems.push(Problem::new(place, "has no issuer; add a table [[issuer]]"));
        }
        let (mut names, mut urls) = (HashSet::new(), HashSet::new());
        let mut issuers = Vec::new();
        for (at, table) in raw.issuer.into_iter().enumerate() {
            let place = format!("{place}: issuer {}", at + 1);
            let raw: RawIssuer = match table.try_into() {
                Ok(raw) => raw,
                Err(error) => {
                    problems.push(Problem::new(place, error.message().to_owned()));
                    continue;
                }
            };
            let mut wrong = Vec::new();
            if !names.insert(raw.name.clone()) {
                wrong.push("name is another issuer's, too; choose another name".to_owned());
            }
            if !urls.insert(raw.issuer.clone()) || own == Some(&*raw.issuer) {
                let message = "issuer is another issuer's, too; name all audiences in one table";
                wrong.push(message.to_owned());
            }
            let configured = raw.check(&mut wrong);
            problems.extend(
                wrong
                    .into_iter()
                    .map(|message| Problem::new(&*place, message)),
            );
            issuers.extend(configured);
        }
        ConfigError::check(Some(Self { issuers }), problems)
    }

    /// The CA bundles that the file names.
    pub fn ca_files(&self) -> impl Iterator<Item = &Path> {
        self.issuers
            .iter()
            .filter_map(|issuer| issuer.raw.ca_file.as_deref())
    }

    /// Starts to follow the keys of all issuers, each on a thread that ends with the issuer. `fetch`
    /// gets key sets by HTTP, and must have a deadline.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub fn follow(self, fetch: &Arc<Fetch>) -> std::io::Result<FollowedIssuers> {
        let mut followed = FollowedIssuers {
            trusted: TrustedIssuers::default(),
            running: Vec::new(),
            fetch: Arc::clone(fetch),
        };
        followed.replace(self)?;
        Ok(followed)
    }
}

impl Configured {
    /// Starts to follow the keys. Until they are read, those of `last` are in force.
    fn start(
        self,
        fetch: &Arc<Fetch>,
        last: Option<&TrustedIssuer>,
    ) -> std::io::Result<(RawIssuer, Arc<TrustedIssuer>)> {
        let Self {
            raw,
            mapping,
            source,
            keys,
        } = self;
        let (wake, woken) = std::sync::mpsc::sync_channel(1);
        let audiences = raw.audiences.iter().map(|audience| &**audience);
        let mut issuer = TrustedIssuer::new(&raw.name, &raw.issuer, audiences, mapping)
            .on_unknown_key(move || {
                // A full channel means that the thread is asked already.
                _ = wake.try_send(());
            });
        if let Some(seconds) = raw.max_life_seconds {
            issuer = issuer.with_max_life(Duration::from_secs(seconds));
        }
        let issuer = Arc::new(issuer);
        match (keys, last) {
            (Some(keys), _) => issuer.replace_keys(keys),
            (None, Some(last)) => issuer.take_keys_of(last),
            (None, None) => {}
        }
        follow(&issuer, source, Arc::clone(fetch), woken)?;
        Ok((raw, issuer))
    }
}

impl RawIssuer {
    /// Whether the keys of both are in the same place.
    fn has_keys_of(&self, other: &Self) -> bool {
        let place = |raw: &Self| {
            let urls = (raw.issuer.clone(), raw.jwks_url.clone());
            (urls, raw.ca_file.clone(), raw.bearer_file.clone())
        };
        let is_mounted = self.jwks_file.is_some() || other.jwks_file.is_some();
        !is_mounted && place(self) == place(other)
    }

    fn check(self, wrong: &mut Vec<String>) -> Option<Configured> {
        let before = wrong.len();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            wrong.push("name must be 1 to 32 characters of A-Z a-z 0-9 . _ -".to_owned());
        }
        if self.issuer.trim().is_empty() {
            wrong.push("issuer is blank; write the value of `iss`".to_owned());
        }
        if self.audiences.is_empty() || self.audiences.iter().any(|one| one.trim().is_empty()) {
            wrong.push("audiences must name at least one audience, and none blank".to_owned());
        }
        let mapping = self.mapping(wrong);
        let is_url = |url: &str| url.starts_with("https://") || is_loopback(url);
        let insecure = "must be an https:// URL, because keys could be replaced on the way";
        let source = match (&self.jwks_file, &self.jwks_url) {
            (Some(_), Some(_)) => {
                wrong.push("has jwks_file and jwks_url; choose one".to_owned());
                None
            }
            (Some(file), None) => {
                if self.ca_file.is_some() || self.bearer_file.is_some() {
                    wrong.push("ca_file and bearer_file have no effect with jwks_file".to_owned());
                }
                Some(KeySource::File(file.clone()))
            }
            (None, url) => {
                let url = url.as_ref();
                if !url.is_none_or(|url| is_url(url)) {
                    wrong.push(format!("jwks_url {insecure}"));
                }
                if url.is_none() && !is_url(&self.issuer) {
                    wrong.push(format!("issuer {insecure}, or set jwks_url or jwks_file"));
                }
                Some(KeySource::Url {
                    issuer: self.issuer.clone(),
                    jwks_url: url.cloned(),
                    ca_file: self.ca_file.clone(),
                    bearer_file: self.bearer_file.clone(),
                })
            }
        };
        let keys = match &source {
            Some(KeySource::File(file)) => match read_text(file) {
                Ok(text) => match KeySet::parse(&text) {
                    Ok(keys) => Some(keys),
                    Err(error) => {
                        wrong.push(format!("jwks_file {error}"));
                        None
                    }
                },
                Err(error) => {
                    wrong.push(format!("jwks_file cannot be read: {error}"));
                    None
                }
            },
            _ => None,
        };
        let is_good = wrong.len() == before;
        is_good.then_some(())?;
        Some(Configured {
            raw: self,
            mapping,
            source: source?,
            keys,
        })
    }

    fn mapping(&self, wrong: &mut Vec<String>) -> ClaimMapping {
        let mut mapping = ClaimMapping::default();
        let mut scope = |field: &str, text: &str| {
            let scope = Scope::new(text);
            if scope.is_none() {
                wrong.push(format!("{field} must be scopes such as \"tts:synthesize\""));
            }
            scope
        };
        mapping.default_scopes = self
            .default_scopes
            .iter()
            .filter_map(|text| scope("default_scopes", text))
            .collect();
        mapping.scopes = self
            .scopes
            .iter()
            .filter_map(|(theirs, ours)| Some((theirs.clone(), scope("scopes", ours)?)))
            .collect();
        if !self.scopes.is_empty() && self.scope_claim.is_none() {
            wrong.push("scopes has no effect without scope_claim; set it".to_owned());
        }
        if self.scope_claim.is_none() && self.default_scopes.is_empty() {
            let message = "gives its subjects no right; set scope_claim or default_scopes";
            wrong.push(message.to_owned());
        }
        mapping.scope_claim.clone_from(&self.scope_claim);
        mapping.voice_claim.clone_from(&self.voice_claim);
        mapping.account_claim.clone_from(&self.account_claim);
        mapping.is_realtime = match self.kind.as_deref() {
            None | Some("standard") => false,
            Some("realtime") => true,
            Some(_) => {
                wrong.push("kind must be standard or realtime".to_owned());
                false
            }
        };
        let limits = Limits {
            rate: self.rate.as_deref().and_then(Rate::parse),
            burst: self.burst,
            concurrency: self.concurrency,
        };
        if limits.rate.is_none() && (self.rate.is_some() || self.burst.is_some()) {
            wrong.push("rate must be such as 50/s, 600/min or 10000/h; burst needs it".to_owned());
        }
        mapping.limits = limits;
        mapping
    }
}

/// Plain HTTP within the machine, for tests and sidecars.
fn is_loopback(url: &str) -> bool {
    let host = url.strip_prefix("http://").unwrap_or_default();
    ["127.0.0.1", "[::1]"].into_iter().any(|loopback| {
        let rest = host.strip_prefix(loopback);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}
