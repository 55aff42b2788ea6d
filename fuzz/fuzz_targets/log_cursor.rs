//! Fuzzes a cursor's text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| host_agent::fuzz::log_cursor(data));
