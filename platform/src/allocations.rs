//! Counts heap allocations, for tests that prove a path makes none. Not part of the product.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting. A test binary makes it its `#[global_allocator]`.
pub struct CountingAllocator;

/// How often this process has allocated or grown memory.
#[must_use]
pub fn allocations() -> u64 {
    COUNT.load(Ordering::SeqCst)
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, which the caller must have chosen
// as `GlobalAlloc` demands.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: see the impl.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: see the impl.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: see the impl.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: see the impl.
        unsafe { System.dealloc(pointer, layout) }
    }
}
