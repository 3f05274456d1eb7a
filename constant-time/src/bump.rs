//! An allocator whose work does not depend on what was allocated before.
//!
//! The allocator of the C library searches lists of freed memory. How long that takes depends on the
//! history of the process, and would hide whether the layer itself takes the same work.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// In bytes. Memory is never reused, so this is for a short run.
const ARENA: usize = 1 << 30;

/// Takes memory from the front of an arena, and reuses none of it.
pub struct Bump {
    arena: UnsafeCell<[u8; ARENA]>,
    used: AtomicUsize,
}

// The arena is used only through ranges that `used` gives out once.
unsafe impl Sync for Bump {}

impl Bump {
    /// An empty arena. The system maps its pages when they are used.
    #[must_use]
    #[allow(clippy::new_without_default, clippy::large_stack_arrays)]
    pub const fn new() -> Self {
        Self {
            arena: UnsafeCell::new([0; ARENA]),
            used: AtomicUsize::new(0),
        }
    }
}

// SAFETY: each call gets a range of its own, which is aligned and within the arena.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The sum is enough for any alignment of the start.
        let size = layout.size() + layout.align();
        let from = self.used.fetch_add(size, Ordering::Relaxed);
        if from + size > ARENA {
            return null_mut();
        }
        let start = unsafe { self.arena.get().cast::<u8>().add(from) };
        let padding = start.addr().wrapping_neg() & (layout.align() - 1);
        unsafe { start.add(padding) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
