//! What a program can ask of the valgrind that it runs in. Outside, nothing happens.
//!
//! The numbers are those of valgrind's headers, where they are promised to stay.

use std::ffi::CStr;

const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
const CALLGRIND: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16;

/// Whether the program runs in valgrind.
#[must_use]
pub fn is_running() -> bool {
    ask(0x1001, 0, 0, 0) != 0
}

/// How many errors were found so far.
#[must_use]
pub fn errors() -> usize {
    ask(0x1201, 0, 0, 0)
}

/// Marks bytes as secret: a branch or an address that depends on them is an error from here on.
pub fn mark_undefined(bytes: &[u8]) {
    ask(MEMCHECK + 1, bytes.as_ptr().addr(), bytes.len(), 0);
}

/// Removes the mark.
pub fn mark_defined(bytes: &mut [u8]) {
    ask(MEMCHECK + 2, bytes.as_ptr().addr(), bytes.len(), 0);
}

/// Whether any bit of them is marked, or computed from one that is.
#[must_use]
pub fn is_undefined(bytes: &[u8]) -> bool {
    let mut marks = vec![0_u8; bytes.len()];
    let (from, to) = (
        bytes.as_ptr().addr(),
        marks.as_mut_ptr().expose_provenance(),
    );
    ask(MEMCHECK + 8, from, to, bytes.len());
    marks.iter().any(|mark| *mark != 0)
}

/// Begins to count instructions, or ends it.
#[inline(always)]
pub fn toggle_collect() {
    ask(CALLGRIND + 2, 0, 0, 0);
}

/// Writes down what was counted, under a name, and begins at zero.
pub fn dump_counts(name: &CStr) {
    ask(CALLGRIND + 3, name.as_ptr().addr(), 0, 0);
}

/// Valgrind knows this sequence, which otherwise does nothing and leaves `result` at 0.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask(request: usize, first: usize, second: usize, third: usize) -> usize {
    let question = [request, first, second, third, 0, 0];
    let result;
    // SAFETY: the four rotations add up to two whole turns and the exchange is with itself, so that
    // outside of valgrind no register changes. Inside, it writes no memory of the program but that
    // which `is_undefined` lends it.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &question,
            inout("rdx") 0_usize => result,
        );
    }
    result
}

/// Elsewhere the sequence is another; the programs for valgrind say that it is not running.
#[cfg(not(target_arch = "x86_64"))]
fn ask(_: usize, _: usize, _: usize, _: usize) -> usize {
    0
}
