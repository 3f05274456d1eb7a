//! The tokens that the gateway accepts: its own, and those of other issuers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::{fs, io};

use ureq::Agent;
use ureq::http::header::AUTHORIZATION;
use voxgate::env::{Environment, path_to_show};
use voxgate::keys::TokenKeys;
use voxgate::token::{
    Fetch, FetchRequest, IssuersFile, SigningKey, SpendToken, SpentTokens, TokenIssuer,
    TokenVerifier, TrustedIssuers,
};
use voxgate::{Problem, SharedKeyRing};
use voxgate_limits_redis::RedisSettings;

use super::settings::{
    ISSUERS_FILE, TOKEN_AUDIENCE, TOKEN_CUT, TOKEN_ISSUER, TOKEN_JWKS, TOKEN_SECOND_KEY_FILE,
    TOKEN_SIGNING_KEY_FILE, TOKEN_SINGLE_USE_MAX, default_of,
};
use super::tls;

/// What the operator is told about a signing key that the gateway made.
pub(crate) const EPHEMERAL: &str = "tokens are signed with a key that exists only in this process: \
                                    replicas, and this gateway after a restart, do not accept them; \
                                    set VOXGATE_TOKEN_SIGNING_KEY_FILE";
/// The longest `iss` or `aud`, which records contain.
const MAX_NAME_BYTES: usize = 128;
/// How often the signing keys are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Deadline of a request for the keys of an issuer.
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// The largest key set or discovery document.
const MAX_DOCUMENT_BYTES: u64 = 512 * 1024;
/// The largest signing key.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// The settings of tokens.
#[derive(Debug)]
pub(crate) struct TokenSettings {
    /// Signs tokens; `None` if there is no signing key.
    issuer: Option<TokenIssuer>,
    files: Option<KeyFiles>,
    others: Option<Others>,
    single_use_max: usize,
    /// Whether a tunnel ends with its token.
    pub(crate) cut: bool,
    /// Whether the public keys are published.
    publishes: bool,
}

/// The file of other issuers.
#[derive(Debug)]
struct Others {
    path: PathBuf,
    /// What the path had when it was read.
    bytes: Option<Vec<u8>>,
    file: IssuersFile,
}

/// The files of the signing keys.
#[derive(Clone, Debug)]
struct KeyFiles {
    signing: PathBuf,
    second: Option<PathBuf>,
}

impl TokenSettings {
    /// Reads and validates the settings, the keys and the file of issuers. With `makes_tokens`, a
    /// gateway without a signing key gets one that exists only in this process.
    pub(crate) fn read(
        environment: &Environment,
        makes_tokens: bool,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let value = |variable| {
            let given = environment.get(variable);
            given.unwrap_or_else(|| default_of(variable)).trim()
        };
        let path = |variable| environment.get(variable).map(PathBuf::from);
        for variable in [TOKEN_ISSUER, TOKEN_AUDIENCE] {
            let text = value(variable);
            if text.is_empty() || text.len() > MAX_NAME_BYTES || text.contains(char::is_control) {
                let message = format!("must be 1 to {MAX_NAME_BYTES} bytes of text");
                problems.push(Problem::new(variable, message));
            }
        }
        let mut switch = |variable| match value(variable) {
            "on" => true,
            "off" => false,
            _ => {
                problems.push(Problem::new(variable, "must be `on` or `off`"));
                false
            }
        };
        let (cut, publishes) = (switch(TOKEN_CUT), switch(TOKEN_JWKS));
        let single_use_max = value(TOKEN_SINGLE_USE_MAX).parse().ok();
        let single_use_max = single_use_max.filter(|most| (1..=10_000_000).contains(most));
        if single_use_max.is_none() {
            let message = "must be a whole number from 1 to 10000000";
            problems.push(Problem::new(TOKEN_SINGLE_USE_MAX, message));
        }
        let (signing, second) = (path(TOKEN_SIGNING_KEY_FILE), path(TOKEN_SECOND_KEY_FILE));
        if second.is_some() && signing.is_none() {
            let message = format!(
                "has no effect without {TOKEN_SIGNING_KEY_FILE}; set that, or remove this setting"
            );
            problems.push(Problem::new(TOKEN_SECOND_KEY_FILE, message));
        }
        let files = signing.map(|signing| KeyFiles { signing, second });
        let keys = match &files {
            Some(files) => match files.read() {
                Ok(keys) => Some(keys),
                Err(wrong) => {
                    problems.extend(wrong);
                    None
                }
            },
            None if makes_tokens => match SigningKey::ephemeral() {
                Ok(key) => Some((key, None)),
                Err(error) => {
                    problems.push(Problem::new(TOKEN_SIGNING_KEY_FILE, error.to_string()));
                    None
                }
            },
            None => None,
        };
        let issuer = keys.map(|(signing, second)| {
            TokenIssuer::new(value(TOKEN_ISSUER), value(TOKEN_AUDIENCE), signing, second)
        });
        let others = path(ISSUERS_FILE).and_then(|path| {
            let own = issuer.as_ref().map(TokenIssuer::issuer);
            let bytes = fs::read(&path).ok();
            match load_issuers(&path, own) {
                Ok(file) => Some(Others { path, bytes, file }),
                Err(wrong) => {
                    problems.extend(wrong);
                    None
                }
            }
        });
        Self {
            issuer,
            files,
            others,
            single_use_max: single_use_max.unwrap_or(1),
            cut,
            publishes,
        }
    }

    /// The issuer of tokens, if there is a signing key.
    pub(crate) fn issuer(&self) -> Option<TokenIssuer> {
        self.issuer.clone()
    }

    /// Whether the signing key exists in this process alone.
    pub(crate) fn are_ephemeral(&self) -> bool {
        self.issuer.is_some() && self.files.is_none()
    }

    /// The issuer whose public keys are published, if the operator wants that.
    pub(crate) fn published(&self) -> Option<TokenIssuer> {
        self.issuer.clone().filter(|_| self.publishes)
    }

    /// What replicas share: which single-use tokens and signed requests were used. `None` without
    /// Redis, or if there are no tokens.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub(crate) fn shared_store(
        &self,
        redis: Option<&RedisSettings>,
    ) -> io::Result<Option<Arc<dyn SpendToken>>> {
        let has_tokens = self.issuer.is_some() || self.others.is_some();
        match redis.filter(|_| has_tokens) {
            Some(redis) => {
                let shared = redis.spend_tokens().map_err(io::Error::other)?;
                Ok(Some(Arc::new(shared)))
            }
            None => Ok(None),
        }
    }

    /// Verifies keys, and the tokens of these settings. Single-use tokens are used up in `shared`, or
    /// in a store of this process. Starts the threads that follow the keys of issuers.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub(crate) fn verifier(
        self,
        keys: SharedKeyRing,
        shared: Option<Arc<dyn SpendToken>>,
    ) -> io::Result<TokenKeys> {
        let Self {
            issuer,
            files,
            others,
            single_use_max,
            ..
        } = self;
        if issuer.is_none() && others.is_none() {
            return Ok(TokenKeys::without_tokens(keys));
        }
        match (&issuer, files) {
            (Some(issuer), Some(files)) => files.follow(issuer, &keys)?,
            (Some(_), None) => tracing::warn!("{EPHEMERAL}"),
            (None, _) => {}
        }
        let others = match others {
            Some(others) => others.follow(issuer.as_ref(), &keys)?,
            None => Default::default(),
        };
        let verifier = TokenVerifier::with_issuers(issuer, others);
        let spent = shared.unwrap_or_else(|| Arc::new(SpentTokens::new(single_use_max)));
        Ok(TokenKeys::new(keys, verifier, spent))
    }
}

/// Reads and validates the file of other issuers, and the CA bundles that it names.
fn load_issuers(path: &Path, own: Option<&str>) -> Result<IssuersFile, Vec<Problem>> {
    let file = IssuersFile::load(path, own);
    let file = file.map_err(|error| error.into_problems().into_iter().collect::<Vec<_>>())?;
    let wrong = file.ca_files().filter_map(|ca| {
        let error = tls::load_roots(Some(ca)).err()?;
        let message = format!("ca_file {}: {error}", ca.display());
        Some(Problem::new(ISSUERS_FILE, message))
    });
    let wrong: Vec<Problem> = wrong.collect();
    match wrong.is_empty() {
        true => Ok(file),
        false => Err(wrong),
    }
}

impl Others {
    /// Follows the keys of the issuers, and looks at the file every two seconds, until the keys of
    /// callers are dropped.
    fn follow(self, own: Option<&TokenIssuer>, keys: &SharedKeyRing) -> io::Result<TrustedIssuers> {
        let Self { path, bytes, file } = self;
        let (own, keys) = (own.cloned(), keys.downgrade());
        let fetch: Arc<Fetch> = Arc::new(fetch);
        let mut followed = file.follow(&fetch)?;
        let trusted = followed.trusted();
        let thread = thread::Builder::new().name("voxgate-issuers".to_owned());
        thread.spawn(move || {
            let mut last = bytes;
            loop {
                thread::sleep(LOOK_EVERY);
                if keys.upgrade().is_none() {
                    return;
                }
                let now = fs::read(&path).ok();
                if now == last {
                    continue;
                }
                last = now;
                let loaded = load_issuers(&path, own.as_ref().map(TokenIssuer::issuer));
                match loaded.map(|file| followed.replace(file)) {
                    Ok(Ok(())) => tracing::info!("the file of token issuers changed"),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "cannot start a thread; the last issuers stay in force");
                    }
                    Err(problems) => {
                        for problem in problems {
                            tracing::error!(%problem, "the last issuers stay in force");
                        }
                    }
                }
            }
        })?;
        Ok(trusted)
    }
}

impl KeyFiles {
    /// The keys, or everything that is wrong with them.
    fn read(&self) -> Result<(SigningKey, Option<SigningKey>), Vec<Problem>> {
        let read = |variable, path: &Path| {
            let problem = |message: String| Problem::new(variable, message);
            let shown = path_to_show(path).unwrap_or("its value");
            let size = fs::metadata(path).map(|file| file.len());
            let text = match size {
                Ok(size) if size > MAX_KEY_BYTES => Err(io::Error::other("the file is too large")),
                Ok(_) => fs::read_to_string(path),
                Err(error) => Err(error),
            };
            let text = text.map_err(|error| {
                problem(format!(
                    "cannot read {shown} ({error}); mount the Secret with the key"
                ))
            })?;
            SigningKey::parse(&text).map_err(|error| problem(format!("{shown} {error}")))
        };
        let signing = read(TOKEN_SIGNING_KEY_FILE, &self.signing);
        let second = self.second.as_deref();
        let second = second
            .map(|path| read(TOKEN_SECOND_KEY_FILE, path))
            .transpose();
        match (signing, second) {
            (Ok(signing), Ok(second)) => Ok((signing, second)),
            (signing, second) => Err([signing.err(), second.err()]
                .into_iter()
                .flatten()
                .collect()),
        }
    }

    /// Looks at the files every two seconds, until the keys of callers are dropped.
    fn follow(self, issuer: &TokenIssuer, keys: &SharedKeyRing) -> io::Result<()> {
        let (issuer, keys) = (issuer.clone(), keys.downgrade());
        let thread = thread::Builder::new().name("voxgate-signing".to_owned());
        thread.spawn(move || {
            let kids = |keys: &(SigningKey, Option<SigningKey>)| {
                let second = keys.1.as_ref().map(|key| key.kid().to_owned());
                (keys.0.kid().to_owned(), second)
            };
            let mut last = self.read().ok().map(|keys| kids(&keys));
            let mut has_failed = false;
            loop {
                thread::sleep(LOOK_EVERY);
                if keys.upgrade().is_none() {
                    return;
                }
                match self.read() {
                    Ok(read) => {
                        has_failed = false;
                        let now = Some(kids(&read));
                        if now != last {
                            last = now;
                            issuer.replace_keys(read.0, read.1);
                            tracing::info!(
                                kid = issuer.kid(),
                                "the signing keys of tokens changed"
                            );
                        }
                    }
                    Err(problems) if !has_failed => {
                        has_failed = true;
                        for problem in problems {
                            tracing::error!(%problem, "the last signing keys stay in force");
                        }
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(())
    }
}

/// Gets a document of an issuer. Redirects are not followed: they could lead to another host.
fn fetch(request: &FetchRequest<'_>) -> Result<String, String> {
    let roots = tls::load_roots(request.ca_file).map_err(|error| error.to_string())?;
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(FETCH_WITHIN))
        .max_redirects(0)
        .tls_config(tls::ureq_client(&roots))
        .build()
        .into();
    let mut get = agent.get(request.url).header("Accept", "application/json");
    if let Some(path) = request.bearer_file {
        let token = fs::read_to_string(path).map_err(|error| format!("bearer_file: {error}"))?;
        get = get.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
    }
    let mut answer = get.call().map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("the answer has status {}", answer.status()));
    }
    let body = answer.body_mut().with_config().limit(MAX_DOCUMENT_BYTES);
    body.read_to_string().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsString;

    use super::super::settings;

    fn read(vars: &[(&str, &str)], makes_tokens: bool) -> (TokenSettings, Vec<String>) {
        let vars = vars.iter();
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(vars, settings::settings());
        let mut problems = Vec::new();
        let read = TokenSettings::read(&environment, makes_tokens, &mut problems);
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_gateway_that_makes_tokens_has_a_key_to_sign_with() {
        let (off, problems) = read(&[], false);
        assert!(off.issuer().is_none() && !off.are_ephemeral());
        assert!(problems.is_empty(), "{problems:?}");
        let (on, problems) = read(&[], true);
        assert!(on.issuer().is_some() && on.are_ephemeral());
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn a_signing_key_is_read_or_is_a_problem_without_its_content() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("key.pem");
        let shown = path.display().to_string();
        let vars = [(TOKEN_SIGNING_KEY_FILE, shown.as_str())];
        let (_, problems) = read(&vars, true);
        assert!(problems[0].contains("cannot read"), "{problems:?}");
        fs::write(&path, "hunter2").expect("written");
        let (_, problems) = read(&vars, true);
        assert!(problems[0].contains("openssl genpkey"), "{problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
        let pem = include_str!("../../token/src/tests/ed25519.pem");
        fs::write(&path, pem).expect("written");
        // Tokens are accepted without being made.
        for makes_tokens in [true, false] {
            let (read, problems) = read(&vars, makes_tokens);
            assert!(problems.is_empty(), "{problems:?}");
            assert!(read.issuer().is_some() && !read.are_ephemeral());
        }
        // A key that stands where its file should is not shown.
        let (_, problems) = read(&[(TOKEN_SIGNING_KEY_FILE, pem)], true);
        assert!(
            problems[0].contains("cannot read its value"),
            "{problems:?}"
        );
        assert!(!problems[0].contains("PRIVATE"), "{problems:?}");
    }
}
