//! Checks the signature of a time-stamp authority.
//!
//! `cms` only reads a token. Its signature and the chain of certificates are checked by `webpki`, as
//! rustls does it.

use std::time::{SystemTime, UNIX_EPOCH};

use cms::cert::x509::Certificate;
use cms::cert::x509::ext::pkix::ExtendedKeyUsage;
use cms::signed_data::{SignerIdentifier, SignerInfo};
use der::asn1::{ObjectIdentifier, OctetString};
use der::oid::db::rfc5911::{ID_CONTENT_TYPE, ID_MESSAGE_DIGEST};
use der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_KP_TIME_STAMPING, ID_SHA_256, ID_SHA_384,
    ID_SHA_512, RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
    SHA_512_WITH_RSA_ENCRYPTION,
};
use der::oid::db::rfc8410::ID_ED_25519;
use der::{Any, Decode as _, Encode as _, Sequence};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring};

use super::token::{TST_INFO, Token};
use super::{InvalidTimeStamp, RequiredTimeStamps};

/// `id-kp-timeStamping`, the purpose that the authority's certificate must have.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
/// `id-aa-signingCertificateV2` (RFC 5035).
const SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");

/// The certificates by which time stamps are believed.
#[derive(Clone, Debug)]
pub struct TimeStampAuthority {
    anchors: Vec<TrustAnchor<'static>>,
}

impl TimeStampAuthority {
    /// Reads certificates of certification authorities, in PEM. The certificate of the time-stamp
    /// authority itself is in each token.
    ///
    /// # Errors
    ///
    /// It is not PEM, or there is no certificate in it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidTimeStamp> {
        let invalid = |what: &str| InvalidTimeStamp(what.to_owned());
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| invalid("it is not PEM"))?;
            let anchor = anchor_from_trusted_cert(&certificate)
                .map_err(|_| invalid("a certificate in it cannot be read"))?;
            anchors.push(anchor.to_owned());
        }
        match anchors.is_empty() {
            true => Err(invalid("there is no certificate in it")),
            false => Ok(Self { anchors }),
        }
    }

    /// Checks a token about the SHA-256 of a checkpoint. The certificates must have been valid at
    /// the time that the token confirms, which is returned.
    ///
    /// # Errors
    ///
    /// It is about something else, or not signed by an authority that these certificates vouch for.
    pub fn check(&self, token: &[u8], hash: &[u8; 32]) -> Result<SystemTime, InvalidTimeStamp> {
        let token = Token::read(token)?;
        token.is_of(hash)?;
        let time = token.time()?;
        let [signer] = token.signed.signer_infos.0.as_slice() else {
            return Err(InvalidTimeStamp(
                "the time stamp has not exactly one signature".to_owned(),
            ));
        };
        let signed = check_attributes(signer, &token.content)?;
        self.check_signature(&token, signer, &signed, time)?;
        Ok(time)
    }

    /// What a verifier requires.
    #[must_use]
    pub fn required(self) -> RequiredTimeStamps {
        RequiredTimeStamps::new(move |token, hash| self.check(token, hash))
    }

    fn check_signature(
        &self,
        token: &Token,
        signer: &SignerInfo,
        signed: &[u8],
        time: SystemTime,
    ) -> Result<(), InvalidTimeStamp> {
        let mut all = Vec::new();
        let mut of_signer = None;
        for certificate in token.signed.certificates.iter().flatten() {
            let Ok(der) = certificate.to_der() else {
                continue;
            };
            let der = CertificateDer::from(der);
            if is_of_signer(&der, &signer.sid) && names_certificate(signer, &der) {
                of_signer = Some(der.clone());
            }
            all.push(der);
        }
        let invalid = |what: &str| InvalidTimeStamp(what.to_owned());
        let of_signer = of_signer
            .ok_or_else(|| invalid("the authority's certificate is not in the time stamp"))?;
        let certificate = EndEntityCert::try_from(&of_signer)
            .map_err(|_| invalid("the authority's certificate cannot be read"))?;
        let algorithms = algorithms(signer);
        if algorithms.is_empty() {
            return Err(invalid(
                "the time stamp's signature algorithm is not supported",
            ));
        }
        let signature = signer.signature.as_bytes();
        let is_right = algorithms
            .into_iter()
            .any(|it| certificate.verify_signature(it, signed, signature).is_ok());
        if !is_right {
            return Err(invalid("the time stamp's signature is wrong"));
        }
        if !is_for_time_stamps(&of_signer) {
            return Err(invalid(
                "the authority's certificate is not for time stamps alone",
            ));
        }
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let verified = certificate.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.anchors,
            &all,
            UnixTime::since_unix_epoch(seconds),
            // A certification authority may leave its purpose open.
            KeyUsage::required_if_present(TIME_STAMPING),
            None,
            None,
        );
        verified.map(drop).map_err(|error| {
            InvalidTimeStamp(format!(
                "the authority's certificate is not trusted: {error}"
            ))
        })
    }
}

/// The attributes must be about this content. Returns what is signed.
fn check_attributes(signer: &SignerInfo, content: &[u8]) -> Result<Vec<u8>, InvalidTimeStamp> {
    let invalid = || InvalidTimeStamp("the time stamp's signature is of other content".to_owned());
    let attributes = signer.signed_attrs.as_ref().ok_or_else(invalid)?;
    let kind: Option<ObjectIdentifier> =
        attribute(signer, ID_CONTENT_TYPE).and_then(|it| it.decode_as().ok());
    let digest: Option<OctetString> =
        attribute(signer, ID_MESSAGE_DIGEST).and_then(|it| it.decode_as().ok());
    let expected = digest_of(signer.digest_alg.oid, content).ok_or_else(|| {
        InvalidTimeStamp("the time stamp's digest algorithm is not supported".to_owned())
    })?;
    let is_right = kind == Some(TST_INFO) && digest.is_some_and(|it| it.as_bytes() == expected);
    if !is_right {
        return Err(invalid());
    }
    attributes.to_der().map_err(|_| invalid())
}

/// The one value of an attribute that is there once.
fn attribute(signer: &SignerInfo, kind: ObjectIdentifier) -> Option<&Any> {
    let mut found = signer.signed_attrs.iter().flat_map(|it| it.iter());
    let values = &found.find(|it| it.oid == kind)?.values;
    match values.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

fn digest_of(algorithm: ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        ID_SHA_256 => Some(Sha256::digest(bytes).to_vec()),
        ID_SHA_384 => Some(Sha384::digest(bytes).to_vec()),
        ID_SHA_512 => Some(Sha512::digest(bytes).to_vec()),
        _ => None,
    }
}

fn is_of_signer(certificate: &[u8], signer: &SignerIdentifier) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return false;
    };
    let certificate = certificate.tbs_certificate;
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(it) => {
            it.issuer == certificate.issuer && it.serial_number == certificate.serial_number
        }
        // The signature tells which one it is.
        SignerIdentifier::SubjectKeyIdentifier(_) => true,
    }
}

/// Whether a certificate is for time stamps, and for nothing else (RFC 3161 §2.3).
fn is_for_time_stamps(certificate: &[u8]) -> bool {
    let certificate = Certificate::from_der(certificate).ok();
    let usage = certificate.and_then(|it| it.tbs_certificate.get::<ExtendedKeyUsage>().ok());
    matches!(usage.flatten(), Some((true, usage)) if usage.0 == [ID_KP_TIME_STAMPING])
}

#[derive(Sequence)]
struct SigningCertificateV2 {
    certificates: Vec<EssCertIdV2>,
    #[asn1(optional = "true")]
    policies: Option<Any>,
}

#[derive(Sequence)]
struct EssCertIdV2 {
    #[asn1(optional = "true")]
    algorithm: Option<cms::cert::x509::spki::AlgorithmIdentifierOwned>,
    hash: OctetString,
    #[asn1(optional = "true")]
    issuer: Option<Any>,
}

/// Whether the signature is bound to this certificate (RFC 5816). The older attribute, with SHA-1,
/// proves too little to be looked at: the chain of certificates is checked in any case.
fn names_certificate(signer: &SignerInfo, certificate: &CertificateDer<'_>) -> bool {
    let Some(value) = attribute(signer, SIGNING_CERTIFICATE_V2) else {
        return true;
    };
    let Ok(named) = value.decode_as::<SigningCertificateV2>() else {
        return false;
    };
    named.certificates.first().is_some_and(|it| {
        let algorithm = it.algorithm.as_ref().map_or(ID_SHA_256, |it| it.oid);
        digest_of(algorithm, certificate).is_some_and(|hash| hash == it.hash.as_bytes())
    })
}

/// The algorithms that the signature can be of, one for each curve.
fn algorithms(signer: &SignerInfo) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let digest = signer.digest_alg.oid;
    match signer.signature_algorithm.oid {
        RSA_ENCRYPTION if digest == ID_SHA_256 => vec![ring::RSA_PKCS1_2048_8192_SHA256],
        RSA_ENCRYPTION if digest == ID_SHA_384 => vec![ring::RSA_PKCS1_2048_8192_SHA384],
        RSA_ENCRYPTION if digest == ID_SHA_512 => vec![ring::RSA_PKCS1_2048_8192_SHA512],
        SHA_256_WITH_RSA_ENCRYPTION => vec![ring::RSA_PKCS1_2048_8192_SHA256],
        SHA_384_WITH_RSA_ENCRYPTION => vec![ring::RSA_PKCS1_2048_8192_SHA384],
        SHA_512_WITH_RSA_ENCRYPTION => vec![ring::RSA_PKCS1_2048_8192_SHA512],
        ECDSA_WITH_SHA_256 => vec![ring::ECDSA_P256_SHA256, ring::ECDSA_P384_SHA256],
        ECDSA_WITH_SHA_384 => vec![ring::ECDSA_P256_SHA384, ring::ECDSA_P384_SHA384],
        ID_ED_25519 => vec![ring::ED25519],
        _ => Vec::new(),
    }
}
