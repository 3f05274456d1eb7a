//! Reads the lines of a stream in bounded memory.

use std::io::{self, BufRead};

/// A record has at most 4 KiB. A line that exceeds this limit is not a record, and is skipped.
const MAX_LINE: usize = 64 * 1024;

/// The kind of the next line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    /// Too long: the line is skipped.
    TooLong,
    /// The last line, without a newline.
    Unfinished,
    End,
}

/// Reads the next line, without its newline, into `line`.
pub(super) fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Next> {
    line.clear();
    let mut too_long = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(match (too_long, line.is_empty()) {
                (true, _) => Next::TooLong,
                (false, true) => Next::End,
                (false, false) => Next::Unfinished,
            });
        }
        // `skip_until` and `read_until` search quickly, but have no limit.
        let room = (MAX_LINE + 1).saturating_sub(line.len());
        let part = &available[..available.len().min(room)];
        let found = if too_long {
            skip(input)?
        } else {
            let mut rest = part;
            let taken = rest.read_until(b'\n', line)?;
            input.consume(taken);
            line.last() == Some(&b'\n')
        };
        if found {
            if too_long {
                return Ok(Next::TooLong);
            }
            line.pop();
            return Ok(Next::Line);
        }
        if line.len() > MAX_LINE {
            line.clear();
            too_long = true;
        }
    }
}

/// Skips the buffer up to a newline. Returns whether it contained one.
fn skip(input: &mut impl BufRead) -> io::Result<bool> {
    let mut available = input.fill_buf()?;
    let before = available.len();
    available.skip_until(b'\n')?;
    let taken = before - available.len();
    let found = taken > 0 && input.fill_buf()?[taken - 1] == b'\n';
    input.consume(taken);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn all(input: &[u8], capacity: usize) -> Vec<(Next, usize)> {
        let mut input = BufReader::with_capacity(capacity, input);
        let mut line = Vec::new();
        let mut found = Vec::new();
        loop {
            let next = next(&mut input, &mut line).expect("a line");
            if next == Next::End {
                return found;
            }
            found.push((next, line.len()));
        }
    }

    #[test]
    fn lines_are_the_same_for_every_buffer_size() {
        for capacity in [1, 3, 4096] {
            assert_eq!(
                all(b"a\n\nbcd\r\nefg", capacity),
                [
                    (Next::Line, 1),
                    (Next::Line, 0),
                    (Next::Line, 4),
                    (Next::Unfinished, 3)
                ]
            );
        }
    }

    #[test]
    fn an_endless_line_is_not_kept_in_memory() {
        let mut input = vec![b'x'; 3 * MAX_LINE];
        assert_eq!(all(&input, 1000), [(Next::TooLong, 0)]);
        input.extend_from_slice(b"\nnext\n");
        for capacity in [999, 1 << 20] {
            assert_eq!(all(&input, capacity), [(Next::TooLong, 0), (Next::Line, 4)]);
        }
    }
}
