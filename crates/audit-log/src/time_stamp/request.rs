//! The question to a time-stamp authority, and its answer.

use cmpv2::status::PkiStatus;
use cms::cert::x509::spki::AlgorithmIdentifier;
use der::asn1::{Int, OctetString};
use der::oid::db::rfc5912::ID_SHA_256;
use der::{Any, Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion};

use super::token::{Token, unreadable};
use super::{InvalidTimeStamp, MAX_TOKEN_BYTES, TimeStamp};

/// A request to confirm that a checkpoint exists now. Send it as `application/timestamp-query`.
#[derive(Clone, Debug)]
pub struct TimeStampRequest {
    note: String,
    nonce: Int,
    bytes: Vec<u8>,
}

impl TimeStampRequest {
    /// A request about this checkpoint. The random number tells the answer from that to another
    /// request.
    ///
    /// # Errors
    ///
    /// The request cannot be encoded.
    pub fn new(note: &str, random: [u8; 8]) -> Result<Self, InvalidTimeStamp> {
        let encode = || -> der::Result<Self> {
            let mut number = random;
            // A positive number in its shortest form.
            number[0] = number[0] & 0x3f | 0x40;
            let nonce = Int::new(&number)?;
            let request = TimeStampReq {
                version: TspVersion::V1,
                message_imprint: MessageImprint {
                    hash_algorithm: AlgorithmIdentifier {
                        oid: ID_SHA_256,
                        parameters: Some(Any::null()),
                    },
                    hashed_message: OctetString::new(Sha256::digest(note).to_vec())?,
                },
                req_policy: None,
                nonce: Some(nonce.clone()),
                cert_req: true,
                extensions: None,
            };
            Ok(Self {
                note: note.to_owned(),
                nonce,
                bytes: request.to_der()?,
            })
        };
        encode().map_err(|_| InvalidTimeStamp("the request cannot be encoded".to_owned()))
    }

    /// The request in DER.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the authority's answer (`application/timestamp-reply`). That it is about this
    /// checkpoint is checked, the authority's signature is not: a verifier does that, who knows its
    /// certificate.
    ///
    /// # Errors
    ///
    /// The authority refuses, or its answer is about something else.
    pub fn read(&self, answer: &[u8]) -> Result<TimeStamp, InvalidTimeStamp> {
        let answer = TimeStampResp::from_der(answer).map_err(|_| unreadable())?;
        let status = answer.status.status;
        if !matches!(status, PkiStatus::Accepted | PkiStatus::GrantedWithMods) {
            let what = format!("the authority refuses with status {}", status as u8);
            return Err(InvalidTimeStamp(what));
        }
        let token = answer.time_stamp_token.ok_or_else(unreadable)?;
        let token = token.to_der().map_err(|_| unreadable())?;
        let read = Token::read(&token)?;
        read.is_of(&Sha256::digest(&self.note).into())?;
        if read.info.nonce.as_ref() != Some(&self.nonce) {
            let what = "the answer is to another request";
            return Err(InvalidTimeStamp(what.to_owned()));
        }
        if token.len() > MAX_TOKEN_BYTES {
            let what = "the answer is too long";
            return Err(InvalidTimeStamp(what.to_owned()));
        }
        Ok(TimeStamp {
            note: self.note.clone(),
            token,
        })
    }
}
