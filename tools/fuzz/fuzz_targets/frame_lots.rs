//! Fuzzes lots that are offered and taken.
//! Never says what must hold: `quar_sync::fuzz` does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quar_sync::fuzz::lots(input));
