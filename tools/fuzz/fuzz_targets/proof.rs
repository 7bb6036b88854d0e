//! Fuzzes a proof that a message was here.
//! Never says what must hold: `quar_store::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_store::fuzz::proof(input));
