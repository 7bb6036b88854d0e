//! Fuzzes the index's format file.
//! Never says what must hold: `quar_index::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_index::fuzz::index_format(input));
