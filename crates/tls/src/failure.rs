//! Why a handshake failed, in words that name the fix.

use std::time::{Duration, UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError, Error};

/// What a failed handshake with a server means, and what to do about it. The text contains names of
/// certificates, and nothing secret.
#[must_use]
pub fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::InvalidCertRevocationList(error) => {
            format!("the revocation list cannot be used ({error:?}); replace it")
        }
        Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server accepts none of the protocols that are offered by ALPN; gRPC needs HTTP/2, \
             and WebSockets need HTTP/1.1"
                .to_owned()
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate,
        ) => "the server requires a client certificate; configure one".to_owned(),
        Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!(
            "the server refuses the client certificate ({alert:?}); present one that it trusts"
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3; update it".to_owned()
        }
        Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port; use http:// or the port of TLS".to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    let date = |since_epoch: Duration| {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the server's certificate expired at {}; renew it",
            date(Duration::from_secs(not_after.as_secs()))
        ),
        CertificateError::Expired => "the server's certificate has expired; renew it".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate is not valid before {}; check the clock of this machine",
            date(Duration::from_secs(not_before.as_secs()))
        ),
        CertificateError::NotValidYet => {
            "the server's certificate is not valid yet; check the clock of this machine".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the server's certificate is not valid for {}, but for {}; issue one for this name, or \
             configure the server name that the certificate has",
            expected.to_str(),
            match presented.as_slice() {
                [] => "no name".to_owned(),
                names => names.join(", "),
            }
        ),
        CertificateError::NotValidForName => {
            "the server's certificate is not valid for its name; issue one for this name, or \
             configure the server name that the certificate has"
                .to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate is not signed by a trusted certificate authority; configure \
             the CA certificates that signed it"
                .to_owned()
        }
        CertificateError::Revoked => {
            "the server's certificate is revoked; issue another one".to_owned()
        }
        CertificateError::UnknownRevocationStatus => {
            "no revocation list tells about the server's certificate; add the list of its issuer"
                .to_owned()
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list is out of date; replace it".to_owned()
        }
        other => format!("the server's certificate is refused: {other}"),
    }
}
