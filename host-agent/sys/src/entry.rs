//! Where a program begins that is started for every process of every daemon.
//!
//! What Rust does before `main` (looking at the standard descriptors, handlers for overrun stacks with a stack of their
//! own, ignoring SIGPIPE) takes two thirds of such a program's start, and `zhylon-exec` has use for none of it.

use std::ffi::{CStr, c_char, c_int};

/// Makes `$main`, a `fn(&[&CStr]) -> u8` that is given the program's words, its own name first, and returns its exit code,
/// the program's beginning. The crate must be `#![no_main]`.
#[macro_export]
macro_rules! begin_with {
    ($main:path) => {
        #[allow(
            unsafe_code,
            reason = "the C library calls the one function of this name"
        )]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: they are what the C library was given by the kernel, and they stay until the program ends.
            let words = unsafe { $crate::entry::words(argc, argv) };
            ::std::ffi::c_int::from($main(&words))
        }
    };
}

/// The program's words.
///
/// # Safety
/// `argv` must point to `argc` pointers to strings that stay for ever.
#[doc(hidden)]
#[must_use]
pub unsafe fn words(argc: c_int, argv: *const *const c_char) -> Vec<&'static CStr> {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the caller's promise; `at` is below `argc`.
    let word = |at| unsafe { CStr::from_ptr(*argv.add(at)) };
    (0..count).map(word).collect()
}
