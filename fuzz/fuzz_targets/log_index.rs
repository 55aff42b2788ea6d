//! Fuzzes a log's index.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| host_agent::fuzz::log_index(data));
