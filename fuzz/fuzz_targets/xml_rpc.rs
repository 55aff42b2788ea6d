//! Fuzzes the body of an XML-RPC call.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| host_agent::fuzz::xml_rpc(data));
