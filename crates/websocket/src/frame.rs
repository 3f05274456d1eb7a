//! Frames (RFC 6455 §5.2): their headers and their masks.

use crate::reader::ReadError;

pub(crate) const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// The longest header, with its mask.
pub(crate) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (§5.5).
pub(crate) const MAX_CONTROL: usize = 125;

/// What a frame contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Continuation,
            Self::Text,
            Self::Binary,
            Self::Close,
            Self::Ping,
            Self::Pong,
        ];
        all.into_iter().find(|opcode| *opcode as u8 == byte)
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// The header of a frame that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) is_final: bool,
    pub(crate) opcode: Opcode,
    /// Length of the payload in bytes.
    pub(crate) length: u64,
    pub(crate) mask: [u8; 4],
}

impl Header {
    /// Reads the header; `None` until it is complete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, ReadError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        // No extension was agreed on that gives the reserved bits a meaning.
        if first & RESERVED != 0 || second & MASKED == 0 {
            return Err(ReadError::Protocol);
        }
        let opcode = Opcode::of(first & OPCODE).ok_or(ReadError::Protocol)?;
        let is_final = first & FINAL != 0;
        let short = second & !MASKED;
        if opcode.is_control() && (!is_final || usize::from(short) > MAX_CONTROL) {
            return Err(ReadError::Protocol);
        }
        let (length, mask, least) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, mask)) => (u64::from(u16::from_be_bytes(*length)), mask, 126),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, mask)) => (u64::from_be_bytes(*length), mask, 0x1_0000),
                None => return Ok(None),
            },
            short => (u64::from(short), rest, 0),
        };
        // The shortest form must be used (§5.2). Another one can be a way to hide a frame.
        if length < least || length > i64::MAX as u64 {
            return Err(ReadError::Protocol);
        }
        Ok(mask.first_chunk().map(|mask| Self {
            is_final,
            opcode,
            length,
            mask: *mask,
        }))
    }
}

/// Applies the mask, or takes it off (§5.3). `at` is the place of the first byte in its payload.
pub(crate) fn apply_mask(bytes: &mut [u8], mask: [u8; 4], at: usize) {
    for (byte, place) in bytes.iter_mut().zip(at..) {
        *byte ^= mask[place % 4];
    }
}

/// Appends one frame that is not a fragment.
pub(crate) fn write(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, to: &mut Vec<u8>) {
    to.reserve(MAX_HEADER + payload.len());
    to.push(FINAL | opcode as u8);
    let masked = if mask.is_some() { MASKED } else { 0 };
    match payload.len() {
        short @ 0..126 => to.push(masked | short as u8),
        medium @ 126..0x1_0000 => {
            to.push(masked | 126);
            to.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            to.push(masked | 127);
            to.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    to.extend(mask.into_iter().flatten());
    let start = to.len();
    to.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut to[start..], mask, 0);
    }
}
