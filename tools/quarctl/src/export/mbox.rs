//! An mbox: messages in one file, in mboxrd.
//! Never under its name before all of it is there.
//!
//! ```text
//! From SENDER DATE            MAILER-DAEMON for the null sender; the date as asctime prints it, in UTC
//! message, each of its lines `From `, `>From `, `>>From ` ... behind one more `>`
//! empty line
//! ```

use super::files::{Directories, NewFile};
use super::{Outgoing, Target};
use crate::import::mbox::{UNTERMINATED, needs_quote};
use anyhow::{Context, bail};
use quar_base::time::UnixMillis;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// An mbox that is being written, as `NAME.new`.
pub struct MboxFile {
    file: BufWriter<NewFile>,
    path: PathBuf,
}

impl MboxFile {
    pub fn begin(path: &Path, overwrite: bool) -> anyhow::Result<Self> {
        if path.is_dir() {
            bail!("{} is a directory; an mbox is a file", path.display());
        }
        if path.exists() && !overwrite {
            bail!("{} is there already; --overwrite replaces it", path.display());
        }
        let Some(name) = path.file_name() else {
            bail!("{} is no name for a file", path.display());
        };
        let mut beside = name.to_owned();
        beside.push(".new");
        let file = NewFile::create(path.with_file_name(beside))?;
        Ok(Self { file: BufWriter::with_capacity(256 << 10, file), path: path.to_owned() })
    }
}

impl Target for MboxFile {
    fn take(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()> {
        let at = message.id.key.instant(message.id.bucket.day);
        let written = write_message(&mut self.file, message.sender, at, message.body);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        let Self { mut file, path } = *self;
        let error = || format!("cannot write {}", path.display());
        file.flush().with_context(error)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.with_context(error)?.name(&path)?;
        let mut above = Directories::default();
        above.make(path.parent().unwrap_or(Path::new("")))?;
        above.sync()
    }
}

/// Writes one message with its From line, and the empty line behind it.
pub fn write_message(
    out: &mut impl Write,
    sender: &str,
    at: UnixMillis,
    body: &[u8],
) -> io::Result<()> {
    let is_word = !sender.is_empty() && sender.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let sender = if is_word { sender } else { "MAILER-DAEMON" };
    let is_terminated = body.is_empty() || body.ends_with(b"\n");
    let mark = if is_terminated { "" } else { UNTERMINATED };
    writeln!(out, "From {sender} {}{mark}", asctime(at))?;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if needs_quote(line) {
            out.write_all(b">")?;
        }
        out.write_all(line)?;
    }
    out.write_all(if is_terminated { b"\n" } else { b"\n\n" })
}

/// An instant as C's `asctime` prints it, in UTC.
fn asctime(at: UnixMillis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let day = at.day();
    let (year, month, date) = day.civil();
    let second = at.second_of(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (weekday, month) = (DAYS[(day.0 % 7) as usize], MONTHS[(month - 1) as usize]);
    format!("{weekday} {month} {date:>2} {hour:02}:{minute:02}:{second:02} {year:04}")
}

#[cfg(test)]
mod tests {
    use super::{asctime, write_message};
    use crate::import::mbox::{Mbox, instant, sender};
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use quar_base::time::UnixMillis;

    const AT: UnixMillis = UnixMillis(1_795_420_812_000);

    fn read_back(text: &[u8]) -> Vec<Vec<u8>> {
        Mbox::new(text).map(|item| item.unwrap().body.unwrap()).collect()
    }

    /// Pieces of which mboxes are easily got wrong.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"From ".to_vec()),
            Just(b">".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\nFrom a@x Mon Nov 23 08:00:12 2026\n".to_vec()),
            Just(vec![b'>'; 64 << 10]),
            Just(vec![b'x'; (64 << 10) - 1]),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_exported_is_imported_byte_for_byte(
            bodies in proptest::collection::vec(body(), 0..6),
        ) {
            let mut text = Vec::new();
            for body in &bodies {
                write_message(&mut text, "a@x", AT, body).unwrap();
            }
            prop_assert_eq!(read_back(&text), bodies);
        }
    }

    #[test]
    fn a_from_line_tells_sender_and_time_whatever_the_sender_is() {
        for (given, found) in [
            ("a@x", Some("a@x")),
            ("", None),
            ("a b@x", None),
            ("a@x\nFrom b@x", None),
            ("gr\u{fc}n@x", Some("gr\u{fc}n@x")),
        ] {
            for body in ["", "x", "x\n"] {
                let mut text = Vec::new();
                write_message(&mut text, given, AT, body.as_bytes()).unwrap();
                let item = Mbox::new(&text[..]).next().unwrap().unwrap();
                assert_eq!(sender(&item.from_line).as_deref(), found, "{given:?}");
                assert_eq!(instant(&item.from_line), Some(AT));
                assert_eq!(item.body.unwrap(), body.as_bytes());
            }
        }
    }

    #[test]
    fn golden_bytes_of_an_mbox() {
        let mut text = Vec::new();
        write_message(&mut text, "a@x", AT, b"A: b\r\n\r\nFrom c\n>From d\nend").unwrap();
        write_message(&mut text, "", UnixMillis(0), b"E: f\n").unwrap();
        let wanted = "From a@x Mon Nov 23 08:00:12 2026 quard-no-last-line-feed\n\
            A: b\r\n\r\n>From c\n>>From d\nend\n\n\
            From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nE: f\n\n";
        assert_eq!(String::from_utf8(text).unwrap(), wanted);
        assert_eq!(asctime(AT), "Mon Nov 23 08:00:12 2026");
    }
}
