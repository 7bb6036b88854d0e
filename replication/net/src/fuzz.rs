//! What must hold of any bytes that come in on a connection: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.

use crate::frame::{FRAME_HEADER_BYTES, FrameDecoder, encode};
use crate::preamble;
use quar_base::limits::FRAME_BYTES_MAX;

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[("stream", stream), ("preamble", preamble)];

/// A stream of frames, in pieces: the first byte says how long they are.
pub fn stream(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else { return };
    let mut decoder = FrameDecoder::default();
    let mut read = Vec::new();
    for piece in input.chunks(usize::from(first) + 1) {
        decoder.room().extend_from_slice(piece);
        loop {
            match decoder.decode() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= FRAME_BYTES_MAX);
                    encode(&mut read, frame.kind, &[&frame.payload])
                        .expect("it is within the limit");
                }
                Ok(None) => break,
                Err(_) => return assert!(input.starts_with(&read), "frames before it are whole"),
            }
        }
        let missing = decoder.missing();
        assert!(missing.is_none_or(|bytes| bytes <= FRAME_HEADER_BYTES + FRAME_BYTES_MAX));
        // Memory for what has come, and none for what is promised.
        assert!(decoder.room().capacity() <= (128 << 10) + 2 * input.len());
    }
    assert!(input.starts_with(&read));
    assert_eq!(decoder.missing().is_none(), input.len() == read.len());
}

/// The eight bytes that each side sends first.
pub fn preamble(input: &[u8]) {
    let Some(found) = input.first_chunk() else { return };
    assert_eq!(preamble::check(found).is_ok(), *found == preamble::PREAMBLE);
}

#[cfg(test)]
#[path = "../../../tools/fuzz/replay.rs"]
mod replay;
