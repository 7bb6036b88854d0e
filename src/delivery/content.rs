//! What a body holds that SMTP cares about, and by which road it can go.
//! Never changes a body but for its line endings under DATA.

use super::reply::Reply;

/// Longest line of text, CR LF excluded (RFC 5321, 4.5.3.1.6).
const LINE_BYTES_MAX: usize = 998;

/// What a server offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offers {
    pub(super) pipelining: bool,
    pub(super) eight_bit: bool,
    pub(super) smtp_utf8: bool,
    pub(super) chunking: bool,
    pub(super) binary: bool,
    /// The largest message; `Some(0)` is no limit.
    pub(super) size: Option<u64>,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// By BDAT, byte for byte.
    Chunk,
    /// By DATA, as lines.
    Lines,
}

/// What is in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    has_eight_bit: bool,
    has_nul: bool,
    has_bare_cr: bool,
    has_bare_lf: bool,
    has_long_line: bool,
    is_open: bool,
}

impl Offers {
    /// What the reply to EHLO lists.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().map(str::to_ascii_uppercase).as_deref() {
                Some("PIPELINING") => offers.pipelining = true,
                Some("8BITMIME") => offers.eight_bit = true,
                Some("SMTPUTF8") => offers.smtp_utf8 = true,
                Some("CHUNKING") => offers.chunking = true,
                Some("BINARYMIME") => offers.binary = true,
                Some("SIZE") => {
                    let limit = words.next().and_then(|digits| digits.parse().ok());
                    offers.size = Some(limit.unwrap_or(0));
                }
                _ => {}
            }
        }
        offers
    }
}

impl Content {
    /// Looks through a body.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut content =
            Self { is_open: !body.is_empty() && !body.ends_with(b"\r\n"), ..Self::default() };
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_bare) = match line {
                [text @ .., b'\r', b'\n'] => (text, false),
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            content.has_bare_lf |= is_bare;
            content.has_long_line |= text.len() > LINE_BYTES_MAX;
            for byte in text {
                content.has_eight_bit |= *byte > 127;
                content.has_nul |= *byte == 0;
                content.has_bare_cr |= *byte == b'\r';
            }
        }
        content
    }

    /// The road, and the parameter of MAIL that goes with it; or why there is none.
    pub(super) fn road(&self, offers: &Offers) -> Result<(Road, &'static str), &'static str> {
        let eight_bit = match offers.eight_bit && self.has_eight_bit {
            true => " BODY=8BITMIME",
            false => "",
        };
        if offers.chunking {
            let kind = match offers.binary && self.is_binary() {
                true => " BODY=BINARYMIME",
                false => eight_bit,
            };
            return Ok((Road::Chunk, kind));
        }
        if self.has_nul {
            return Err("the message holds a NUL byte, and the server does not offer CHUNKING");
        }
        if self.has_bare_cr {
            return Err("the message holds a bare CR, and the server does not offer CHUNKING");
        }
        Ok((Road::Lines, eight_bit))
    }

    /// What sending it by this road changed, to be said after the reply.
    pub(super) fn changes(&self, road: Road) -> &'static str {
        match road {
            Road::Lines if self.has_bare_lf => "; line endings became CRLF",
            Road::Lines if self.is_open => "; a last line ending was added",
            Road::Lines | Road::Chunk => "",
        }
    }

    fn is_binary(&self) -> bool {
        self.has_nul || self.has_bare_cr || self.has_bare_lf || self.has_long_line || self.is_open
    }
}

/// The body as DATA wants it, in blocks of about `block_bytes`: CR LF after each line, dots doubled
/// at the start of lines, and CR LF . CR LF at the end of the last block.
pub(super) fn stuffed(body: &[u8], block_bytes: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut lines = body.split_inclusive(|byte| *byte == b'\n').peekable();
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let mut block = Vec::with_capacity(block_bytes.min(body.len()) + 64);
        while block.len() < block_bytes {
            let Some(line) = lines.next() else {
                is_over = true;
                block.extend_from_slice(b".\r\n");
                break;
            };
            if line.starts_with(b".") {
                block.push(b'.');
            }
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let is_whole = line.len() > text.len();
            let text = match is_whole {
                true => text.strip_suffix(b"\r").unwrap_or(text),
                false => text,
            };
            block.extend_from_slice(text);
            block.extend_from_slice(b"\r\n");
        }
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::{Content, Offers, Reply, Road, stuffed};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn offers(keywords: &[&str]) -> Offers {
        let lines: String = keywords.iter().map(|word| format!("-{word}\r\n250")).collect();
        let reply = format!("250-mx.example\r\n250{lines} HELP\r\n");
        Offers::of(&Reply::parse(reply.as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn reads_what_a_server_offers() {
        let expected = Offers { pipelining: true, size: Some(1024), ..Offers::default() };
        assert_eq!(offers(&["pipelining", "SIZE 1024", "X"]), expected);
        assert_eq!(offers(&["SIZE"]).size, Some(0));
    }

    #[test]
    fn chooses_the_road_by_content_and_offers() {
        let all = offers(&["8BITMIME", "CHUNKING", "BINARYMIME"]);
        let chunking = offers(&["8BITMIME", "CHUNKING"]);
        let plain = offers(&["8BITMIME"]);
        for (body, offers, expected) in [
            (&b"a\r\n"[..], &all, (Road::Chunk, "")),
            (b"\xe9\r\n", &all, (Road::Chunk, " BODY=8BITMIME")),
            (b"a\n", &all, (Road::Chunk, " BODY=BINARYMIME")),
            (b"a\rb\r\n", &chunking, (Road::Chunk, "")),
            (b"\xe9\0", &chunking, (Road::Chunk, " BODY=8BITMIME")),
            (b"\xe9\n", &plain, (Road::Lines, " BODY=8BITMIME")),
        ] {
            assert_eq!(Content::of(body).road(offers), Ok(expected), "{body:?}");
        }
        for body in [&b"a\rb\r\n"[..], b"a\r", b"\0\r\n", b"a\r\r\n"] {
            assert!(Content::of(body).road(&plain).is_err(), "{body:?}");
        }
    }

    #[test]
    fn lines_that_could_end_a_message_do_not() {
        let wire = |body: &[u8]| stuffed(body, 8).flatten().collect::<Vec<u8>>();
        assert_eq!(wire(b""), b".\r\n");
        assert_eq!(wire(b"a"), b"a\r\n.\r\n");
        assert_eq!(wire(b"a\n.\nb\n"), b"a\r\n..\r\nb\r\n.\r\n");
        assert_eq!(wire(b"."), b"..\r\n.\r\n");
        assert_eq!(wire(b".\r\n..\r\n"), b"..\r\n...\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn a_stuffed_body_ends_once_and_only_at_its_end(
            body in "[.\r\na]{0,40}",
            block in 1usize..20,
        ) {
            let wire: Vec<u8> = stuffed(body.as_bytes(), block).flatten().collect();
            let mut padded = b"\r\n".to_vec();
            padded.extend_from_slice(&wire);
            let ends: Vec<usize> = (0..padded.len())
                .filter(|at| padded[*at..].starts_with(b"\r\n.\r\n"))
                .collect();
            prop_assert_eq!(ends, vec![padded.len() - 5]);
            prop_assert!(padded.windows(2).all(|pair| pair[1] != b'\n' || pair[0] == b'\r'));
        }
    }
}
