//! The audit record of a decision.

use std::time::Duration;

use http::{Request, StatusCode};
use voxgate_core::denial::{Denial, DenialKind};

use crate::audit::{
    AuditRecord, AuditSink as _, CredentialFingerprint, Decision, QueryNames, Receipt,
};
use crate::policy::Rule;
use crate::principal::{AuthMethod, Principal};
use crate::rate_limit::Refused;

use super::pipeline::Pipeline;
use super::record_texts::RecordTexts;
use super::request_start::{AskedBy, ClientAddr};
use super::stages::DecisionContext;

impl<V> Pipeline<V> {
    /// Commits the decision to the audit sink. `decided` is the principal of an accepted request and
    /// the time that it waited for its permit, or the reason of a refusal.
    pub(super) fn record_decision<B>(
        &self,
        request: &Request<B>,
        context: &DecisionContext,
        decided: Result<(&Principal, Option<Duration>), (&Refused, StatusCode)>,
    ) -> Receipt {
        let refused = decided.err();
        let denial = refused.map(|(refused, _)| refused.denial.kind());
        let (principal, queued) = match decided {
            Ok((principal, queued)) => (Some(principal), queued),
            Err((refused, _)) => (context.principal.as_ref(), refused.queued),
        };
        let is_in_force =
            matches!(context.method, AuthMethod::ApiKey | AuthMethod::Jwt) && principal.is_some();
        let texts = RecordTexts::of(request, context.dialect, is_in_force, denial);
        let (method, path) = (request.method(), request.uri().path());
        let policy = &context.policy;
        let limited = principal
            .filter(|principal| !principal.is_unlimited() || policy.names_explicitly(method, path));
        let rule = limited.and_then(|_| policy.rule_of(request, context.dialect.as_str()));
        let required_scope = rule
            .filter(|_| denial == Some(DenialKind::InsufficientScope))
            .and_then(Rule::scope);
        self.sink.commit(&AuditRecord::Decision(Decision {
            time: context.start.time,
            request_id: context.start.request_id,
            trace: context.start.trace,
            via: request
                .extensions()
                .get::<AskedBy>()
                .map(|asked| asked.proxy),
            dialect: context.dialect.as_str(),
            auth_method: refused.is_none().then_some(context.method),
            principal,
            denial: refused.map(|(refused, _)| &refused.denial),
            limit: refused.and_then(|(refused, _)| refused.denial.limit()),
            queued,
            status: refused.map(|(_, status)| status),
            http_method: &texts.method,
            path: &texts.path,
            peer: self.peer(request.extensions()),
            client: request
                .extensions()
                .get::<ClientAddr>()
                .map(|client| client.0.to_canonical()),
            client_request_id: texts.client_request_id.as_deref(),
            user_agent: texts.user_agent.as_deref(),
            host: texts.host.as_deref(),
            query: texts.query.as_deref().map(QueryNames::of),
            version: request.version(),
            trace_parent: texts.trace_parent,
            rule: rule.map(|rule| (rule.method(), rule.pattern())),
            required_scope,
            credential: refused
                .and_then(|(refused, _)| self.fingerprint(request, context, &refused.denial)),
        }))
    }

    /// The fingerprint of an unknown credential, which links attempts with the same one.
    fn fingerprint<B>(
        &self,
        request: &Request<B>,
        context: &DecisionContext,
        denial: &Denial,
    ) -> Option<CredentialFingerprint> {
        use DenialKind::{MistypedCredential, UnknownCredential};
        if ![MistypedCredential, UnknownCredential].contains(&denial.kind()) {
            return None;
        }
        let credential = context.dialect.credential(request).ok()?;
        let pepper = self.pepper.as_ref()?;
        Some(pepper.fingerprint(credential.presented()))
    }
}
