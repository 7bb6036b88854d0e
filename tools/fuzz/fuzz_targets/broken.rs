//! Fuzzes the list of damaged records.
//! Never says what must hold: `quar_store::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_store::fuzz::broken(input));
