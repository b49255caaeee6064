//! A global allocator that counts what the current thread takes. It changes nothing about the memory itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// To be declared as `#[global_allocator]` by the test and the binary.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    // Neither is allocated lazily nor has a destructor, so the allocator may touch it at any time.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn count(size: usize) {
    TAKEN.with(|taken| taken.set(taken.get().saturating_add(size)));
}

// SAFETY: every method passes its arguments unchanged to `System`, whose contract is the same; counting touches a thread-local
// without allocating.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as for alloc.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The whole new size, although part of it may be the old one: too much rather than too little.
        count(size);
        // SAFETY: the caller got `pointer` from this allocator, so from System, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for realloc.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `work` and says how many bytes it allocated on this thread, those it freed included.
pub fn taken_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = TAKEN.with(Cell::get);
    let result = work();
    (result, TAKEN.with(Cell::get) - before)
}
