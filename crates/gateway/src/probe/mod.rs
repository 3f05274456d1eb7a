//! `voxgate probe`: sends one request to a gateway, and checks the answer.
//!
//! It is for `helm test`, health checks of containers, and clusters without internet access, in
//! which only the gateway's own image is available. The request has no body, so that the TTS server
//! synthesises nothing.

mod expected;
mod request;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use http::{Method, Uri};
use rustls::pki_types::ServerName;
use voxgate::env::path_to_show;
use voxgate::secret::MAX_CREDENTIAL_BYTES;
use voxgate::{Dialect, Secret};
use voxgate_tls::{ClientFiles, ClientTls};

use self::expected::Expected;
use self::request::Probe;
use super::EXIT_CONFIG;
use super::settings;
use super::upstreams;

const DIALECT: &str = "VOXGATE_DIALECT";

const ABOUT: &str = "\
Sends one request without a body to a gateway, prints the answer in one line, and exits with 0 if \
the answer is as expected. For `helm test` and health checks, in which only the gateway's own image \
is available. With an https:// URL, the certificate must be valid: for the host in the URL or for \
--server-name, and signed by a certificate authority of the system or of --ca-file.

With `--expect success`, every answer is a success except 401, 403, 429, 5xx, and a challenge for a \
key: a caller with a valid key may ask for a path that the TTS server does not have, or that needs a \
body, and get 404, 405 or 400. A key that is limited by scopes is accepted only on a method and path \
that a rule of the policy names, so ask for one of those (`voxgate policy`).

While the connection fails, the probe tries again for --wait seconds. It does not repeat a request \
that was answered.

Exit status: 0 if the answer is as expected, 1 if it differs or is missing, 64 if the command line \
or the key is wrong.";

const AFTER: &str = "\
Examples:
  voxgate probe --url http://voxgate:8080/ --expect 401
  voxgate probe --url http://voxgate:8080/ --key-file /etc/probe/token --expect success
  voxgate probe --url https://voxgate/ --ca-file ca.crt --server-name tts.example.com --expect 401
  voxgate probe --url http://localhost/ --unix-socket /run/voxgate.sock --expect 401
  voxgate probe --url http://127.0.0.1:8081/readyz --expect 200 --wait 0";

pub(crate) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let seconds = |name, least, help| {
        text(name, "SECONDS", help)
            .value_parser(value_parser!(u16).range(least..))
            .default_value("10")
    };
    Command::new("probe")
        .about("Send one request to a gateway, with or without a key, and check the answer")
        .long_about(ABOUT)
        .after_help(AFTER)
        .arg(
            text(
                "url",
                "URL",
                "URL of the request, such as http://voxgate:8080/",
            )
            .required(true),
        )
        .arg(
            text(
                "expect",
                "STATUS",
                "Expected status, such as 401, or `success`",
            )
            .required(true)
            .value_parser(Expected::parse),
        )
        .arg(
            text(
                "key-file",
                "PATH",
                "File with the key to present; - reads standard input",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            text(
                "ca-file",
                "PATH",
                "CA bundle (PEM) that verifies the gateway [default: that of the system]",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(text(
            "server-name",
            "NAME",
            "Name that is sent (SNI) and that the certificate must have, in place of the host in the URL",
        ))
        .arg(
            text(
                "unix-socket",
                "PATH",
                "Unix socket to connect to, in place of the host in the URL",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(text(
            "dialect",
            "NAME",
            "Dialect in which the key is presented; `auto` means `bearer` [env: \
                VOXGATE_DIALECT, default: rime]",
        ))
        .arg(
            text("method", "METHOD", "Method of the request")
                .value_parser(method)
                .default_value("GET"),
        )
        .arg(seconds(
            "wait",
            0,
            "How long to try again while the connection fails",
        ))
        .arg(seconds("timeout", 1, "Timeout for the answer"))
}

/// Runs the command.
pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let (probe, expected) = match given(matches) {
        Ok(given) => given,
        Err(message) => {
            let _ = writeln!(io::stderr(), "voxgate: {message}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let (seen, is_met) = match probe.answer() {
        Ok(answer) => (answer.compare(expected), answer.meets(expected)),
        Err(why) => (format!("no answer: {why}"), false),
    };
    let _ = writeln!(io::stdout(), "{probe}: {seen}");
    if is_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn given(matches: &ArgMatches) -> Result<(Probe, Expected), String> {
    let text = |name| matches.get_one::<String>(name).map_or("", String::as_str);
    let seconds = |name| {
        let seconds = matches.get_one::<u16>(name).copied();
        Duration::from_secs(seconds.unwrap_or_default().into())
    };
    let url = url(text("url")).map_err(|why| format!("--url {why}"))?;
    let key = match matches.get_one::<PathBuf>("key-file") {
        Some(path) => Some((key(path)?, dialect(matches)?)),
        None => None,
    };
    let (Some(method), Some(expected)) = (
        matches.get_one::<Method>("method"),
        matches.get_one::<Expected>("expect"),
    ) else {
        return Err("--expect is missing".to_owned());
    };
    let probe = Probe {
        method: method.clone(),
        tls: tls(matches, &url)?,
        socket: matches.get_one::<PathBuf>("unix-socket").cloned(),
        url,
        key,
        wait: seconds("wait"),
        timeout: seconds("timeout"),
    };
    Ok((probe, *expected))
}

/// TLS for an `https://` URL.
fn tls(matches: &ArgMatches, url: &Uri) -> Result<Option<ClientTls>, String> {
    let ca = matches.get_one::<PathBuf>("ca-file");
    let name = matches.get_one::<String>("server-name");
    if url.scheme_str() != Some("https") {
        return match (ca, name) {
            (None, None) => Ok(None),
            (Some(_), _) => Err("--ca-file has no effect without an https:// URL".to_owned()),
            (_, Some(_)) => Err("--server-name has no effect without an https:// URL".to_owned()),
        };
    }
    let name = name.map(|name| ServerName::try_from(name.clone()));
    let name = name.transpose();
    let name = name.map_err(|_| "--server-name must be a DNS name or an IP address")?;
    let files = ClientFiles {
        ca: ca.cloned(),
        ..ClientFiles::default()
    };
    match ClientTls::load(files, name) {
        Ok(tls) => Ok(Some(tls)),
        Err(error) => Err(error
            .problems()
            .iter()
            .map(|problem| format!("--ca-file: {problem}"))
            .collect()),
    }
}

fn method(text: &str) -> Result<Method, &'static str> {
    let mut known = [Method::GET, Method::HEAD, Method::POST].into_iter();
    known
        .find(|method| method.as_str() == text)
        .ok_or("must be GET, HEAD or POST")
}

/// Reads the URL. Errors do not show it, because it can contain a password.
fn url(text: &str) -> Result<Uri, &'static str> {
    let wrong = "must be a URL such as http://voxgate:8080/";
    let url: Uri = text.parse().map_err(|_| wrong)?;
    match url.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong),
    }
    let authority = url
        .authority()
        .filter(|authority| !authority.host().is_empty());
    if authority.ok_or(wrong)?.as_str().contains('@') {
        return Err("contains a user name or password; give the key with --key-file");
    }
    // The gateway itself answers 400, which would look like an answer of the server behind it.
    if !upstreams::is_plain(url.path()) {
        return Err(
            "has a path that is not plain, so the gateway itself would refuse it; give a \
                plain path",
        );
    }
    Ok(url)
}

fn dialect(matches: &ArgMatches) -> Result<Dialect, String> {
    let variable = std::env::var(DIALECT).ok();
    let (place, name) = match (matches.get_one::<String>("dialect"), &variable) {
        (Some(flag), _) => ("--dialect", flag.as_str()),
        (None, Some(variable)) => (DIALECT, variable.as_str()),
        (None, None) => (DIALECT, settings::default_of(DIALECT)),
    };
    name.parse().map_err(|error| format!("{place} {error}"))
}

/// Reads the key, without its line ending.
fn key(path: &Path) -> Result<Secret, String> {
    // A line ending, a byte order mark, and one byte too many.
    let most = MAX_CREDENTIAL_BYTES as u64 + 6;
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|error| match path_to_show(path) {
        Some(path) => format!("--key-file: cannot read {path} ({error}); name a readable file"),
        // It may be the key itself.
        None => format!("--key-file cannot be read ({error}); name a readable file"),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Secret::new(line).map_err(|error| format!("--key-file {error}"))
}
