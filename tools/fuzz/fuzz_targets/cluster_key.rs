//! Fuzzes the file of the cluster encryption key.
//! Never says what must hold: `quard::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quard::fuzz::cluster_key(input));
