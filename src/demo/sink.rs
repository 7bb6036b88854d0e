//! A small SMTP server that keeps every message in memory: the demo's and the tests' delivery host.
//! Never refuses a message, and never forgets one while it lives.

use crate::intake::lmtp::{self, Protocol, Settings};
use crate::intake::{Door, Mail, Refusal};
use bytes::Bytes;
use quar_base::class::Class;
use quar_base::ids::RecordId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::Day;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Envelope sender; empty for the null sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// The message, byte for byte as sent.
    pub body: Bytes,
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    kept: Kept,
    _stop: watch::Sender<bool>,
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Received>>>);

impl Sink {
    /// Starts a server; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let kept = Kept::default();
        let (stop, stopped) = watch::channel(false);
        let mut settings = Settings::new("sink.example", Class::NONSPAM);
        settings.protocol = Protocol::Smtp;
        tokio::spawn(lmtp::serve(listener, settings, kept.clone(), stopped));
        Ok(Self { address, kept, _stop: stop })
    }

    /// The messages so far, in the order in which they came.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        let kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

impl Door for Kept {
    async fn admit(&self, mail: Mail) -> Result<MessageId, Refusal> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut id = [0; RecordId::BYTES];
        id[RecordId::BYTES - 8..].copy_from_slice(&(kept.len() as u64).to_be_bytes());
        let bucket = Bucket { class: mail.class, day: Day(0) };
        kept.push(Received {
            sender: mail.envelope.sender,
            recipients: mail.envelope.recipients,
            body: mail.body,
        });
        let key = RecordKey { second: 0, id: RecordId(id) };
        Ok(MessageId { bucket, key })
    }
}
