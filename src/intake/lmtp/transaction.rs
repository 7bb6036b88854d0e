//! One mail transaction: from MAIL to the end of its message.
//! Never writes a reply; the session does.

use super::Settings;
use super::address::split_class;
use super::arguments::{Forwarded, MailArguments};
use super::body::Body;
use super::replies::{DECLARED_TOO_LARGE, Denial, NEEDS_UTF8, TOO_MANY_RECIPIENTS};
use crate::intake::Mail;
use bytes::Bytes;
use quar_base::arrival::Envelope;
use quar_base::class::Class;
use quar_base::limits::RECIPIENTS_MAX;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What the addresses of one message may take together, so that its record stays below its limit.
const RECIPIENT_BYTES_MAX: usize = 192 << 10;

/// A transaction that is open.
#[derive(Debug)]
pub(super) struct Transaction {
    sender: String,
    recipients: Vec<(String, Class)>,
    recipient_bytes: usize,
    is_utf8: bool,
    /// Whether the message must come by BDAT.
    pub(super) is_binary: bool,
    /// Whether part of it came by BDAT.
    pub(super) has_chunks: bool,
    /// The message so far.
    pub(super) body: Body,
}

/// A message that is complete.
#[derive(Debug)]
pub(super) struct Complete {
    /// One for each class, together for all recipients.
    pub(super) mails: Vec<Mail>,
    /// For each recipient, which of `mails` has it.
    pub(super) owners: Vec<usize>,
    /// What the message takes of the shared room until it is stored.
    pub(super) held: Option<OwnedSemaphorePermit>,
}

impl Transaction {
    /// Begins with what MAIL said.
    pub(super) fn begin(arguments: &MailArguments, settings: &Settings) -> Result<Self, Denial> {
        if arguments.declared_bytes > settings.message_bytes_max as u64 {
            return Err(DECLARED_TOO_LARGE);
        }
        if !arguments.is_utf8 && !arguments.sender.is_ascii() {
            return Err(NEEDS_UTF8);
        }
        let mut body = Body::new(settings.message_bytes_max, Arc::clone(&settings.body_room));
        body.expect(arguments.declared_bytes);
        Ok(Self {
            sender: arguments.sender.to_owned(),
            recipients: Vec::new(),
            recipient_bytes: 0,
            is_utf8: arguments.is_utf8,
            is_binary: arguments.is_binary,
            has_chunks: false,
            body,
        })
    }

    /// Adds what RCPT said.
    pub(super) fn add(&mut self, recipient: &str, settings: &Settings) -> Result<(), Denial> {
        if !self.is_utf8 && !recipient.is_ascii() {
            return Err(NEEDS_UTF8);
        }
        let recipient_bytes = self.recipient_bytes + recipient.len();
        if self.recipients.len() == RECIPIENTS_MAX || recipient_bytes > RECIPIENT_BYTES_MAX {
            return Err(TOO_MANY_RECIPIENTS);
        }
        let extension = match settings.class_from_extension {
            true => split_class(recipient),
            false => None,
        };
        let plain = || (recipient.to_owned(), settings.class);
        self.recipients.push(extension.unwrap_or_else(plain));
        self.recipient_bytes = recipient_bytes;
        Ok(())
    }

    /// How many recipients were taken.
    pub(super) fn recipient_count(&self) -> usize {
        self.recipients.len()
    }

    /// The message, split by class.
    pub(super) fn complete(self, forwarded: Forwarded) -> Complete {
        let envelope = Envelope {
            sender: self.sender,
            recipients: Vec::new(),
            client_address: forwarded.client_address.unwrap_or_default(),
            helo: forwarded.helo.unwrap_or_default(),
            queue_id: forwarded.queue_id.unwrap_or_default(),
            spool_path: String::new(),
        };
        let (bytes, held) = self.body.into_parts();
        let body = Bytes::from(bytes);
        let mut mails: Vec<Mail> = Vec::new();
        let mut owners = Vec::with_capacity(self.recipients.len());
        for (address, class) in self.recipients {
            let owner = mails.iter().position(|mail| mail.class == class);
            let owner = owner.unwrap_or_else(|| {
                mails.push(Mail {
                    class,
                    envelope: envelope.clone(),
                    body: body.clone(),
                    score_milli: 0,
                    reason: String::new(),
                });
                mails.len() - 1
            });
            mails[owner].envelope.recipients.push(address);
            owners.push(owner);
        }
        Complete { mails, owners, held }
    }
}
