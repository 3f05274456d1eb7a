//! Reads a format of headers and payloads from bytes that arrive in parts of any size.

/// Maximum number of bytes that are kept of a header.
const LONGEST_HEADER: usize = 512;

/// A format that consists of headers and payloads.
pub(super) trait Headers: Default {
    /// Reads the header at the start of `bytes`, which is all that is kept.
    fn header(&mut self, bytes: &[u8]) -> Step;

    /// So many bytes of a payload passed.
    fn payload(&mut self, _bytes: u64) {}
}

/// What to do after a look at a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look again when there are so many bytes.
    Need(usize),
    /// The header has `header` bytes, and so many bytes of payload follow.
    Skip { header: usize, payload: u64 },
    /// Nothing more can be read.
    End,
}

/// Feeds a format.
pub(super) struct Scanner<F> {
    format: F,
    kept: Vec<u8>,
    need: usize,
    skip: u64,
    ended: bool,
}

impl<F: Headers> Default for Scanner<F> {
    fn default() -> Self {
        Self {
            format: F::default(),
            kept: Vec::new(),
            need: 1,
            skip: 0,
            ended: false,
        }
    }
}

impl<F: Headers> Scanner<F> {
    pub(super) fn format(&self) -> &F {
        &self.format
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !self.ended && !bytes.is_empty() {
            if self.skip > 0 {
                let now = usize::try_from(self.skip)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.pass(now as u64);
                bytes = &bytes[now..];
                continue;
            }
            let missing = self.need.saturating_sub(self.kept.len()).min(bytes.len());
            self.kept.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            self.look();
        }
    }

    fn pass(&mut self, bytes: u64) {
        self.skip -= bytes;
        self.format.payload(bytes);
    }

    /// Reads the headers that are complete.
    fn look(&mut self) {
        while !self.ended && self.skip == 0 && self.kept.len() >= self.need {
            match self.format.header(&self.kept) {
                Step::Need(need) if need <= LONGEST_HEADER && need > self.kept.len() => {
                    self.need = need;
                }
                Step::Skip { header, payload } if header <= self.kept.len() => {
                    self.kept.drain(..header);
                    self.need = 1;
                    self.skip = payload;
                    // Bytes of the payload may have been kept with its header.
                    let kept = payload.min(self.kept.len() as u64);
                    if kept > 0 {
                        self.kept.drain(..usize::try_from(kept).unwrap_or_default());
                        self.pass(kept);
                    }
                    if header == 0 && payload == 0 {
                        self.ended = true;
                    }
                }
                _ => self.ended = true,
            }
        }
    }
}
