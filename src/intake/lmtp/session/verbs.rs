//! What each command does to a session.
//! Never touches message bytes.

use super::super::Protocol;
use super::super::arguments::{self, Forwarded};
use super::super::body::Unstuffer;
use super::super::replies::{self, Denial};
use super::super::transaction::Transaction;
use super::{ChunkEnd, Event, Phase, Session};
use std::sync::Arc;

/// Words that only a web client says first; its body could hold commands of ours.
const WEB_VERBS: [&str; 6] = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"];

impl Session {
    /// Does what a line says; it ends with LF.
    pub(super) fn obey(&mut self, line: &[u8]) -> Result<Option<Event>, Denial> {
        let line = line.strip_suffix(b"\r\n").ok_or(replies::BARE_LF)?;
        let text = std::str::from_utf8(line).map_err(|_| replies::NOT_TEXT)?;
        let text = text.trim_end_matches([' ', '\t']);
        if text.contains('\r') {
            return Err(replies::NOT_TEXT);
        }
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let verb = verb.to_ascii_uppercase();
        match verb.as_str() {
            "MAIL" => self.mail(rest)?,
            "RCPT" => self.rcpt(rest).map_err(Denial::uncounted)?,
            "BDAT" => return self.bdat(rest),
            "DATA" => self.data(rest)?,
            "XFORWARD" => self.xforward(rest)?,
            "LHLO" | "EHLO" | "HELO" => self.hello(&verb, rest)?,
            "NOOP" => self.say(replies::OK),
            "VRFY" => self.say(replies::VERIFY),
            "HELP" => self.say(match self.settings.protocol {
                Protocol::Lmtp => replies::HELP_LMTP,
                Protocol::Smtp => replies::HELP_SMTP,
            }),
            "RSET" if rest.is_empty() => {
                self.reset();
                self.say(replies::OK);
            }
            "QUIT" if rest.is_empty() => {
                self.end(replies::GOODBYE);
                return Ok(Some(Event::Close));
            }
            "RSET" | "QUIT" => return Err(replies::NO_ARGUMENT),
            "EXPN" | "STARTTLS" | "AUTH" | "ETRN" | "TURN" => return Err(replies::NOT_OFFERED),
            web if WEB_VERBS.contains(&web) => return Err(replies::WEB_CLIENT),
            _ => return Err(replies::UNKNOWN_VERB),
        }
        Ok(None)
    }

    fn hello(&mut self, verb: &str, rest: &str) -> Result<(), Denial> {
        match (self.settings.protocol, verb) {
            (Protocol::Lmtp, "LHLO") | (Protocol::Smtp, "EHLO" | "HELO") => {}
            (Protocol::Lmtp, _) => return Err(replies::USE_LHLO),
            (Protocol::Smtp, _) => return Err(replies::USE_EHLO),
        }
        self.hello = Some(arguments::hello(rest)?.to_owned());
        self.reset();
        let host_name = self.host_name();
        if verb == "HELO" {
            self.say(&format!("250 {host_name}"));
            return Ok(());
        }
        self.say(&format!("250-{host_name}"));
        for keyword in
            ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"]
        {
            self.say(&format!("250-{keyword}"));
        }
        if self.peer.is_local {
            self.say("250-XFORWARD ADDR HELO IDENT");
        }
        self.say(&format!("250 SIZE {}", self.settings.message_bytes_max));
        Ok(())
    }

    fn mail(&mut self, rest: &str) -> Result<(), Denial> {
        if self.hello.is_none() {
            return Err(replies::HELLO_FIRST);
        }
        if self.transaction.is_some() {
            return Err(replies::MAIL_TWICE);
        }
        self.mail_refused = true;
        let arguments = arguments::mail(rest)?;
        self.transaction = Some(Transaction::begin(&arguments, &self.settings)?);
        self.mail_refused = false;
        self.say(replies::SENDER_OK);
        Ok(())
    }

    fn rcpt(&mut self, rest: &str) -> Result<(), Denial> {
        let settings = Arc::clone(&self.settings);
        let transaction = self.open_transaction()?;
        if transaction.has_chunks {
            return Err(replies::CHUNKS_BEGAN);
        }
        transaction.add(arguments::rcpt(rest)?, &settings)?;
        self.say(replies::RECIPIENT_OK);
        Ok(())
    }

    fn data(&mut self, rest: &str) -> Result<(), Denial> {
        let transaction = self.open_transaction()?;
        if !rest.is_empty() {
            return Err(replies::NO_ARGUMENT);
        }
        if transaction.has_chunks {
            return Err(replies::CHUNKS_BEGAN);
        }
        if transaction.is_binary {
            return Err(replies::BINARY_NEEDS_CHUNKS);
        }
        if transaction.recipient_count() == 0 {
            return Err(replies::NO_RECIPIENTS);
        }
        self.phase = Phase::Data(Unstuffer::LineStart);
        self.say(replies::GO_AHEAD);
        Ok(())
    }

    /// Begins a chunk. A refused one is skipped by its count before the refusal is said.
    fn bdat(&mut self, rest: &str) -> Result<Option<Event>, Denial> {
        let (left_bytes, is_last) = arguments::bdat(rest)?;
        let end = match self.open_transaction() {
            Err(denial) => ChunkEnd::Refused(denial),
            Ok(transaction) if transaction.recipient_count() == 0 => {
                ChunkEnd::Refused(replies::NO_RECIPIENTS)
            }
            Ok(transaction) => {
                transaction.has_chunks = true;
                transaction.body.give_up_beyond(left_bytes);
                transaction.body.expect(left_bytes);
                match is_last {
                    true => ChunkEnd::Last,
                    false => ChunkEnd::More,
                }
            }
        };
        if left_bytes == 0 {
            return Ok(self.end_chunk(end));
        }
        self.phase = Phase::Chunk { left_bytes, end };
        Ok(None)
    }

    fn xforward(&mut self, rest: &str) -> Result<(), Denial> {
        if !self.peer.is_local {
            return Err(replies::FORWARD_TRUST);
        }
        if self.transaction.is_some() {
            return Err(replies::MAIL_TWICE);
        }
        self.forwarded = arguments::xforward(rest, &self.forwarded)?;
        self.say(replies::OK);
        Ok(())
    }

    fn open_transaction(&mut self) -> Result<&mut Transaction, Denial> {
        self.transaction.as_mut().ok_or(match self.mail_refused {
            true => replies::MAIL_FIRST.uncounted(),
            false => replies::MAIL_FIRST,
        })
    }

    fn reset(&mut self) {
        self.transaction = None;
        self.mail_refused = false;
        self.forwarded = Forwarded::default();
    }
}
