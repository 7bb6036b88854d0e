//! One LMTP or SMTP session as a pure state machine: bytes in, replies and messages out.
//! Never does I/O, and gives the same for the same bytes however they are cut.
//!
//! ```text
//!             overlong line                BDAT                    LAST, or
//!  Overlong ◄───────────── Command ──────────────────► Chunk ──┐   CR LF . CR LF
//!      └── its CR LF ────►  ▲ │  ▲ └── DATA ─► Data ──────────┼─────────► Answering
//!                           │ │  └──────── more chunks ───────┘               │
//!                           │ └ QUIT, 421 ─► Closed                           │
//!                           └───────────────── answer ◄───────────────────────┘
//! ```

use super::arguments::Forwarded;
use super::body::{Spill, Unstuffer};
use super::replies::{self, Denial, Weight, printable};
use super::transaction::Transaction;
use super::{Protocol, Settings};
use crate::intake::{Mail, Refusal};
use memchr::memchr;
use quar_base::key::MessageId;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

mod verbs;

/// Longest command line, CR LF included.
pub(super) const COMMAND_BYTES_MAX: usize = 2048;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Whether it is on this machine, and so may tell about its own clients.
    pub(super) is_local: bool,
    /// Its address, if it is the client to be put on record; empty otherwise.
    pub(super) address: String,
}

/// What the caller has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Store these, one for each class, and give the outcomes to [`Session::answer`].
    Deliver(Vec<Mail>),
    /// Write what is in [`Session::output`] and close the connection.
    Close,
}

/// How far [`Session::feed`] came.
#[derive(Debug)]
pub(super) struct Fed {
    /// How many bytes were taken: all of them unless there is an event.
    pub(super) used: usize,
    /// What is to be done before more bytes are fed.
    pub(super) event: Option<Event>,
}

/// A session. *Holds*: between `Deliver` and `answer`, nothing is fed.
#[derive(Debug)]
pub(super) struct Session {
    settings: Arc<Settings>,
    peer: Peer,
    output: Vec<u8>,
    phase: Phase,
    /// A command line whose end has not come.
    line: Vec<u8>,
    hello: Option<String>,
    forwarded: Forwarded,
    transaction: Option<Transaction>,
    /// Whether the last MAIL was refused: what a pipelining client sends after it is no error.
    mail_refused: bool,
    errors: u32,
}

#[derive(Debug)]
enum Phase {
    Command,
    /// Skipping the rest of a line; whether the last byte was CR.
    Overlong(bool),
    Data(Unstuffer),
    Chunk {
        left_bytes: u64,
        end: ChunkEnd,
    },
    Answering {
        owners: Vec<usize>,
        _held: Option<OwnedSemaphorePermit>,
    },
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum ChunkEnd {
    More,
    Last,
    Refused(Denial),
}

impl Session {
    /// A session whose greeting is in the output.
    pub(super) fn new(settings: Arc<Settings>, peer: Peer) -> Self {
        let mut session = Self {
            settings,
            peer,
            output: Vec::new(),
            phase: Phase::Command,
            line: Vec::new(),
            hello: None,
            forwarded: Forwarded::default(),
            transaction: None,
            mail_refused: false,
            errors: 0,
        };
        let protocol = match session.settings.protocol {
            Protocol::Lmtp => "LMTP",
            Protocol::Smtp => "ESMTP",
        };
        let greeting = format!("220 {} {protocol} quard", session.host_name());
        session.say(&greeting);
        session
    }

    /// Replies that are to be written; the caller empties it.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Takes bytes until they are used up or there is something to be done.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut used = 0;
        while used < bytes.len() {
            let (step, event) = self.step(&bytes[used..]);
            used += step;
            if event.is_some() {
                return Fed { used, event };
            }
        }
        Fed { used, event: None }
    }

    /// Takes the outcomes of the mails of a [`Event::Deliver`], in their order.
    pub(super) fn answer(&mut self, outcomes: &[Result<MessageId, Refusal>]) {
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let Phase::Answering { owners, .. } = phase else {
            panic!("an answer without a message");
        };
        let lines: Vec<String> = outcomes.iter().map(outcome_line).collect();
        match self.settings.protocol {
            Protocol::Lmtp => owners.iter().for_each(|owner| self.say(&lines[*owner])),
            Protocol::Smtp => {
                let refused = outcomes.iter().position(Result::is_err);
                self.say(&lines[refused.unwrap_or(0)]);
            }
        }
        if outcomes.iter().any(Result::is_ok) {
            self.errors = 0;
        }
    }

    /// Ends the session from the caller's side.
    pub(super) fn end(&mut self, line: &str) {
        self.say(line);
        self.phase = Phase::Closed;
    }

    fn step(&mut self, bytes: &[u8]) -> (usize, Option<Event>) {
        match &mut self.phase {
            Phase::Command => self.take_line(bytes),
            Phase::Overlong(after_cr) => {
                let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
                let is_end = match end.checked_sub(1) {
                    Some(before) => bytes[before] == b'\r',
                    None => *after_cr,
                };
                match bytes.get(end) {
                    Some(_) if is_end => self.phase = Phase::Command,
                    Some(_) => *after_cr = false,
                    None => *after_cr = is_end,
                }
                (bytes.len().min(end + 1), None)
            }
            Phase::Data(unstuffer) => {
                let transaction = self.transaction.as_mut().expect("DATA is inside of one");
                match unstuffer.take(bytes, &mut transaction.body) {
                    Some(used) => (used, self.finish()),
                    None => (bytes.len(), None),
                }
            }
            Phase::Chunk { left_bytes, end } => {
                let end = *end;
                let used =
                    usize::try_from(*left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left_bytes -= used as u64;
                let is_over = *left_bytes == 0;
                if !matches!(end, ChunkEnd::Refused(_)) {
                    let transaction = self.transaction.as_mut().expect("a chunk is inside of one");
                    transaction.body.append(&bytes[..used]);
                }
                (used, if is_over { self.end_chunk(end) } else { None })
            }
            Phase::Answering { .. } => panic!("bytes before the answer"),
            Phase::Closed => (bytes.len(), Some(Event::Close)),
        }
    }

    fn take_line(&mut self, bytes: &[u8]) -> (usize, Option<Event>) {
        let window = &bytes[..bytes.len().min(COMMAND_BYTES_MAX - self.line.len())];
        let Some(lf) = memchr(b'\n', window) else {
            self.line.extend_from_slice(window);
            let is_full = self.line.len() == COMMAND_BYTES_MAX;
            return (window.len(), if is_full { self.overlong() } else { None });
        };
        let end = &window[..=lf];
        if self.line.is_empty() {
            return (end.len(), self.run(end));
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(end);
        let event = self.run(&line);
        line.clear();
        self.line = line;
        (end.len(), event)
    }

    fn overlong(&mut self) -> Option<Event> {
        let denial = match self.line.get(..5) {
            Some(verb) if verb.eq_ignore_ascii_case(b"BDAT ") => replies::TOO_LONG_CHUNK,
            _ => replies::TOO_LONG,
        };
        self.phase = Phase::Overlong(self.line.last() == Some(&b'\r'));
        self.line.clear();
        self.deny(denial)
    }

    /// Runs a command; `line` ends with LF.
    fn run(&mut self, line: &[u8]) -> Option<Event> {
        match self.obey(line) {
            Ok(event) => event,
            Err(denial) => self.deny(denial),
        }
    }

    fn end_chunk(&mut self, end: ChunkEnd) -> Option<Event> {
        self.phase = Phase::Command;
        let spill = self.transaction.as_ref().and_then(|open| open.body.spill());
        match (end, spill) {
            (ChunkEnd::Refused(denial), _) => return self.deny(denial),
            (ChunkEnd::Last, _) => return self.finish(),
            (ChunkEnd::More, None) => self.say(replies::OK),
            (ChunkEnd::More, Some(spill)) => self.say(spill_line(spill)),
        }
        None
    }

    /// The message is complete: hands it out, or says for each recipient why not.
    fn finish(&mut self) -> Option<Event> {
        let transaction = self.transaction.take().expect("a message is inside of one");
        let forwarded = self.take_forwarded();
        self.phase = Phase::Command;
        if let Some(spill) = transaction.body.spill() {
            let replies = match self.settings.protocol {
                Protocol::Lmtp => transaction.recipient_count(),
                Protocol::Smtp => 1,
            };
            (0..replies).for_each(|_| self.say(spill_line(spill)));
            return None;
        }
        let complete = transaction.complete(forwarded);
        self.phase = Phase::Answering { owners: complete.owners, _held: complete.held };
        Some(Event::Deliver(complete.mails))
    }

    /// What is known of the client; a remote peer that tells nothing is the client itself.
    fn take_forwarded(&mut self) -> Forwarded {
        let mut forwarded = std::mem::take(&mut self.forwarded);
        if !self.peer.address.is_empty() {
            let address = || self.peer.address.clone();
            forwarded.client_address.get_or_insert_with(address);
            forwarded.helo = forwarded.helo.or_else(|| self.hello.clone());
        }
        forwarded
    }

    fn deny(&mut self, denial: Denial) -> Option<Event> {
        self.say(denial.line);
        match denial.weight {
            Weight::Free => return None,
            Weight::Counted => self.errors += 1,
            Weight::Fatal => {
                self.phase = Phase::Closed;
                return Some(Event::Close);
            }
        }
        if self.errors < self.settings.errors_max {
            return None;
        }
        self.end(replies::TOO_MANY_ERRORS);
        Some(Event::Close)
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn host_name(&self) -> String {
        printable(&self.settings.host_name)
    }
}

fn spill_line(spill: Spill) -> &'static str {
    match spill {
        Spill::TooLarge => replies::TOO_LARGE,
        Spill::NoRoom => replies::NO_ROOM,
    }
}

fn outcome_line(outcome: &Result<MessageId, Refusal>) -> String {
    let (code, why) = match outcome {
        Ok(id) => return format!("250 2.0.0 {id}"),
        Err(refusal @ Refusal::Full) => ("452 4.3.1", refusal),
        Err(refusal @ Refusal::TooLarge { .. }) => ("552 5.3.4", refusal),
        Err(refusal) if refusal.is_transient() => ("451 4.3.0", refusal),
        Err(refusal) => ("554 5.3.0", refusal),
    };
    format!("{code} {}", printable(&why.to_string()))
}

#[cfg(test)]
mod tests;
