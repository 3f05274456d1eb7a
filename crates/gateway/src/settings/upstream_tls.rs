//! TLS towards the TTS servers.

use std::path::PathBuf;

use rustls::pki_types::ServerName;
use voxgate::Problem;
use voxgate::env::Environment;
use voxgate_tls::{CertificateFiles, ClientFiles, ClientTls};

use super::{Setting, UPSTREAM};

const CA_FILE: &str = "VOXGATE_UPSTREAM_TLS_CA_FILE";
const CRL_FILE: &str = "VOXGATE_UPSTREAM_TLS_CRL_FILE";
const SERVER_NAME: &str = "VOXGATE_UPSTREAM_TLS_SERVER_NAME";
const CERT_FILE: &str = "VOXGATE_UPSTREAM_TLS_CERT_FILE";
const KEY_FILE: &str = "VOXGATE_UPSTREAM_TLS_KEY_FILE";

const GROUP: &str = "TLS to the upstream";

pub(super) const UPSTREAM_TLS: &[Setting] = &[
    Setting::new(
        GROUP,
        CA_FILE,
        "PATH",
        "CA bundle (PEM) used to verify TTS servers with an `https://` URL",
    )
    .with_default("the CA certificates of the system"),
    Setting::new(
        GROUP,
        CRL_FILE,
        "PATH",
        "Revocation lists (CRL) of these authorities, in PEM. With a list that is out of date, no \
         server is accepted",
    ),
    Setting::new(
        GROUP,
        SERVER_NAME,
        "NAME",
        "Name that is sent to the TTS servers (SNI) and that their certificates must have, in place of \
         the host in the URL",
    ),
    Setting::new(
        GROUP,
        CERT_FILE,
        "PATH",
        "Client certificate for the TTS servers, with its intermediate certificates, in PEM",
    ),
    Setting::new(
        GROUP,
        KEY_FILE,
        "PATH",
        "Private key of the client certificate, in PEM",
    )
    .with_secret_file(),
];

/// Reads the settings and loads the files. `None` if no upstream has an `https://` URL.
pub(crate) fn read(
    environment: &Environment,
    is_needed: bool,
    problems: &mut Vec<Problem>,
) -> Option<ClientTls> {
    let get = |variable| environment.get(variable).map(str::trim);
    let path = |variable| get(variable).map(PathBuf::from);
    if !is_needed {
        for setting in UPSTREAM_TLS {
            if get(setting.variable).is_some() {
                let message = format!(
                    "has no effect, because no URL of {UPSTREAM} begins with https://; use such a \
                     URL, or remove this setting"
                );
                problems.push(Problem::new(setting.variable, message));
            }
        }
        return None;
    }
    let before = problems.len();
    let name = get(SERVER_NAME).map(|name| ServerName::try_from(name.to_owned()));
    let name = name.transpose().unwrap_or_else(|_| {
        let message = "must be a DNS name or an IP address, such as tts.example.com";
        problems.push(Problem::new(SERVER_NAME, message));
        None
    });
    let certificate = match (path(CERT_FILE), path(KEY_FILE)) {
        (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
        (None, None) => None,
        (certificate, _) => {
            let (missing, other) = match certificate {
                Some(_) => (KEY_FILE, CERT_FILE),
                None => (CERT_FILE, KEY_FILE),
            };
            let message = format!("is not set, but {other} is; set both or none");
            problems.push(Problem::new(missing, message));
            None
        }
    };
    let files = ClientFiles {
        ca: path(CA_FILE),
        crl: path(CRL_FILE),
        certificate,
    };
    match ClientTls::load(files, name) {
        Ok(tls) => Some(tls).filter(|_| problems.len() == before),
        Err(error) => {
            problems.extend(error.into_problems());
            None
        }
    }
}
