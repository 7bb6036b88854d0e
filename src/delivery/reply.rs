//! Replies of a mail server, read strictly.
//! Never guesses: what is not a whole reply is either incomplete or an error.

use std::fmt;

/// Longest reply line, CR LF included.
const LINE_BYTES_MAX: usize = 2048;
/// Most lines of a reply.
const LINES_MAX: usize = 100;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code, from 200 to 599.
    pub code: u16,
    /// The text after the code; several lines are parted by LF.
    pub text: String,
}

/// Bytes that are no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that does not start with a code.
    #[error("the server's answer is no reply: {0:?}")]
    Malformed(String),
    /// A line that is too long.
    #[error("the server's reply has a line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// Too many lines.
    #[error("the server's reply has more than {LINES_MAX} lines")]
    TooManyLines,
}

impl Reply {
    /// Reads the first reply in `input`, and how many bytes it takes; `None` until it is whole.
    ///
    /// # Errors
    /// [`ReplyError`] as soon as the bytes cannot become a reply.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, ReplyError> {
        let mut reply: Option<Self> = None;
        let mut used = 0;
        for _ in 0..LINES_MAX {
            let window = &input[used..input.len().min(used + LINE_BYTES_MAX)];
            let Some(lf) = memchr::memchr(b'\n', window) else {
                return match window.len() == LINE_BYTES_MAX {
                    true => Err(ReplyError::LineTooLong),
                    false => Ok(None),
                };
            };
            let line = &window[..=lf];
            used += line.len();
            let malformed = || ReplyError::Malformed(shown(&line[..line.len().min(80)]));
            let (code, is_last, text) = parse_line(line).ok_or_else(malformed)?;
            let whole = match reply.take() {
                None => Self { code, text: shown(text) },
                Some(Self { code: first, text: before }) if first == code => {
                    Self { code, text: before + "\n" + &shown(text) }
                }
                Some(_) => return Err(malformed()),
            };
            if is_last {
                return Ok(Some((whole, used)));
            }
            reply = Some(whole);
        }
        Err(ReplyError::TooManyLines)
    }

    /// Whether the code says that it was done.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text.replace('\n', " / "))
    }
}

fn parse_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let code = parse_code(line)?;
    match &line[3..] {
        [] => Some((code, true, &[])),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

fn parse_code(line: &[u8]) -> Option<u16> {
    match *line.get(..3)? {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |byte: u8| u16::from(byte - b'0');
            Some(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => None,
    }
}

/// Text as it may be stored and shown.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .trim_end()
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Reply, ReplyError};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn reads_one_reply_and_leaves_the_next() {
        let input = b"550-5.1.1 no\x07\r\n550 \xfcser\r\n250 next\r\n";
        let (reply, used) = Reply::parse(input).unwrap().unwrap();
        assert_eq!(reply.to_string(), "550 5.1.1 no? / \u{fffd}ser");
        assert_eq!(&input[used..], b"250 next\r\n");
        let (bare, _) = Reply::parse(b"250\r\n").unwrap().unwrap();
        assert_eq!((bare.code, bare.text.as_str()), (250, ""));
    }

    #[test]
    fn waits_for_the_last_line() {
        let whole = b"250-a\r\n250 b\r\n";
        for cut in 0..whole.len() {
            assert_eq!(Reply::parse(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for garbage in [
            "HTTP/1.1 400\r\n",
            "250 ok\n",
            "250_ok\r\n",
            "999 x\r\n",
            "25\r\n",
            "250-a\r\n251 b\r\n",
        ] {
            let refused = Reply::parse(garbage.as_bytes());
            assert!(matches!(refused, Err(ReplyError::Malformed(_))), "{garbage}");
        }
        assert_eq!(Reply::parse(&[b'2'; 2048]), Err(ReplyError::LineTooLong));
        let endless = "250-x\r\n".repeat(101);
        let refused = Reply::parse(endless.as_bytes());
        assert_eq!(refused, Err(ReplyError::TooManyLines));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "(250[- ]?[a-z\r]{0,3}\r?\n?){0,5}") {
            let _ = Reply::parse(&bytes);
            if let Ok(Some((_, used))) = Reply::parse(text.as_bytes()) {
                prop_assert!(used <= text.len());
            }
        }

        #[test]
        fn a_reply_is_the_same_whatever_follows_it(rest in any::<Vec<u8>>()) {
            let mut input = b"250-a\r\n250 b\r\n".to_vec();
            let alone = Reply::parse(&input);
            input.extend_from_slice(&rest);
            prop_assert_eq!(Reply::parse(&input), alone);
        }
    }
}
