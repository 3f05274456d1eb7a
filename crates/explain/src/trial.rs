//! Lets the library decide about a request, and notes what it decides.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer, ServiceExt as _, service_fn};
use voxgate::env::{Environment, Mode, Settings};
use voxgate::{
    AuditRecord, AuditSink, AuthLayer, Denial, Dialect, Principal, RawCredential,
    RequestValidation, SpeechBody, SpeechOptions, Verdict, Verify, VerifyOutcome,
};

use voxgate_browsers::{BrowserLayer, Origins, Preflights};

use super::decided::Decided;
use super::failure::ExplainError;
use super::request::RequestSpec;

/// The longest text of a refusal that is shown, in bytes.
const MAX_ANSWER: usize = 1024;

/// The key with this id.
pub(crate) fn principal<'a>(
    settings: &'a Settings,
    id: &str,
) -> Result<&'a Principal, ExplainError> {
    let principals = settings.principals();
    if let Some(found) = principals.iter().find(|principal| principal.id() == id) {
        return Ok(found);
    }
    let similar = principals
        .iter()
        .map(|principal| (strsim::osa_distance(principal.id(), id), principal.id()))
        .filter(|(distance, _)| *distance <= id.len() / 3)
        .min();
    let fix = match similar {
        Some((_, similar)) => format!("did you mean `{similar}`?"),
        None => "`voxgate key list` shows the keys".to_owned(),
    };
    let message = format!("no key has this id; {fix}");
    Err(ExplainError::wrong("--key", message))
}

/// Decides about requests with the settings, as the gateway does.
pub(crate) struct Laboratory<'a> {
    settings: &'a Settings,
    key: Option<&'a Principal>,
    validation: RequestValidation,
    speech: SpeechOptions,
    browsers: BrowserLayer,
}

impl<'a> Laboratory<'a> {
    /// The requests are those of `key`, or have no credential.
    pub(crate) fn new(
        settings: &'a Settings,
        environment: &Environment,
        key: Option<&'a Principal>,
    ) -> Self {
        let validation = match environment.get("VOXGATE_HEADER_NAMES") {
            Some("refuse") => RequestValidation::StrictProxy,
            _ => RequestValidation::Proxy,
        };
        let kib = environment.get("VOXGATE_BODY_INSPECT_KIB");
        let kib = kib.and_then(|kib| kib.trim().parse::<usize>().ok());
        let speech = SpeechOptions::default().with_message_reading();
        let speech = match kib {
            Some(kib) => speech.with_body_bytes(kib.saturating_mul(1024)),
            None => speech,
        };
        let origins = environment.get("VOXGATE_CORS_ORIGINS");
        let origins = origins.and_then(|origins| Origins::parse(origins).ok());
        let browsers = origins.map(|origins| BrowserLayer::new(origins, Preflights::Answer));
        Self {
            settings,
            key,
            validation,
            speech,
            browsers: browsers.unwrap_or_default(),
        }
    }

    /// Decides about a request. With the dialect `auto`, its credential is where the first vendor
    /// that is recognized has it.
    pub(crate) fn decide(&self, spec: &RequestSpec) -> Result<Decided, ExplainError> {
        let dialect = self.settings.dialect();
        let (Some(_), Dialect::Auto, Mode::Validate) = (self.key, dialect, self.settings.mode())
        else {
            return self.decide_as(spec, self.key.map(|_| dialect));
        };
        let vendors = Dialect::ALL.iter().filter(|vendor| **vendor != dialect);
        let mut recognized: Vec<Decided> = Vec::new();
        for vendor in vendors {
            let decided = self.decide_as(spec, Some(*vendor))?;
            if decided.dialect == vendor.as_str() {
                recognized.push(decided);
            }
        }
        if recognized.is_empty() {
            return self.decide_as(spec, Some(dialect));
        }
        let names: Vec<_> = recognized
            .iter()
            .map(|decided| decided.dialect.clone())
            .collect();
        let mut decided = recognized.remove(0);
        if names.len() > 1 {
            decided.notes.push(format!(
                "This path fits several vendors: {}. The place of the credential decides between them; give \
                 --dialect to see another one.",
                names.join(", ")
            ));
        }
        Ok(decided)
    }

    fn decide_as(
        &self,
        spec: &RequestSpec,
        client: Option<Dialect>,
    ) -> Result<Decided, ExplainError> {
        let request = spec.build(self.settings.dialect(), client);
        match self.settings.mode() {
            Mode::Validate => {
                let layer = AuthLayer::new(Known(self.key.cloned()));
                self.ask(layer, request)
            }
            Mode::Preconfigured => self.ask(AuthLayer::preconfigured(), request),
        }
    }

    fn ask<V>(
        &self,
        layer: AuthLayer<V>,
        request: Request<Full<Bytes>>,
    ) -> Result<Decided, ExplainError>
    where
        V: Verify + Send + Sync + 'static,
        V::Future: Send,
    {
        let notes = Notes::default();
        let layer = layer
            .with_dialect(self.settings.dialect())
            .with_policy(self.settings.policy().clone())
            .with_request_validation(self.validation)
            .with_audit_sink(notes.clone())
            .with_speech(self.speech.clone());
        let service = self.browsers.layer(layer.layer(service_fn(upstream)));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| {
            ExplainError::Failed(format!("cannot start a runtime ({error}); try again"))
        })?;
        let (status, answer) = runtime.block_on(async {
            let response = match service.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            (
                status,
                String::from_utf8_lossy(&body[..body.len().min(MAX_ANSWER)]).into_owned(),
            )
        });
        let mut decided = std::mem::take(&mut *notes.decided());
        if decided.denial.is_some() {
            decided.status = Some(status);
            decided.answer = Some(answer);
        }
        Ok(decided)
    }
}

/// Stands for the TTS server. It reads the request, because a stream is checked while it is read.
async fn upstream(
    request: Request<SpeechBody<Full<Bytes>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    Ok(Response::default())
}

/// Knows one key, whatever the credential is.
struct Known(Option<Principal>);

impl Verify for Known {
    type Future = Ready<Verdict>;

    fn verify(&self, _: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        VerifyOutcome::Ready(self.0.clone().ok_or_else(Denial::unknown_credential))
    }
}

/// Notes the records of one request.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Decided>>);

impl Notes {
    fn decided(&self) -> MutexGuard<'_, Decided> {
        // A panic leaves no half-written record behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditSink for Notes {
    fn record(&self, record: &AuditRecord<'_>) {
        let mut decided = self.decided();
        match record {
            AuditRecord::Decision(decision) => {
                let scopes = decision.principal.and_then(Principal::scopes);
                *decided = Decided {
                    method: decision.http_method.to_string(),
                    path: decision.path.to_owned(),
                    dialect: decision.dialect.to_owned(),
                    auth_method: decision
                        .auth_method
                        .map(|method| method.as_str().to_owned()),
                    key_id: decision
                        .principal
                        .map(|principal| principal.id().to_owned()),
                    scopes: scopes.map(|scopes| {
                        let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
                        scopes.join(" ")
                    }),
                    denial: decision.denial.map(Denial::kind),
                    limit: decision.limit.map(|limit| limit.as_str().to_owned()),
                    rule: decision
                        .rule
                        .map(|(method, path)| format!("{method} {path}")),
                    required_scope: decision.required_scope.map(str::to_owned),
                    ..Decided::default()
                };
            }
            AuditRecord::Completion(completion) => {
                decided.denial = completion.failure;
                decided.in_body = completion.failure.is_some();
            }
            _ => {}
        }
    }
}
