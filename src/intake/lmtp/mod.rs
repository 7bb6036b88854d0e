//! The LMTP intake: a mail server's quarantine transport hands its mail over here.
//! Never answers for a message before the door did.
//!
//! ```text
//!  socket ─► server ─ bytes ─► session ─ lines ─► arguments, address      pure from here on
//!              ▲                  │ └─ message bytes ─► body
//!              │                  └─ Deliver(mails) ─► server ─► door.admit ─► session.answer
//!              └──────────── replies, one write for all that is pipelined
//! ```
//! *Source*: RFC 2033 (LMTP), 5321, 1870 (SIZE), 2034 (ENHANCEDSTATUSCODES), 2920 (PIPELINING),
//! 3030 (CHUNKING, BINARYMIME), 6152 (8BITMIME), 6531 (SMTPUTF8), Postfix's XFORWARD.

use quar_base::class::Class;
use quar_base::limits::MESSAGE_BYTES_MAX;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

pub mod address;
mod arguments;
mod body;
mod replies;
mod server;
mod session;
mod transaction;

pub use server::{Listener, serve};

/// Message bytes that all connections of a listener hold at once, in units of [`body::UNIT_BYTES`].
const ROOM_UNITS: usize = (512 << 20) / body::UNIT_BYTES;

/// Which of the two protocols a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// LHLO, and a reply for each recipient after the message.
    Lmtp,
    /// EHLO or HELO, and one reply for all recipients.
    Smtp,
}

/// How a listener behaves. Clones share `body_room`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// What it calls itself.
    pub host_name: String,
    /// The class of its mail.
    pub class: Class,
    /// Whether `user+spam@example.org` means user@example.org, class spam.
    pub class_from_extension: bool,
    /// Largest message taken, in bytes.
    pub message_bytes_max: usize,
    /// Most connections at once; the next one is answered 421.
    pub connections_max: usize,
    /// How long a connection may say nothing.
    pub idle_timeout: Duration,
    /// How many errors without a delivered message end a session.
    pub errors_max: u32,
    /// What the messages on their way in may take together, in units of 64 KiB.
    pub body_room: Arc<Semaphore>,
}

impl Settings {
    /// The defaults: LMTP, 64 MiB, 256 connections, five minutes.
    #[must_use]
    pub fn new(host_name: &str, class: Class) -> Self {
        Self {
            protocol: Protocol::Lmtp,
            host_name: host_name.to_owned(),
            class,
            class_from_extension: false,
            message_bytes_max: MESSAGE_BYTES_MAX,
            connections_max: 256,
            idle_timeout: Duration::from_secs(300),
            errors_max: 20,
            body_room: Arc::new(Semaphore::new(ROOM_UNITS)),
        }
    }
}
