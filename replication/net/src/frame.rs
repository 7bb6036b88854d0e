//! Frames, and their decoding from whatever pieces bytes arrive in.
//! Never reads or writes a stream, and never allocates for bytes that have not come.

use crate::error::NetError;
use bytes::{Buf, Bytes, BytesMut};
use quar_base::limits::FRAME_BYTES_MAX;

/// Length of what stands before a payload: its length (u32, little-endian) and its kind (u8).
pub const FRAME_HEADER_BYTES: usize = 5;

/// How many bytes a read may bring.
const READ_BYTES: usize = 64 << 10;
/// With less room than this, more is made before a read.
const ROOM_BYTES_MIN: usize = 16 << 10;

/// One frame, as received.
///
/// *Limits*: the payload is a slice of the receive buffer (64 KiB or more), which lives as long
/// as any frame in it: copy what is kept for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is; the meaning is the caller's.
    pub kind: u8,
    /// The bytes sent.
    pub payload: Bytes,
}

/// Appends one frame to `buffer`; the payload may come in pieces.
pub(crate) fn encode(buffer: &mut Vec<u8>, kind: u8, payload: &[&[u8]]) -> Result<(), NetError> {
    let bytes = payload.iter().map(|piece| piece.len()).sum::<usize>();
    check_length(bytes)?;
    let length = u32::try_from(bytes).expect("the limit of a frame is below 4 GiB");
    buffer.reserve(FRAME_HEADER_BYTES + bytes);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.push(kind);
    for piece in payload {
        buffer.extend_from_slice(piece);
    }
    Ok(())
}

fn check_length(bytes: usize) -> Result<(), NetError> {
    if bytes > FRAME_BYTES_MAX {
        return Err(NetError::FrameTooLarge { bytes, limit: FRAME_BYTES_MAX });
    }
    Ok(())
}

/// Bytes received and not yet handed out.
#[derive(Default)]
pub(crate) struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// The next frame that is complete, if one is. An error repeats until the decoder goes.
    pub(crate) fn decode(&mut self) -> Result<Option<Frame>, NetError> {
        let Some((payload_bytes, kind)) = self.header() else {
            return Ok(None);
        };
        check_length(payload_bytes)?;
        if self.buffer.len() < FRAME_HEADER_BYTES + payload_bytes {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER_BYTES);
        Ok(Some(Frame { kind, payload: self.buffer.split_to(payload_bytes).freeze() }))
    }

    /// Where the next bytes go. Grows by what has come, never by what a header promises.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    /// How many bytes the frame begun still lacks; none if the last one is complete.
    pub(crate) fn missing(&self) -> Option<usize> {
        if self.buffer.is_empty() {
            return None;
        }
        let whole = match self.header() {
            Some((payload_bytes, _)) => FRAME_HEADER_BYTES + payload_bytes,
            None => FRAME_HEADER_BYTES,
        };
        Some(whole.saturating_sub(self.buffer.len()))
    }

    fn header(&self) -> Option<(usize, u8)> {
        let header = self.buffer.first_chunk::<FRAME_HEADER_BYTES>()?;
        let [a, b, c, d, kind] = *header;
        Some((u32::from_le_bytes([a, b, c, d]) as usize, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAME_HEADER_BYTES, Frame, FrameDecoder, encode};
    use crate::error::NetError;
    use bytes::{BufMut, Bytes};
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use quar_base::limits::FRAME_BYTES_MAX;

    fn decode_all(decoder: &mut FrameDecoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.decode().unwrap()).collect()
    }

    #[test]
    fn a_frame_has_these_bytes() {
        let mut buffer = Vec::new();
        encode(&mut buffer, 7, &[b"ab", b"", b"c"]).unwrap();
        assert_eq!(buffer, b"\x03\0\0\0\x07abc");
    }

    #[test]
    fn refuses_a_long_frame_at_its_header_and_takes_the_longest_allowed() {
        let mut decoder = FrameDecoder::default();
        decoder.room().put_u32_le(FRAME_BYTES_MAX as u32 + 1);
        decoder.room().put_u8(0);
        for _ in 0..2 {
            let error = decoder.decode().unwrap_err();
            assert!(matches!(error, NetError::FrameTooLarge { bytes, .. } if bytes == 1_048_577));
        }
        let long = vec![0; FRAME_BYTES_MAX + 1];
        let mut buffer = Vec::new();
        assert!(encode(&mut buffer, 0, &[&long]).is_err());
        assert!(buffer.is_empty());
        encode(&mut buffer, 0, &[&long[1..]]).unwrap();
        assert_eq!(buffer.len(), FRAME_HEADER_BYTES + FRAME_BYTES_MAX);
    }

    #[test]
    fn does_not_allocate_for_a_promise() {
        let mut decoder = FrameDecoder::default();
        decoder.room().put_u32_le(FRAME_BYTES_MAX as u32);
        decoder.room().put_slice(b"\0 a few bytes");
        assert_eq!(decoder.decode().unwrap(), None);
        assert!(decoder.room().capacity() <= 128 << 10);
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_bytes_are_split(
            frames in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..12),
            splits in vec(1usize..97, 1..20),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                let (left, right) = payload.split_at(payload.len() / 3);
                encode(&mut bytes, *kind, &[left, right]).unwrap();
            }
            let mut decoder = FrameDecoder::default();
            let mut found = Vec::new();
            let (mut rest, mut sizes) = (&bytes[..], splits.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                decoder.room().extend_from_slice(piece);
                rest = after;
                found.extend(decode_all(&mut decoder));
            }
            let expected: Vec<_> = frames
                .into_iter()
                .map(|(kind, payload)| Frame { kind, payload: Bytes::from(payload) })
                .collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(decoder.missing(), None);
        }

        #[test]
        fn a_frame_cut_short_says_how_much_is_missing(
            payload in vec(any::<u8>(), 0..300),
            kept in 1usize..304,
        ) {
            let mut bytes = Vec::new();
            encode(&mut bytes, 1, &[&payload]).unwrap();
            let kept = kept.min(bytes.len() - 1);
            let mut decoder = FrameDecoder::default();
            decoder.room().extend_from_slice(&bytes[..kept]);
            prop_assert_eq!(decoder.decode().unwrap(), None);
            let whole = if kept < FRAME_HEADER_BYTES { FRAME_HEADER_BYTES } else { bytes.len() };
            prop_assert_eq!(decoder.missing(), Some(whole - kept));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let mut decoder = FrameDecoder::default();
            decoder.room().extend_from_slice(&bytes);
            while let Ok(Some(_)) = decoder.decode() {}
        }
    }
}
