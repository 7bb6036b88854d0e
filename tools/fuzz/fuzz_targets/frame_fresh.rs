//! Fuzzes what is younger than the cutoff.
//! Never says what must hold: `quar_sync::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_sync::fuzz::fresh(input));
