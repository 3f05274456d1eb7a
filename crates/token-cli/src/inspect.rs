//! `voxgate token inspect`.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ArgMatches;
use serde_json::{Map, Value, json};
use voxgate::env::Environment;
use voxgate::secret::MAX_CREDENTIAL_BYTES;
use voxgate_terminal::table::columns;
use voxgate_terminal::text::{Charset, escape_json, printable};
use voxgate_token::{LEEWAY, TokenError, TokenVerifier};

use crate::Signing;
use crate::failure::{self, Failure};

pub(crate) fn run(
    matches: &ArgMatches,
    environment: &Environment,
    signing: &Signing,
) -> Result<ExitCode, Failure> {
    if matches.get_many::<String>("token").is_some() {
        let message = "must come from standard input, because other users of the machine can see \
                       command lines; run: voxgate token inspect < FILE";
        return Err(Failure::wrong("token", message));
    }
    let keys = failure::keys(matches, environment)?;
    let token = read()?;
    let (header, claims) = decode(&token).ok_or_else(|| {
        let message = "is no JWT: three parts of base64url, separated by dots, the first two of \
                       which are JSON objects; copy the whole token, without `Bearer`";
        Failure::wrong("standard input", message)
    })?;
    let now = SystemTime::now();
    let checks = [
        ("signature", signature(&token, signing)),
        ("time", time(&claims, now)),
        ("key", key(&claims, keys.as_deref(), now)),
        ("use", single_use(&claims)),
    ];
    let is_refused = checks
        .iter()
        .any(|(_, check)| matches!(check, Check::Bad(_)));
    let text = match matches.get_flag("json") {
        true => {
            let checks = checks
                .iter()
                .map(|(name, check)| ((*name).to_owned(), check.json()));
            let checks: Map<String, Value> = checks.collect();
            let all = json!({ "header": header, "claims": claims, "checks": checks });
            escape_json(&format!("{all:#}\n"))
        }
        false => shown(&header, &claims, &checks),
    };
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(match is_refused {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// The result of one check.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    Good(String),
    Bad(String),
    /// It was not made, and why.
    NotMade(String),
}

impl Check {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Good(why) => ("good", why),
            Self::Bad(why) => ("REFUSED", why),
            Self::NotMade(why) => ("not checked", why),
        }
    }

    fn json(&self) -> Value {
        let result = match self {
            Self::Good(_) => "good",
            Self::Bad(_) => "refused",
            Self::NotMade(_) => "not_checked",
        };
        json!({ "result": result, "reason": self.words().1 })
    }
}

/// The header and the claims, as far as they are objects. Nothing is verified.
fn decode(token: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else {
        return None;
    };
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        match serde_json::from_slice(&bytes).ok()? {
            Value::Object(object) => Some(object),
            _ => None,
        }
    };
    Some((object(header)?, object(claims)?))
}

fn signature(token: &str, signing: &Signing) -> Check {
    let issuer = match signing {
        Signing::Key(issuer) => issuer.clone(),
        Signing::None { setting } => {
            return Check::NotMade(format!(
                "set {setting} to the signing key of the gateways; anyone can write a token \
                 with these claims"
            ));
        }
    };
    match TokenVerifier::new(Some(issuer)).verify(token.as_bytes()) {
        Ok(_) => Check::Good("signed by this issuer, for this audience".to_owned()),
        // The time is a check of its own.
        Err(TokenError::Expired | TokenError::NotYetValid) => {
            Check::Good("signed by this issuer, for this audience".to_owned())
        }
        Err(TokenError::UnknownIssuer) => Check::NotMade(
            "the token is of another issuer, whose keys this command does not have".to_owned(),
        ),
        Err(error) => Check::Bad(format!("{error} (`token_error` in audit records)")),
    }
}

fn time(claims: &Map<String, Value>, now: SystemTime) -> Check {
    let moment = |name: &str| claims.get(name).and_then(Value::as_u64);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let leeway = LEEWAY.as_secs();
    let Some(expires) = moment("exp") else {
        return Check::Bad("the token has no end; exp is missing".to_owned());
    };
    if moment("nbf").is_some_and(|from| from > now.saturating_add(leeway)) {
        return Check::Bad("not valid yet; compare the clocks".to_owned());
    }
    match expires.saturating_add(leeway) > now {
        true if expires > now => Check::Good(format!("valid for {}", roughly(expires - now))),
        true => Check::Good(format!("expired, within the leeway of {leeway}s")),
        false => Check::Bad(format!(
            "expired {} ago; ask for a new one",
            roughly(now - expires)
        )),
    }
}

fn roughly(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn key(claims: &Map<String, Value>, keys: Option<&[voxgate::Key]>, now: SystemTime) -> Check {
    let Some(keys) = keys else {
        let why = "give --file, or set VOXGATE_KEYS_FILE; a token dies with its key";
        return Check::NotMade(why.to_owned());
    };
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some(key) = keys.iter().find(|key| key.principal().id() == subject) else {
        return Check::Bad("sub names no key of the keys file".to_owned());
    };
    let state = key.principal().state(now);
    let said = format!("{} in the keys file", state.as_str());
    match state {
        voxgate::principal::KeyState::Active => Check::Good(said),
        _ => Check::Bad(said),
    }
}

fn single_use(claims: &Map<String, Value>) -> Check {
    match claims.get("single_use").and_then(Value::as_bool) {
        Some(true) => {
            Check::NotMade("single use; only the gateways know if it was used".to_owned())
        }
        _ => Check::Good("may be used until it ends".to_owned()),
    }
}

fn shown(
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    checks: &[(&str, Check)],
) -> String {
    let charset = Charset::from_locale();
    let value = |name: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let text = printable(&text, charset);
        let seconds = value
            .as_u64()
            .filter(|_| ["exp", "iat", "nbf"].contains(&name));
        // The last second that RFC 3339 can write.
        match seconds.filter(|seconds| *seconds < 253_402_300_800) {
            Some(seconds) => {
                let time = UNIX_EPOCH + Duration::from_secs(seconds);
                format!("{text} ({})", humantime::format_rfc3339_seconds(time))
            }
            None => text,
        }
    };
    let row = |(name, own): (&String, &Value)| [printable(name, charset), value(name, own)];
    let header: Vec<_> = header.iter().map(row).collect();
    let claims: Vec<_> = claims.iter().map(row).collect();
    let checks = checks.iter().map(|(name, check)| {
        let (result, why) = check.words();
        [
            (*name).to_owned(),
            result.to_owned(),
            printable(why, charset),
        ]
    });
    format!(
        "header\n{}\nclaims\n{}\nchecks\n{}",
        indented(&columns(&header)),
        indented(&columns(&claims)),
        indented(&columns(&checks.collect::<Vec<_>>())),
    )
}

fn indented(table: &str) -> String {
    table.lines().map(|line| format!("  {line}\n")).collect()
}

/// Reads the token, without blanks around it.
fn read() -> Result<String, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let message = "must be a file or a pipe, so that the token is not shown; run: \
                       voxgate token inspect < FILE";
        return Err(Failure::wrong("standard input", message));
    }
    let mut text = Vec::new();
    let most = MAX_CREDENTIAL_BYTES as u64 + 64;
    let read = stdin.lock().take(most).read_to_end(&mut text);
    read.map_err(|error| Failure::System(format!("standard input: {error}")))?;
    let text = String::from_utf8(text).unwrap_or_default();
    match text.trim() {
        "" => Err(Failure::wrong("standard input", "contains no token")),
        token if token.len() > MAX_CREDENTIAL_BYTES => {
            let message = format!("is longer than {MAX_CREDENTIAL_BYTES} bytes; no token is");
            Err(Failure::wrong("standard input", message))
        }
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use voxgate::{Key, Principal, Secret};
    use voxgate_token::{Grant, SigningKey, TokenIssuer};

    fn issuer() -> TokenIssuer {
        let key = SigningKey::ephemeral().expect("randomness");
        TokenIssuer::new("voxgate", "voxgate", key, [])
    }

    fn token(issuer: &TokenIssuer, life: Duration) -> String {
        let grant = Grant::new(&Principal::new("ivr"), life).with_single_use(true);
        issuer.issue(&grant).expect("a token").token
    }

    #[test]
    fn each_check_says_what_it_found_or_what_it_needs() {
        let (own, other) = (issuer(), issuer());
        let text = token(&own, Duration::from_secs(60));
        let is_good = |check: &Check| matches!(check, Check::Good(_));
        assert!(is_good(&signature(&text, &Signing::Key(own))));
        assert!(matches!(
            signature(&text, &Signing::Key(other)),
            Check::Bad(_)
        ));
        let none = Signing::None { setting: "SETTING" };
        let Check::NotMade(why) = signature(&text, &none) else {
            panic!("there is no key");
        };
        assert!(why.contains("set SETTING"), "{why}");

        let (_, claims) = decode(&text).expect("a JWT");
        let now = SystemTime::now();
        assert!(is_good(&time(&claims, now)));
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(is_good(&time(&claims, later(90))), "within the leeway");
        assert!(matches!(time(&claims, later(200)), Check::Bad(_)));
        assert!(matches!(
            time(&claims, now - Duration::from_secs(600)),
            Check::Bad(_)
        ));
        assert!(matches!(single_use(&claims), Check::NotMade(_)));

        let secret = Secret::new("a-long-enough-secret").expect("a secret");
        let with_id = |id: &str| vec![Key::from_secret(&secret, Principal::new(id))];
        assert!(is_good(&key(&claims, Some(&with_id("ivr")), now)));
        assert!(matches!(
            key(&claims, Some(&with_id("other")), now),
            Check::Bad(_)
        ));
        let disabled = vec![with_id("ivr")[0].clone().disabled(true)];
        assert!(matches!(key(&claims, Some(&disabled), now), Check::Bad(_)));
        assert!(matches!(key(&claims, None, now), Check::NotMade(_)));
    }

    #[test]
    fn what_is_no_jwt_is_refused_and_claims_are_safe_to_print() {
        for wrong in [
            "",
            "a.b",
            "a.b.c",
            "e30.e30",
            "e30.W10.x",
            "e30.e30.x.y",
            "Bearer e30.e30.x",
        ] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
        let claims =
            URL_SAFE_NO_PAD.encode("{\"sub\":\"\\u001b[31m\",\"exp\":99999999999999999999}");
        let (header, claims) = decode(&format!("e30.{claims}.x")).expect("a JWT");
        let text = shown(&header, &claims, &[]);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(matches!(time(&claims, SystemTime::now()), Check::Bad(_)));
    }
}
