//! Fuzzes everything that one peer of the local socket sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| host_agent::fuzz::http(data));
