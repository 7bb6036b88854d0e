//! The bytes of a message on their way in: limits, and the end of DATA.
//! Never ends a message at anything but CR LF . CR LF, and never keeps what is beyond a limit.

use memchr::memchr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit of the shared room stands for.
pub(super) const UNIT_BYTES: usize = 64 << 10;
/// Most bytes for which memory is taken before they came.
const EXPECTED_BYTES_MAX: u64 = 1 << 20;

/// A message as it grows.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    bytes_max: usize,
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    spill: Option<Spill>,
}

/// Why a message is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spill {
    /// It is larger than the limit.
    TooLarge,
    /// The messages of all connections take all the room there is.
    NoRoom,
}

impl Body {
    /// An empty message of at most `bytes_max` bytes, which takes its room from `room`.
    pub(super) fn new(bytes_max: usize, room: Arc<Semaphore>) -> Self {
        Self { bytes: Vec::new(), bytes_max, room, held: None, spill: None }
    }

    /// Makes place for what was announced, so that it is not moved while it grows.
    pub(super) fn expect(&mut self, bytes: u64) {
        let likely = usize::try_from(bytes.min(EXPECTED_BYTES_MAX)).unwrap_or(0);
        if self.spill.is_none() && likely <= self.bytes_max.saturating_sub(self.bytes.len()) {
            self.bytes.reserve(likely);
        }
    }

    /// Adds a piece; beyond a limit, drops everything and from then on keeps nothing.
    pub(super) fn append(&mut self, piece: &[u8]) {
        if piece.is_empty() || self.spill.is_some() {
            return;
        }
        let length = self.bytes.len() + piece.len();
        if length > self.bytes_max {
            self.drop_all(Spill::TooLarge);
        } else if !self.hold(length.div_ceil(UNIT_BYTES)) {
            self.drop_all(Spill::NoRoom);
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// Drops everything because more is announced than is allowed.
    pub(super) fn give_up_beyond(&mut self, more_bytes: u64) {
        let free = self.bytes_max.saturating_sub(self.bytes.len()) as u64;
        if self.spill.is_none() && more_bytes > free {
            self.drop_all(Spill::TooLarge);
        }
    }

    /// Why the message is not kept; `None` while it is.
    pub(super) fn spill(&self) -> Option<Spill> {
        self.spill
    }

    /// The message, and the room that it takes until it is stored.
    pub(super) fn into_parts(self) -> (Vec<u8>, Option<OwnedSemaphorePermit>) {
        (self.bytes, self.held)
    }

    fn drop_all(&mut self, spill: Spill) {
        self.bytes = Vec::new();
        self.held = None;
        self.spill = Some(spill);
    }

    fn hold(&mut self, units: usize) -> bool {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = units.checked_sub(held).filter(|more| *more > 0) else {
            return true;
        };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(more) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        true
    }
}

/// Where in a line of DATA the next byte stands. Only CR LF ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unstuffer {
    /// At the start of a line.
    LineStart,
    /// After a dot that starts a line: not yet known whether it is content.
    Dot,
    /// After such a dot and CR: the end if LF follows.
    DotCr,
    /// After a CR.
    Cr,
    /// Anywhere else.
    Middle,
}

impl Unstuffer {
    /// Takes bytes of DATA into `body`; how many, if the message ends among them.
    pub(super) fn take(&mut self, bytes: &[u8], body: &mut Body) -> Option<usize> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            match (*self, bytes[at]) {
                (Self::LineStart, b'.') => {
                    body.append(&bytes[kept..at]);
                    at += 1;
                    kept = at;
                    *self = Self::Dot;
                }
                (Self::Dot, b'\r') => {
                    at += 1;
                    kept = at;
                    *self = Self::DotCr;
                }
                (Self::DotCr, b'\n') => return Some(at + 1),
                (Self::DotCr, _) => {
                    body.append(b"\r");
                    *self = Self::Cr;
                }
                (Self::LineStart | Self::Dot | Self::Cr | Self::Middle, _) => {
                    let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |lf| at + lf + 1);
                    *self = self.after(&bytes[at..end]);
                    at = end;
                }
            }
        }
        body.append(&bytes[kept..]);
        None
    }

    /// The state after content that holds no LF but perhaps at its end.
    fn after(self, content: &[u8]) -> Self {
        match content {
            [.., b'\r', b'\n'] => Self::LineStart,
            [b'\n'] if self == Self::Cr => Self::LineStart,
            [.., b'\r'] => Self::Cr,
            _ => Self::Middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Spill, UNIT_BYTES, Unstuffer};
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn body(bytes_max: usize, units: usize) -> Body {
        Body::new(bytes_max, Arc::new(Semaphore::new(units)))
    }

    /// The message in `wire`, and what follows it; `None` without an end.
    fn unstuff(wire: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
        let (mut state, mut body) = (Unstuffer::LineStart, body(1 << 20, 100));
        let mut taken = 0;
        for piece in wire.chunks(step) {
            if let Some(used) = state.take(piece, &mut body) {
                return Some((body.into_parts().0, taken + used));
            }
            taken += piece.len();
        }
        None
    }

    #[test]
    fn only_cr_lf_dot_cr_lf_ends_a_message() {
        for (wire, message) in [
            ("a\r\n.\r\n", Some("a\r\n")),
            (".\r\n", Some("")),
            ("a\n.\r\nb\r\n.\r\n", Some("a\n.\r\nb\r\n")),
            ("a\r.\r\nb\r\n.\r\n", Some("a\r.\r\nb\r\n")),
            ("a\n.\nb\r\n.\r\n", Some("a\n.\nb\r\n")),
            ("a\r.\rb\r\n.\r\n", Some("a\r.\rb\r\n")),
            ("a\r\n.\nb\r\n.\r\n", Some("a\r\n\nb\r\n")),
            ("a\r\n.\rb\r\n.\r\n", Some("a\r\n\rb\r\n")),
            ("a\r\n.\r\r\n.\r\n", Some("a\r\n\r\r\n")),
            ("..\r\n...\r\n.\r\n", Some(".\r\n..\r\n")),
            ("\0\r\n.\r\n", Some("\0\r\n")),
            ("a\r\n.\n", None),
            ("a\n.\r\n", None),
            ("a\r.\r\n", None),
            ("a.\r\n", None),
        ] {
            for step in 1..=wire.len() {
                let expected = message.map(|text| (text.as_bytes().to_vec(), wire.len()));
                assert_eq!(unstuff(wire.as_bytes(), step), expected, "{wire:?} by {step}");
            }
        }
    }

    #[test]
    fn keeps_a_message_at_the_limit_and_nothing_beyond_it() {
        let mut body = body(10, 1);
        body.append(b"0123456789");
        assert_eq!(body.spill(), None);
        body.append(b"0");
        assert_eq!(body.spill(), Some(Spill::TooLarge));
        assert_eq!(body.into_parts().0.capacity(), 0);
    }

    #[test]
    fn gives_its_room_back_when_there_is_not_enough() {
        let room = Arc::new(Semaphore::new(2));
        let mut first = Body::new(1 << 20, Arc::clone(&room));
        first.append(&vec![0; UNIT_BYTES + 1]);
        let mut second = Body::new(1 << 20, Arc::clone(&room));
        second.append(b"x");
        assert_eq!(second.spill(), Some(Spill::NoRoom));
        first.append(&vec![0; UNIT_BYTES]);
        assert_eq!(first.spill(), Some(Spill::NoRoom));
        assert_eq!(room.available_permits(), 2);
    }

    proptest! {
        #[test]
        fn any_lines_come_back_from_their_stuffed_form(
            lines in proptest::collection::vec("[.\r\nab]{0,4}", 0..20),
            step in 1usize..9,
            rest in any::<Vec<u8>>(),
        ) {
            let message = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let mut wire = Vec::new();
            for line in message.split_inclusive("\r\n") {
                if line.starts_with('.') {
                    wire.push(b'.');
                }
                wire.extend_from_slice(line.as_bytes());
            }
            wire.extend_from_slice(b".\r\n");
            let end = wire.len();
            wire.extend_from_slice(&rest);
            prop_assert_eq!(unstuff(&wire, step), Some((message.into_bytes(), end)));
        }
    }
}
