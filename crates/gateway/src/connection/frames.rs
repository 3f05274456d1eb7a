//! Reads the headers of HTTP/2 frames in a stream of bytes (RFC 9113 §4.1), and skips the rest.

/// Frame types (RFC 9113 §6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
/// The flag of `DATA` and `HEADERS` that ends a stream.
const END_STREAM: u8 = 1;

const HEADER: usize = 9;
/// Enough for the error code of a `GOAWAY`.
const KEPT: usize = 8;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    pub(super) length: usize,
    /// The code of `RST_STREAM` and `GOAWAY`.
    pub(super) error: Option<u32>,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Finds the frames in a stream of bytes that comes in parts.
#[derive(Default)]
pub(super) struct FrameReader {
    /// The header of the frame, and the beginning of its payload if that is needed.
    head: [u8; HEADER + KEPT],
    filled: usize,
    /// How much of the payload is still to come.
    skip: usize,
}

impl FrameReader {
    /// Reads on. Calls `found` for each frame as soon as its header is complete.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let part = (self.wanted() - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + part].copy_from_slice(&bytes[..part]);
            self.filled += part;
            bytes = &bytes[part..];
            if self.filled >= HEADER && self.filled == self.wanted() {
                let frame = self.frame();
                self.skip = frame.length - (self.filled - HEADER);
                self.filled = 0;
                found(frame);
            }
        }
    }

    /// How much of the current frame is needed.
    fn wanted(&self) -> usize {
        match (self.filled, self.head[3]) {
            (HEADER.., RST_STREAM | GOAWAY) => HEADER + self.length().min(KEPT),
            _ => HEADER,
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn number(&self, at: usize) -> u32 {
        let bytes = [0, 1, 2, 3].map(|offset| self.head[at + offset]);
        u32::from_be_bytes(bytes)
    }

    fn frame(&self) -> Frame {
        let (kind, length) = (self.head[3], self.length());
        Frame {
            kind,
            flags: self.head[4],
            stream: self.number(5) & (u32::MAX >> 1),
            length,
            error: match kind {
                RST_STREAM if length == 4 => Some(self.number(HEADER)),
                GOAWAY if length >= 8 => Some(self.number(HEADER + 4)),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let (mut reader, mut found) = (FrameReader::default(), Vec::new());
        for part in parts {
            reader.read(part, |frame| found.push(frame));
        }
        found
    }

    #[test]
    fn codes_and_ends_are_read() {
        let goaway = [&[0, 0, 0, 7, 0, 0, 0, 11][..], b"why"].concat();
        let all = [
            bytes(HEADERS, END_STREAM | 4, 1, b"header block"),
            bytes(RST_STREAM, 0, 1 | 1 << 31, &[0, 0, 0, 8]),
            bytes(RST_STREAM, 0, 1, b""),
            bytes(GOAWAY, 1, 0, &goaway),
            bytes(DATA, 0, 3, &[7; 300]),
        ]
        .concat();
        let frames = read([&all[..]]);
        let shown: Vec<_> = frames
            .iter()
            .map(|frame| (frame.kind, frame.stream, frame.ends_stream(), frame.error))
            .collect();
        assert_eq!(
            shown,
            [
                (HEADERS, 1, true, None),
                (RST_STREAM, 1, false, Some(8)),
                (RST_STREAM, 1, false, None),
                (GOAWAY, 0, false, Some(11)),
                (DATA, 3, false, None),
            ]
        );
        assert_eq!(frames[4].length, 300);
    }

    proptest! {
        /// The same frames are found, wherever the bytes are cut.
        #[test]
        fn frames_are_found_in_any_parts(
            frames in prop::collection::vec((0..12_u8, any::<u8>(), any::<u32>(), 0..40_usize), 0..20),
            cut in 1..30_usize,
        ) {
            let all: Vec<u8> = frames
                .iter()
                .flat_map(|(kind, flags, stream, length)| bytes(*kind, *flags, *stream, &vec![7; *length]))
                .collect();
            let whole = read([&all[..]]);
            prop_assert_eq!(whole.len(), frames.len());
            for (found, (kind, flags, stream, length)) in whole.iter().zip(&frames) {
                let expected = (*kind, *flags, *stream & (u32::MAX >> 1), *length);
                prop_assert_eq!((found.kind, found.flags, found.stream, found.length), expected);
            }
            prop_assert_eq!(read(all.chunks(cut)), whole);
        }
    }
}
