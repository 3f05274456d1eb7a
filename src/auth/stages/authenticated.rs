//! Second stage: it is known who sent the request.

use http::Request;
use voxgate_core::denial::DenialKind;

use crate::dialect::Dialect;
use crate::policy::Rule;
use crate::principal::{AuthMethod, Principal};
use crate::rate_limit::Permit;

use super::super::pipeline::Pipeline;
use super::super::request_start::AskedBy;
use super::{Authorized, DecisionContext, Denied};

/// A request whose sender is known.
pub(in super::super) struct Authenticated {
    context: DecisionContext,
    dialect: Option<Dialect>,
    principal: Principal,
    permit: Option<Permit>,
    /// Whether the verifier had to be waited for.
    asked: bool,
}

impl Authenticated {
    /// Called by [`Validated`](super::Validated) alone.
    pub(super) fn new(
        mut context: DecisionContext,
        dialect: Option<Dialect>,
        principal: Principal,
        permit: Option<Permit>,
        asked: bool,
    ) -> Self {
        if principal.token().is_some() && context.method == AuthMethod::ApiKey {
            context.method = AuthMethod::Jwt;
        }
        Self {
            context,
            dialect,
            principal,
            permit,
            asked,
        }
    }

    /// Asks the policy whether the principal may send this request.
    pub(in super::super) fn authorize<V, B>(
        mut self,
        pipeline: &Pipeline<V>,
        request: &Request<B>,
    ) -> Result<Authorized, Box<Denied>> {
        let policy = &self.context.policy;
        let client = pipeline.client(request.extensions());
        let judged = match self.context.method {
            AuthMethod::Public => Ok(()),
            _ if !self.principal.allows_from(client) => Err(DenialKind::AddressNotAllowed),
            _ => {
                let dialect = self.context.dialect.as_str();
                let asked = request.extensions().get::<AskedBy>();
                let reads_bodies =
                    pipeline.reads_bodies() && asked.is_none_or(|asked| asked.has_body);
                let hides_text = || {
                    let rule = policy.rule_of(request, dialect);
                    !reads_bodies && rule.is_some_and(Rule::has_text_beyond_head)
                };
                match asked {
                    Some(asked) if asked.cannot_enforce(&self.principal, hides_text()) => {
                        Err(DenialKind::LimitNotEnforced)
                    }
                    _ => policy.authorize(&self.principal, request, dialect, reads_bodies),
                }
            }
        };
        match judged {
            Ok(()) => Ok(Authorized::new(
                self.context,
                self.dialect,
                self.principal,
                self.permit,
                self.asked,
            )),
            Err(kind) => {
                self.context.principal = Some(self.principal);
                Err(Denied::new(self.context, kind.into()))
            }
        }
    }
}
