//! Fuzzes the first bytes of a connection.
//! Never says what must hold: `quar_net::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_net::fuzz::preamble(input));
