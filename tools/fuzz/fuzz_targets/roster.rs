//! Fuzzes a roster's text.
//! Never says what must hold: `quar_base::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_base::fuzz::roster(input));
