//! The text of an explanation: the steps, the answer, and the advice.

use std::fmt;
use std::time::SystemTime;

use voxgate::env::Settings;
use voxgate::policy::Rule;
use voxgate::principal::KeyKind;
use voxgate::{DenialKind, Dialect, Principal};
use voxgate_terminal::text::{Charset, printable};

use super::advice::{self, Circumstances};
use super::decided::{Decided, Step};

/// A decision and what is known about its circumstances.
pub(crate) struct Report<'a> {
    pub(crate) decided: &'a Decided,
    pub(crate) settings: Option<&'a Settings>,
    /// The key as it is now.
    pub(crate) principal: Option<&'a Principal>,
    /// Whether the decision is of the audit log.
    pub(crate) recorded: bool,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decided = self.decided;
        let safe = |text: &str| printable(text, Charset::Unicode);
        writeln!(f, "{} {}\n", safe(&decided.method), safe(&decided.path))?;
        let refused_at = decided.denial.map(Step::of);
        for step in Step::ALL {
            let (mark, said) = match refused_at {
                Some(at) if step > at => ("-", "not reached".to_owned()),
                Some(at) if step == at => ("REFUSED", self.refused(decided.denial)),
                _ => ("ok", self.passed(step)),
            };
            writeln!(f, "{:<9} {mark:<8} {}", step.name(), safe(&said))?;
        }
        writeln!(f)?;
        for note in &decided.notes {
            writeln!(f, "{}", safe(note))?;
        }
        let Some(kind) = decided.denial else {
            return writeln!(
                f,
                "The request {} accepted.",
                if self.recorded { "was" } else { "is" }
            );
        };
        write!(f, "Refused with the reason {}", kind.as_str())?;
        if let Some(limit) = &decided.limit {
            write!(f, " (limit {})", safe(limit))?;
        }
        if let Some(status) = decided.status {
            write!(f, " and the status {status}")?;
        }
        f.write_str(".")?;
        match decided
            .answer
            .as_deref()
            .filter(|answer| !answer.is_empty())
        {
            Some(answer) => writeln!(f, " The caller reads:\n  {}", safe(answer))?,
            None => f.write_str("\n")?,
        }
        f.write_str("\nTo change this:\n")?;
        for advice in self.advice(kind) {
            writeln!(f, "- {}", safe(&advice))?;
        }
        Ok(())
    }
}

impl Report<'_> {
    pub(crate) fn advice(&self, kind: DenialKind) -> Vec<String> {
        let about = Circumstances {
            decided: self.decided,
            dialect: self.decided.dialect.parse::<Dialect>().ok(),
            principal: self.principal,
            rule: self.rule(),
        };
        advice::of(kind, about).unwrap_or_else(|| vec![kind.sentence().to_owned()])
    }

    /// The rule that decided, as it is now.
    fn rule(&self) -> Option<&Rule> {
        let name = self.decided.rule.as_deref()?;
        let (method, pattern) = name.split_once(' ')?;
        let rules = self.settings?.policy().rules().iter();
        let mut rules = rules.filter(|rule| rule.method() == method && rule.pattern() == pattern);
        rules.next()
    }

    fn refused(&self, kind: Option<DenialKind>) -> String {
        let decided = self.decided;
        let key = decided.key_id.as_deref().unwrap_or("the key");
        let Some(kind) = kind else {
            return String::new();
        };
        match kind {
            DenialKind::InsufficientScope => format!(
                "{} the scope {}, and {key} has {}",
                match &decided.rule {
                    Some(rule) => format!("the rule {rule} requires"),
                    None => "the policy requires".to_owned(),
                },
                decided.required_scope.as_deref().unwrap_or("of the route"),
                match &decided.scopes {
                    Some(scopes) if scopes.is_empty() => "none".to_owned(),
                    Some(scopes) => format!("only {scopes}"),
                    None => "no scopes".to_owned(),
                }
            ),
            DenialKind::NoRule => {
                format!("no rule of the policy names this method and path, and {key} is restricted")
            }
            DenialKind::RealtimeOnly => {
                format!("{key} is a realtime key, and this route is not for realtime sessions")
            }
            DenialKind::UnknownCredential => "no key has this credential".to_owned(),
            DenialKind::MistypedCredential => "the checksum of the token is wrong".to_owned(),
            DenialKind::DisabledCredential => format!("{key} is disabled or revoked"),
            DenialKind::ExpiredCredential => format!("{key} has expired{}", self.since(true)),
            DenialKind::AddressNotAllowed => {
                let networks = self.principal.and_then(Principal::allow_from);
                match networks {
                    Some(networks) => {
                        format!("{key} may be used from {} only", advice::shown(networks))
                    }
                    None => format!("{key} may not be used from this address"),
                }
            }
            DenialKind::NotYetValidCredential => {
                format!("{key} is not valid yet{}", self.since(false))
            }
            other => {
                let sentence = other.sentence().trim_end_matches('.');
                match decided.in_body {
                    true => format!("{sentence} (found in the body or a message)"),
                    false => sentence.to_owned(),
                }
            }
        }
    }

    /// When the key expired, or becomes valid.
    fn since(&self, expired: bool) -> String {
        let validity = self.principal.map(Principal::validity);
        let moment = validity.and_then(|validity| match expired {
            true => validity.expires,
            false => validity.not_before,
        });
        moment.map_or_else(String::new, |moment| {
            format!(" ({})", humantime::format_rfc3339_seconds(moment))
        })
    }

    fn passed(&self, step: Step) -> String {
        let decided = self.decided;
        let key = decided.key_id.as_deref();
        match step {
            Step::Request => "its path, host and headers can be read in one way only".to_owned(),
            Step::Dialect => {
                let sent = decided.dialect.parse::<Dialect>().ok();
                let sent = sent.map(|dialect| dialect.description().credentials.join(", "));
                match sent.filter(|sent| !sent.is_empty()) {
                    Some(sent) => format!("{}: callers send {sent}", decided.dialect),
                    None => decided.dialect.clone(),
                }
            }
            Step::Key => match (decided.auth_method.as_deref(), key) {
                (Some("public"), _) => "this method and path is public and needs no key".to_owned(),
                (Some("deployment_key"), _) => {
                    "no key is read: the mode is preconfigured".to_owned()
                }
                (_, Some(key)) => match (self.principal, self.recorded) {
                    (Some(principal), false) => {
                        format!("{key} is {}", described(principal))
                    }
                    _ => format!("{key} was valid"),
                },
                (_, None) => "the caller was known".to_owned(),
            },
            Step::Policy => match (&decided.rule, decided.auth_method.as_deref()) {
                (_, Some("public")) => "not asked".to_owned(),
                (Some(rule), _) => match self.rule().and_then(Rule::scope) {
                    Some(scope) => format!("the rule {rule} requires the scope {scope}"),
                    None => format!("the rule {rule} decides"),
                },
                (None, _) => "the key is not restricted".to_owned(),
            },
            Step::Names => match self.principal {
                Some(principal) if is_limited_to_names(principal) => {
                    "what the request names is in the lists of the key; messages of a WebSocket are \
                     checked one by one"
                        .to_owned()
                }
                _ => "the key is not limited to voices, models or languages".to_owned(),
            },
            Step::Limits => match self.recorded {
                true => "the limits let it begin".to_owned(),
                false => self.limits(),
            },
            Step::Upstream => match self.recorded {
                true => "forwarded".to_owned(),
                false => "would be forwarded".to_owned(),
            },
        }
    }

    fn limits(&self) -> String {
        let defaults = self.settings.map(|settings| settings.limits().defaults());
        let own = self.principal.map(Principal::limits).unwrap_or_default();
        let limits = own.or(defaults.unwrap_or_default());
        let mut shown = Vec::new();
        if let Some(rate) = limits.rate {
            shown.push(format!("rate {rate}"));
        }
        if let Some(concurrency) = limits.concurrency {
            shown.push(format!("concurrency {concurrency}"));
        }
        match shown.is_empty() {
            true => "no limit of its own; what is in use now is not counted here".to_owned(),
            false => format!(
                "{}; what is in use now is not counted here",
                shown.join(", ")
            ),
        }
    }
}

fn is_limited_to_names(principal: &Principal) -> bool {
    principal.is_limited_to_voices()
        || principal.is_limited_to_models()
        || principal.is_limited_to_languages()
}

/// The state of a key, and its rights.
fn described(principal: &Principal) -> String {
    let mut said = principal.state(SystemTime::now()).as_str().to_owned();
    if principal.kind() == KeyKind::Realtime {
        said.push_str(", of the kind realtime");
    }
    match principal.scopes() {
        Some(scopes) => {
            let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
            said.push_str(&format!(", with the scopes {}", scopes.join(" ")));
        }
        None => said.push_str(", without scopes"),
    }
    said
}
