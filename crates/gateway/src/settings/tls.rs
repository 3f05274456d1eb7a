//! TLS of the data listener.

use std::path::PathBuf;

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate_tls::{CertificateFiles, ClientAuth, MinVersion, ServerTls};

use super::{Setting, default_of};

pub(crate) const CERT_FILE: &str = "VOXGATE_TLS_CERT_FILE";
pub(crate) const KEY_FILE: &str = "VOXGATE_TLS_KEY_FILE";
pub(crate) const MIN_VERSION: &str = "VOXGATE_TLS_MIN_VERSION";
pub(crate) const ADMIN_CERT_FILE: &str = "VOXGATE_ADMIN_TLS_CERT_FILE";
pub(crate) const ADMIN_KEY_FILE: &str = "VOXGATE_ADMIN_TLS_KEY_FILE";
pub(crate) const CLIENT_CA_FILE: &str = "VOXGATE_TLS_CLIENT_CA_FILE";
pub(crate) const CLIENT_CRL_FILE: &str = "VOXGATE_TLS_CLIENT_CRL_FILE";
pub(crate) const CLIENT_AUTH: &str = "VOXGATE_TLS_CLIENT_AUTH";

const GROUP: &str = "TLS";

pub(super) const TLS: &[Setting] = &[
    Setting::new(
        GROUP,
        CERT_FILE,
        "PATH",
        "Certificate of the data listener with its intermediate certificates, in PEM; for several \
         host names, a comma-separated list. Without it, the listener speaks no TLS",
    ),
    Setting::new(
        GROUP,
        KEY_FILE,
        "PATH",
        "Private key of the certificate, in PEM; for several certificates, a list in the same order",
    )
    .with_secret_file(),
    Setting::new(
        GROUP,
        MIN_VERSION,
        "VERSION",
        "Oldest version of TLS that is accepted: `1.2` or `1.3`",
    )
    .with_default("1.2"),
    Setting::new(
        GROUP,
        CLIENT_CA_FILE,
        "PATH",
        "Certificate authorities of clients, in PEM. Clients then present certificates, and a key of the \
         keys file can name one: `certificate = \"spiffe://…\"`",
    ),
    Setting::new(
        GROUP,
        CLIENT_CRL_FILE,
        "PATH",
        "Revocation lists (CRL) of these authorities, in PEM. A list that is out of date lets no \
         client in",
    ),
    Setting::new(
        GROUP,
        CLIENT_AUTH,
        "WHETHER",
        "Whether clients must present a certificate: `required`, or `optional` (a client without one \
         presents another credential)",
    )
    .with_default("required"),
    Setting::new(
        GROUP,
        ADMIN_CERT_FILE,
        "PATH",
        "Certificate of the admin listener with its intermediate certificates, in PEM; it may be that of \
         the data listener. Without it, the admin listener speaks no TLS",
    ),
    Setting::new(
        GROUP,
        ADMIN_KEY_FILE,
        "PATH",
        "Private key of the certificate of the admin listener, in PEM",
    )
    .with_secret_file(),
];

/// Reads the settings about certificates of clients. `has_tls` says whether the listener speaks TLS.
fn client_auth(
    environment: &Environment,
    has_tls: bool,
    problems: &mut Vec<Problem>,
) -> Option<ClientAuth> {
    let path = |variable| {
        environment
            .get(variable)
            .map(|path| PathBuf::from(path.trim()))
    };
    let ca = path(CLIENT_CA_FILE);
    let needs = |variable, needed: &str, problems: &mut Vec<Problem>| {
        let message = format!("has no effect without {needed}; set that, or remove this setting");
        problems.push(Problem::new(variable, message));
    };
    if ca.is_some() && !has_tls {
        needs(CLIENT_CA_FILE, CERT_FILE, problems);
    }
    if ca.is_none() {
        for variable in [CLIENT_CRL_FILE, CLIENT_AUTH] {
            if environment.get(variable).is_some() {
                needs(variable, CLIENT_CA_FILE, problems);
            }
        }
    }
    let given = environment.get(CLIENT_AUTH);
    let required = match given.unwrap_or_else(|| default_of(CLIENT_AUTH)).trim() {
        "required" => true,
        "optional" => false,
        _ => {
            problems.push(Problem::new(
                CLIENT_AUTH,
                "must be `required` or `optional`",
            ));
            true
        }
    };
    let crl = path(CLIENT_CRL_FILE);
    ca.map(|ca| ClientAuth { ca, crl, required })
}

/// Reads the settings and loads the certificates. `None` without TLS.
pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> Option<ServerTls> {
    let given = environment.get(MIN_VERSION);
    let min_version = match given.unwrap_or_else(|| default_of(MIN_VERSION)).trim() {
        "1.2" => MinVersion::Tls12,
        "1.3" => MinVersion::Tls13,
        _ => {
            problems.push(Problem::new(MIN_VERSION, "must be `1.2` or `1.3`"));
            return None;
        }
    };
    let has_tls = environment.get(CERT_FILE).is_some();
    let client_auth = client_auth(environment, has_tls, problems);
    if !has_tls && environment.get(KEY_FILE).is_none() && given.is_some() {
        let message =
            format!("has no effect without {CERT_FILE}; set that, or remove this setting");
        problems.push(Problem::new(MIN_VERSION, message));
    }
    let files = files(environment, CERT_FILE, KEY_FILE, problems)?;
    load(files, min_version, client_auth, problems)
}

/// Reads the settings of the admin listener and loads its certificate. `None` without TLS.
pub(crate) fn read_admin(
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<ServerTls> {
    let files = files(environment, ADMIN_CERT_FILE, ADMIN_KEY_FILE, problems)?;
    load(files, MinVersion::Tls12, None, problems)
}

/// The certificates and keys that two settings name. `None` if neither is set, or with a problem.
fn files(
    environment: &Environment,
    cert_file: &'static str,
    key_file: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<Vec<CertificateFiles>> {
    let paths = |variable| {
        let given = environment.get(variable)?;
        let paths = given.split(',').map(|path| PathBuf::from(path.trim()));
        Some(paths.collect::<Vec<PathBuf>>())
    };
    let (certificates, keys) = match (paths(cert_file), paths(key_file)) {
        (None, None) => return None,
        (Some(certificates), Some(keys)) => (certificates, keys),
        (Some(_), None) => {
            let message =
                format!("is not set; set it to the key of the certificate in {cert_file}");
            problems.push(Problem::new(key_file, message));
            return None;
        }
        (None, Some(_)) => {
            let message = format!("is not set; set it to the certificate of the key in {key_file}");
            problems.push(Problem::new(cert_file, message));
            return None;
        }
    };
    if certificates.len() != keys.len() {
        let message = format!(
            "names {} keys for {} certificates; give one key for each, in the same order",
            keys.len(),
            certificates.len()
        );
        problems.push(Problem::new(key_file, message));
        return None;
    }
    let files = certificates.into_iter().zip(keys);
    let files = files.map(|(certificate, key)| CertificateFiles { certificate, key });
    Some(files.collect())
}

fn load(
    files: Vec<CertificateFiles>,
    min_version: MinVersion,
    client_auth: Option<ClientAuth>,
    problems: &mut Vec<Problem>,
) -> Option<ServerTls> {
    match ServerTls::load(files, min_version, client_auth) {
        Ok(tls) => Some(tls),
        Err(error) => {
            problems.extend(error.into_problems());
            None
        }
    }
}
