//! Fuzzes a store that is opened over any segments.
//! Never says what must hold: `quar_store::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_store::fuzz::opening(input));
