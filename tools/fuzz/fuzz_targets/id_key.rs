//! Fuzzes the file of the id key.
//! Never says what must hold: `quard::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quard::fuzz::id_key(input));
