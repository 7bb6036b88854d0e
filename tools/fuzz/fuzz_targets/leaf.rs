//! Fuzzes a leaf of the index.
//! Never says what must hold: `quar_index::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_index::fuzz::leaf(input));
