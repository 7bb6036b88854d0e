//! What happened in a life, line by line, and a digest of all of it, frames included.
//! Never decides anything.

use quar_base::time::UnixMillis;
use std::fmt;

/// A life's trace.
pub struct Trace {
    hasher: blake3::Hasher,
    start: UnixMillis,
    lines: Vec<String>,
    keeps_all: bool,
}

/// Lines that are kept of a life of which not all are asked for.
const LAST_LINES: usize = 60;

impl Trace {
    /// An empty trace; without `keeps_all` only its last lines are kept.
    #[must_use]
    pub fn new(start: UnixMillis, keeps_all: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), start, lines: Vec::new(), keeps_all }
    }

    /// Something happened.
    pub fn note(&mut self, at: UnixMillis, what: fmt::Arguments<'_>) {
        let since = (at - self.start).0;
        let line = format!("{:>7}.{:03} {what}", since / 1000, since % 1000);
        self.hasher.update(line.as_bytes());
        if !self.keeps_all && self.lines.len() >= 2 * LAST_LINES {
            self.lines.drain(..LAST_LINES);
        }
        self.lines.push(line);
    }

    /// Bytes went from one to another: only their digest is kept.
    pub fn bytes(&mut self, kind: u8, payload: &[u8]) {
        self.hasher.update(&[kind]);
        self.hasher.update(payload);
    }

    /// The digest of everything so far.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// The lines that were kept.
    #[must_use]
    pub fn lines(self) -> Vec<String> {
        self.lines
    }
}
