//! The stack on which the child runs until it has exec'd. Each thread keeps one for its next child: a mapping made and
//! undone for each start makes every other thread's CPU forget its translations. Never shared between threads.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Enough for a handful of frames of an unoptimised build; running over it faults on the guard.
const SIZE: usize = 64 * 1024;
/// A whole number of pages whatever their size: the largest one is 64 KiB, on arm64.
const GUARD: usize = 64 * 1024;

/// A mapping whose lowest part faults.
pub(super) struct Stack {
    base: *mut c_void,
}

thread_local! {
    static KEPT: Cell<Option<Stack>> = const { Cell::new(None) };
}

impl Stack {
    /// The one this thread kept, or a new one.
    pub(super) fn take() -> io::Result<Self> {
        KEPT.take().map_or_else(Self::new, Ok)
    }

    /// For this thread's next child. Only once the present one has exec'd or ended.
    pub(super) fn keep(self) {
        KEPT.set(Some(self));
    }

    fn new() -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::STACK;
        let rw = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), GUARD + SIZE, rw, flags) }?;
        let stack = Self { base };
        // SAFETY: the range is the first part of the mapping just made, which nothing refers to.
        unsafe { mprotect(base, GUARD, MprotectFlags::empty()) }?;
        Ok(stack)
    }

    /// Lowest usable address.
    pub(super) fn lowest(&self) -> usize {
        self.base as usize + GUARD
    }

    /// Usable bytes above [`Self::lowest`]; a multiple of 16.
    pub(super) fn size(&self) -> usize {
        SIZE
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and the child that used it has exec'd or ended (CLONE_VFORK).
        let _ = unsafe { munmap(self.base, GUARD + SIZE) };
    }
}
