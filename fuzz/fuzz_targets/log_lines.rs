//! Fuzzes what instances say to a log, and when.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| host_agent::fuzz::log_lines(data));
