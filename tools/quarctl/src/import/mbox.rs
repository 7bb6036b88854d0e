//! Mboxes: many messages in one file, taken apart at their From lines.
//! Never keeps more than one message in memory, and of one that is too large nothing.
//!
//! The dialect is mboxrd: a message begins at a line `From ` at the start of the file or after an
//! empty line, and ends before the empty line in front of the next; of lines `>From `, `>>From `
//! ... one `>` is taken away. mboxo differs only in that a `>From ` of the message itself loses its `>`.
//! A From line that ends with [`UNTERMINATED`] says that the line feed at the end is none of the message's.

use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::time::{Day, Millis, UnixMillis};
use std::io::{self, BufRead, Read};

/// How much of a line is looked at at a time.
const PIECE_BYTES: u64 = 64 << 10;

/// Stands at the end of a From line whose message has no last line feed: `quarctl export` had to add
/// one, and no dialect can say so.
pub const UNTERMINATED: &str = " quard-no-last-line-feed";

/// One message of an mbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// The From line, without its line ending.
    pub from_line: Vec<u8>,
    /// The message; `None` when it is beyond the limit.
    pub body: Option<Vec<u8>>,
}

/// Takes an mbox apart.
pub struct Mbox<R> {
    source: R,
    bytes_max: usize,
    /// The From line of the next message, once it was read.
    next: Option<Vec<u8>>,
    is_begun: bool,
}

impl<R: BufRead> Mbox<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { source, bytes_max: MESSAGE_BYTES_MAX, next: None, is_begun: false }
    }

    fn read_item(&mut self) -> io::Result<Option<Item>> {
        if !self.is_begun {
            self.is_begun = true;
            let (first, _) = self.piece()?;
            if first.is_empty() {
                return Ok(None);
            }
            if !first.starts_with(b"From ") {
                let why = "not an mbox: it does not begin with \"From \"";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            self.next = Some(first);
        }
        let Some(from_line) = self.next.take() else {
            return Ok(None);
        };
        let from_line = without_ending(&from_line).to_owned();
        let is_unterminated = from_line.ends_with(UNTERMINATED.as_bytes());
        let mut body = self.read_body(self.bytes_max + usize::from(is_unterminated))?;
        if let Some(body) = body.as_mut().filter(|body| is_unterminated && body.ends_with(b"\n")) {
            body.pop();
        }
        Ok(Some(Item { from_line, body: body.filter(|body| body.len() <= self.bytes_max) }))
    }

    /// Everything up to the next From line, which is kept, or the end.
    fn read_body(&mut self, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut body = Some(Vec::new());
        let mut is_line_start = true;
        // The line before: one that is empty is kept back until it is known not to be a separator.
        let mut held_back: Vec<u8> = Vec::new();
        loop {
            let (piece, is_line_end) = self.piece()?;
            if piece.is_empty() {
                return Ok(body);
            }
            if is_line_start && !held_back.is_empty() && piece.starts_with(b"From ") {
                self.next = Some(piece);
                return Ok(body);
            }
            append(&mut body, &held_back, bytes_max);
            held_back.clear();
            if is_line_start && without_ending(&piece).is_empty() {
                held_back = piece;
            } else {
                let quoted = is_line_start && is_quoted(&piece);
                append(&mut body, &piece[usize::from(quoted)..], bytes_max);
            }
            is_line_start = is_line_end;
        }
    }

    /// A line or a part of a long one, and whether it ends the line; nothing at the end.
    fn piece(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut piece = Vec::new();
        let mut bounded = (&mut self.source).take(PIECE_BYTES);
        bounded.read_until(b'\n', &mut piece)?;
        let is_line_end = piece.ends_with(b"\n");
        Ok((piece, is_line_end))
    }
}

impl<R: BufRead> Iterator for Mbox<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read_item();
        if item.is_err() {
            self.next = None;
        }
        item.transpose()
    }
}

fn append(body: &mut Option<Vec<u8>>, bytes: &[u8], bytes_max: usize) {
    if let Some(kept) = body {
        if kept.len() + bytes.len() > bytes_max {
            *body = None;
        } else {
            kept.extend_from_slice(bytes);
        }
    }
}

fn without_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_quoted(line: &[u8]) -> bool {
    line.starts_with(b">") && is_from(line)
}

fn is_from(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|byte| **byte == b'>').count();
    line[quotes..].starts_with(b"From ")
}

/// Whether a line of a message gets a `>` in an mbox. Of a longer line than [`Mbox`] looks at, no
/// more than that counts.
pub fn needs_quote(line: &[u8]) -> bool {
    is_from(&line[..line.len().min(PIECE_BYTES as usize - 1)])
}

/// The envelope sender in a From line; `None` when there is no address.
pub fn sender(from_line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(from_line).ok()?;
    let word = text.strip_prefix("From ")?.split_whitespace().next()?;
    let word = word.trim_start_matches('<').trim_end_matches('>');
    word.contains('@').then(|| word.to_owned())
}

/// The instant in a From line, as `date` prints it in UTC: `Thu Nov 23 08:15:12 2026`, a numeric
/// offset or a zone's name before or after the year. Names of zones are passed over.
pub fn instant(from_line: &[u8]) -> Option<UnixMillis> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = String::from_utf8_lossy(from_line);
    let words: Vec<&str> = text.split_whitespace().skip(1).collect();
    let month_at = |word: &str| {
        let at = MONTHS.find(word).filter(|_| word.len() == 3)?;
        (at % 3 == 0).then_some(at / 3 + 1)
    };
    let at = words.iter().rposition(|word| month_at(word).is_some())?;
    let month = u32::try_from(month_at(words[at])?).ok()?;
    let [day, clock, rest @ ..] = words.get(at + 1..)? else {
        return None;
    };
    let year = rest.iter().find(|word| is_digits(word, 4))?;
    let day = Day::from_civil(year.parse().ok()?, month, day.parse().ok()?)?;
    let second = second_of_day(clock)?;
    let offset_s = rest.iter().find_map(|word| offset_seconds(word)).unwrap_or(0);
    let local = day.start().plus(Millis(second * 1000));
    let utc = i64::try_from(local.0).ok()? - offset_s * 1000;
    u64::try_from(utc).ok().map(UnixMillis)
}

fn second_of_day(clock: &str) -> Option<u64> {
    let mut parts = clock.split(':');
    let mut next = |max: u64| {
        let part = parts.next().filter(|part| is_digits(part, 2))?;
        part.parse().ok().filter(|number: &u64| *number <= max)
    };
    let (hour, minute) = (next(23)?, next(59)?);
    let second = if clock.len() > 5 { next(60)? } else { 0 };
    Some(hour * 3600 + minute * 60 + second.min(59))
}

fn offset_seconds(word: &str) -> Option<i64> {
    let (sign, digits) = match word.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if !is_digits(digits, 4) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
