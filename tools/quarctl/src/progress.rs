//! How far long work is, in one line on the terminal that is written over.
//! Never writes where nobody sees it as it comes, nor among results.

use quar_store::OpenProgress;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The line is written at most so often.
const EVERY: Duration = Duration::from_millis(200);

/// The line, on standard error.
pub struct Progress {
    /// Where it is shown; `None` where nobody sees it.
    shown: Option<Box<dyn Write + Send>>,
    last: Option<Instant>,
}

impl Progress {
    /// Shown when standard error is a terminal.
    pub fn start() -> Self {
        let error = io::stderr();
        let is_seen = error.is_terminal();
        Self { shown: is_seen.then(|| Box::new(error) as Box<dyn Write + Send>), last: None }
    }

    /// The work is so far.
    pub fn tell(&mut self, text: &str) {
        if self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            self.write(text);
        }
    }

    /// The line goes.
    pub fn end(&mut self) {
        if self.last.is_some() {
            self.write("");
        }
    }

    fn write(&mut self, text: &str) {
        if let Some(shown) = &mut self.shown {
            // Who cannot be told misses nothing that matters.
            let _ = write!(shown, "\r\u{1b}[K{text}").and_then(|()| shown.flush());
        }
    }
}

/// How far opening a store is.
pub fn of_opening(progress: OpenProgress) -> String {
    let OpenProgress { segments_done, segments_total, is_rebuilding } = progress;
    let what = if is_rebuilding { "building the index from the segments" } else { "opening" };
    format!("{what}: {segments_done} of {segments_total} segments")
}

#[cfg(test)]
mod tests {
    use super::{Progress, of_opening};
    use quar_store::OpenProgress;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_written_over_and_goes_in_the_end() {
        let terminal = Terminal::default();
        let mut progress = Progress { shown: Some(Box::new(terminal.clone())), last: None };
        let open = |segments_done, is_rebuilding| {
            of_opening(OpenProgress { segments_done, segments_total: 9, is_rebuilding })
        };
        progress.tell(&open(3, true));
        progress.end();
        let written = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        let line = "building the index from the segments: 3 of 9 segments";
        assert_eq!(written, format!("\r\u{1b}[K{line}\r\u{1b}[K"));
        assert_eq!(open(9, false), "opening: 9 of 9 segments");
    }
}
