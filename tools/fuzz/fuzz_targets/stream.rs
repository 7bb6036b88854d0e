//! Fuzzes a stream of frames.
//! Never says what must hold: `quar_net::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_net::fuzz::stream(input));
