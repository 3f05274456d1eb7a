//! A token of a time-stamp authority, as it is read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cms::cert::x509::ext::Extensions;
use cms::cert::x509::ext::pkix::name::GeneralName;
use cms::content_info::ContentInfo;
use cms::signed_data::{EncapsulatedContentInfo, SignerInfos};
use der::asn1::{GeneralizedTime, Int, OctetString};
use der::oid::ObjectIdentifier;
use der::oid::db::rfc5911::ID_SIGNED_DATA;
use der::oid::db::rfc5912::ID_SHA_256;
use der::{Any, Decode as _, Encode as _, Sequence, Tag, Tagged as _};
use x509_tsp::{Accuracy, MessageImprint};

use super::InvalidTimeStamp;

/// `id-ct-TSTInfo`.
pub(super) const TST_INFO: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

/// What the authority says. Unlike the one of `x509-tsp`, its time may have fractions of a second,
/// as RFC 3161 allows.
#[derive(Clone, Debug, Eq, PartialEq, Sequence)]
pub(super) struct TstInfo {
    version: u8,
    policy: ObjectIdentifier,
    message_imprint: MessageImprint,
    serial_number: Int,
    gen_time: Any,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    #[asn1(optional = "true")]
    pub(super) nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    tsa: Option<GeneralName>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

/// As in `cms`, but a certificate may be there twice, as OpenSSL sends it, and certificates that
/// do not matter need not be readable.
#[derive(Clone, Debug, Eq, PartialEq, Sequence)]
pub(super) struct SignedData {
    version: u8,
    digest_algorithms: Any,
    encap_content_info: EncapsulatedContentInfo,
    #[asn1(
        context_specific = "0",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    pub(super) certificates: Option<Vec<Any>>,
    #[asn1(
        context_specific = "1",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    crls: Option<Vec<Any>>,
    pub(super) signer_infos: SignerInfos,
}

/// A token whose signature is not checked.
pub(super) struct Token {
    pub(super) signed: SignedData,
    /// What is signed.
    pub(super) content: Vec<u8>,
    pub(super) info: TstInfo,
}

impl Token {
    pub(super) fn read(token: &[u8]) -> Result<Self, InvalidTimeStamp> {
        let read = || -> der::Result<Option<Self>> {
            let content = ContentInfo::from_der(token)?;
            if content.content_type != ID_SIGNED_DATA {
                return Ok(None);
            }
            let signed: SignedData = content.content.decode_as()?;
            let encapsulated = &signed.encap_content_info;
            if encapsulated.econtent_type != TST_INFO {
                return Ok(None);
            }
            let Some(content) = &encapsulated.econtent else {
                return Ok(None);
            };
            let content = content.decode_as::<OctetString>()?.into_bytes();
            let info = TstInfo::from_der(&content)?;
            Ok(Some(Self {
                signed,
                content,
                info,
            }))
        };
        let token = read().ok().flatten().filter(|it| it.info.version == 1);
        token.ok_or_else(unreadable)
    }

    /// Whether it is about this SHA-256.
    pub(super) fn is_of(&self, hash: &[u8; 32]) -> Result<(), InvalidTimeStamp> {
        let imprint = &self.info.message_imprint;
        let is_same =
            imprint.hash_algorithm.oid == ID_SHA_256 && imprint.hashed_message.as_bytes() == hash;
        is_same
            .then_some(())
            .ok_or_else(|| InvalidTimeStamp("the time stamp is not of this checkpoint".to_owned()))
    }

    /// The time that it confirms, without fractions of a second.
    pub(super) fn time(&self) -> Result<SystemTime, InvalidTimeStamp> {
        let read = || -> Option<Duration> {
            let time = &self.info.gen_time;
            if time.tag() != Tag::GeneralizedTime {
                return None;
            }
            let text = std::str::from_utf8(time.value()).ok()?.strip_suffix('Z')?;
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let whole = Any::new(Tag::GeneralizedTime, format!("{whole}Z").into_bytes()).ok()?;
            let whole = GeneralizedTime::from_der(&whole.to_der().ok()?).ok()?;
            Some(whole.to_unix_duration())
        };
        read().map(|time| UNIX_EPOCH + time).ok_or_else(unreadable)
    }
}

pub(super) fn unreadable() -> InvalidTimeStamp {
    InvalidTimeStamp("the time stamp cannot be read".to_owned())
}
