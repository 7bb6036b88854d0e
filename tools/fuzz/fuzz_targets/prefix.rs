//! Fuzzes a trie's prefix on the wire.
//! Never says what must hold: `quar_merkle::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_merkle::fuzz::prefix(input));
