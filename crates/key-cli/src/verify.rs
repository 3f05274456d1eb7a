//! `voxgate key verify`.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::ArgMatches;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use voxgate::env::Environment;
use voxgate::secret::MAX_CREDENTIAL_BYTES;
use voxgate::{Denial, DenialKind, KeyRing, Principal, RawCredential, Verify as _, VerifyOutcome};

use super::failure::KeyCommandError;
use super::moment;
use super::target::Source;

/// The minimum length of a key in a keys file.
const MIN_TOKEN: usize = 16;

pub(super) fn run(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<ExitCode, KeyCommandError> {
    if matches.get_many::<String>("token").is_some() {
        let message = "must come from standard input, because other users of the machine can see \
                command lines";
        return Err(KeyCommandError::wrong("token", message));
    }
    let source = Source::given(matches, environment)?;
    let keys = KeyRing::new(source.load()?.keys)?;
    let token = read()?;
    if token.is_empty() {
        return Err(KeyCommandError::wrong(
            "standard input",
            "contains no token",
        ));
    }
    let verdicts = source.dialect.readings(&token);
    let verdicts = verdicts.iter().map(|reading| verdict(&keys, reading));
    let now = SystemTime::now();
    let (said, code) = match verdicts.min_by_key(rank) {
        Some(Ok(principal)) => (told(&principal, now), ExitCode::SUCCESS),
        Some(Err(denial)) => {
            let hint = match denial.principal() {
                Some(_) => "",
                None => hint(&token),
            };
            (refused(&denial, now) + hint, ExitCode::FAILURE)
        }
        None => ("unknown key".to_owned(), ExitCode::FAILURE),
    };
    let _ = writeln!(io::stdout(), "{said}");
    Ok(code)
}

fn verdict(keys: &KeyRing, token: &[u8]) -> Result<Principal, Denial> {
    match keys.verify(RawCredential::new(token)) {
        VerifyOutcome::Ready(verdict) => verdict,
        // A key ring always answers immediately.
        VerifyOutcome::Pending(_) => Err(Denial::unknown_credential()),
    }
}

/// Orders verdicts, the most useful one first.
fn rank(verdict: &Result<Principal, Denial>) -> u8 {
    match verdict {
        Ok(_) => 0,
        Err(denial) if denial.principal().is_some() => 1,
        Err(denial) if denial.kind() == DenialKind::MistypedCredential => 2,
        Err(_) => 3,
    }
}

fn refused(denial: &Denial, now: SystemTime) -> String {
    match (denial.principal(), denial.kind()) {
        (Some(principal), _) => told(principal, now),
        (None, DenialKind::MistypedCredential) => {
            "mistyped key: its length or checksum is wrong; copy the whole key".to_owned()
        }
        _ => "unknown key: no key in the file has this token".to_owned(),
    }
}

/// A hint about common mistakes.
fn hint(token: &[u8]) -> &'static str {
    const SCHEMES: [&[u8]; 3] = [b"bearer ", b"basic ", b"token "];
    let begins = |scheme: &&[u8]| {
        let start = token.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if SCHEMES.iter().any(begins) {
        "; it begins with the scheme of a header: remove the scheme"
    } else if token.trim_ascii().len() < token.len() {
        "; it has blanks around it: remove them"
    } else if token.len() < MIN_TOKEN {
        "; it is too short to be a token: copy the whole token"
    } else {
        ""
    }
}

fn told(principal: &Principal, now: SystemTime) -> String {
    let expires = principal.validity().expires;
    let when = expires.map_or(String::new(), |expires| {
        let left = moment::left(Some(expires), now);
        let left = match expires > now {
            true => format!("in {left}"),
            false => left,
        };
        format!(" (expires {}, {left})", moment::written(expires))
    });
    format!(
        "{}: {}{when}",
        principal.id(),
        principal.state(now).as_str()
    )
}

/// Reads the token, without its line ending.
fn read() -> Result<Vec<u8>, KeyCommandError> {
    let stdin = io::stdin();
    let mut token = Vec::new();
    let read = if stdin.is_terminal() {
        let typed = typed();
        let _ = writeln!(io::stderr());
        typed.map(|line| token.extend(line.into_bytes()))
    } else {
        let most = MAX_CREDENTIAL_BYTES as u64 + 3;
        stdin.lock().take(most).read_to_end(&mut token).map(drop)
    };
    read.map_err(|error| KeyCommandError::failed("standard input", error))?;
    for end in [b'\n', b'\r'] {
        if token.last() == Some(&end) {
            token.pop();
        }
    }
    Ok(token)
}

/// Reads a line without echo. A signal ends the wait instead of the process, so that the terminal
/// is restored.
fn typed() -> io::Result<String> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let typed = runtime.block_on(async {
        let ended = end()?;
        let _hidden = Hidden::new();
        let _ = write!(io::stderr(), "Token: ");
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        tokio::select! {
            line = line => line?,
            signal = ended => Err(io::Error::other(signal)),
        }
    });
    // The thread may still be reading.
    runtime.shutdown_background();
    typed
}

/// Waits for a signal that ends the process, and returns its name. From now on, such a signal no
/// longer ends the process by itself.
fn end() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        }
    })
}

/// Turns off the echo of the terminal until it is dropped.
struct Hidden(Option<Termios>);

impl Hidden {
    fn new() -> Self {
        let shown = tcgetattr(io::stdin()).ok();
        if let Some(mut hidden) = shown.clone() {
            hidden.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &hidden);
        }
        Self(shown)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(shown) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, shown);
        }
    }
}
