//! What people and programs see: tables and lines, or JSON.
//! Never lets a byte of a message steer a terminal.

use comfy_table::{CellAlignment, Table};
use quard::api::ErrorReply;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Longest text in a column of a terminal, in characters.
const COLUMN_MAX: usize = 44;

/// Where a command's results go.
pub struct Output {
    out: Box<dyn Write>,
    is_json: bool,
    is_terminal: bool,
}

impl Output {
    /// Standard output, and standard error for complaints.
    pub fn standard(is_json: bool) -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Self { out: Box::new(io::BufWriter::new(out)), is_json, is_terminal }
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Whether somebody sees it as it comes.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// One JSON value, on a line of its own.
    pub fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// One line for people.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref().trim_end())
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Columns under headings; those that `right` names by position hold numbers.
    pub fn table(
        &mut self,
        headings: &[&str],
        rows: Vec<Vec<String>>,
        right: &[usize],
    ) -> io::Result<()> {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        table.set_header(headings);
        for row in rows {
            let cells = row.iter().map(|cell| self.cell(cell));
            table.add_row(cells.collect::<Vec<_>>());
        }
        for (at, column) in table.column_iter_mut().enumerate() {
            let left = if at == 0 { 0 } else { 1 };
            column.set_padding((left, 1));
            if right.contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            self.line(line)?;
        }
        Ok(())
    }

    fn cell(&self, text: &str) -> String {
        let text = plain(text);
        if self.is_terminal && text.chars().count() > COLUMN_MAX {
            let kept: String = text.chars().take(COLUMN_MAX - 1).collect();
            return format!("{kept}\u{2026}");
        }
        text
    }

    /// Everything so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Says on standard error why a command failed.
    pub fn complain(&self, error: &anyhow::Error) {
        if self.is_json {
            let reply = ErrorReply {
                kind: crate::failure::kind(error).unwrap_or("failed").to_owned(),
                error: format!("{error:#}"),
            };
            let text = serde_json::to_string(&reply).unwrap_or_default();
            eprintln!("{text}");
        } else {
            eprintln!("quarctl: {}", plain(&format!("{error:#}")));
        }
    }

    /// Says something on standard error that is no result.
    pub fn remark(&self, text: impl AsRef<str>) {
        if !self.is_json {
            eprintln!("quarctl: {}", plain(text.as_ref()));
        }
    }
}

/// A text of a stranger's without anything that moves a cursor or turns the writing round.
pub fn plain(text: &str) -> String {
    let is_steering = |c: char| {
        (c.is_control() && c != '\n')
            || ('\u{200e}'..='\u{200f}').contains(&c)
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let shown = |c| if is_steering(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// The id as people type it: the first digits of its last part.
pub fn short_id(id: &str) -> String {
    let digest = id.rsplit('-').next().unwrap_or(id);
    digest.chars().take(12).collect()
}

/// A length as people read it.
pub fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if amount < 999.95 {
            break;
        }
        amount /= 1000.0;
        unit = larger;
    }
    format!("{amount:.1} {unit}")
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An instant in UTC without its decoration.
pub fn time(rfc3339: &str) -> String {
    rfc3339.trim_end_matches('Z').replacen('T', " ", 1)
}

#[cfg(test)]
pub mod tests {
    use super::{Output, count, plain, short_id, size, time};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    /// What was written so far.
    #[derive(Clone, Default)]
    pub struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub fn output(&self, is_json: bool, is_terminal: bool) -> Output {
            Output { out: Box::new(self.clone()), is_json, is_terminal }
        }

        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_table_has_columns_without_frames() {
        let written = Written::default();
        let rows = vec![
            vec!["a".to_owned(), "1.0 kB".to_owned(), "x".to_owned()],
            vec!["bcd".to_owned(), "9 B".to_owned(), String::new()],
        ];
        let mut output = written.output(false, false);
        output.table(&["ID", "SIZE", "SUBJECT"], rows, &[1]).unwrap();
        assert_eq!(written.text(), "ID     SIZE  SUBJECT\na    1.0 kB  x\nbcd     9 B\n");
    }

    #[test]
    fn a_long_text_is_cut_on_a_terminal_only() {
        let long = "\u{fc}".repeat(60);
        for (is_terminal, wanted) in [(true, 44), (false, 60)] {
            let written = Written::default();
            let mut output = written.output(false, is_terminal);
            output.table(&["S"], vec![vec![long.clone()]], &[]).unwrap();
            let line = written.text().lines().nth(1).unwrap().to_owned();
            assert_eq!(line.chars().count(), wanted);
        }
    }

    #[test]
    fn a_subject_cannot_steer_the_terminal() {
        let nasty = "\u{1b}]0;owned\u{7}\u{202e}txt.exe\r\t\u{9b}31m";
        let shown = plain(nasty);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains('\u{202e}'));
        assert_eq!(plain("Gr\u{fc}\u{df}e \u{1f600}"), "Gr\u{fc}\u{df}e \u{1f600}");
    }

    #[test]
    fn figures_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (3_649, "3.6 kB"),
            (999_999, "1.0 MB"),
            (67_108_864, "67.1 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(time("2026-11-23T08:15:12Z"), "2026-11-23 08:15:12");
        let id = format!("class-9-20261123-081512-{}", "4f".repeat(32));
        assert_eq!(short_id(&id), "4f4f4f4f4f4f");
    }
}
