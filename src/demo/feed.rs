//! An LMTP client that feeds messages as fast as one connection can: one write a message.
//! Never changes a message: all go by BDAT.

use crate::delivery::{Client, ClientError, Timeouts};
use bytes::Buf;
use std::fmt::Write as _;
use tokio::net::ToSocketAddrs;

pub use crate::delivery::Reply;

/// A connection over which messages are fed.
#[derive(Debug)]
pub struct Feeder {
    client: Client,
    head: String,
}

/// Why feeding ended.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The connection.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server did not welcome us.
    #[error("the server refused the connection: {0}")]
    Unwelcome(Reply),
    /// The server lacks an extension without which nothing is fed.
    #[error("the server does not offer {0}")]
    Lacks(&'static str),
}

impl Feeder {
    /// Connects to an LMTP server.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn connect(host: impl ToSocketAddrs) -> Result<Self, FeedError> {
        let mut client = Client::connect(host, Timeouts::default()).await?;
        let greeting = client.reply().await?;
        if !greeting.is_positive() {
            return Err(FeedError::Unwelcome(greeting));
        }
        let hello = client.command("LHLO feeder.example").await?;
        if !hello.is_positive() {
            return Err(FeedError::Unwelcome(hello));
        }
        for keyword in ["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8"] {
            if !hello.text.lines().any(|line| line == keyword) {
                return Err(FeedError::Lacks(keyword));
            }
        }
        Ok(Self { client, head: String::new() })
    }

    /// Sends a message; one reply for each recipient, that of the step at which it ended.
    ///
    /// Addresses are written as given. *Cancel*: the connection is of no further use.
    ///
    /// # Errors
    /// [`FeedError`]: it is not known what became of the message.
    pub async fn send(
        &mut self,
        sender: &str,
        recipients: &[String],
        body: &[u8],
    ) -> Result<Vec<Reply>, FeedError> {
        self.write_head(sender, recipients, body.len());
        self.client.send(self.head.as_bytes().chain(body)).await?;
        let mail = self.client.reply().await?;
        let mut replies = Vec::with_capacity(recipients.len());
        for _ in recipients {
            replies.push(self.client.reply().await?);
        }
        let taken = replies.iter().filter(|reply| reply.is_positive()).count();
        for reply in &mut replies {
            if reply.is_positive() {
                *reply = self.client.last_reply().await?;
            }
        }
        if taken == 0 {
            // The message was refused once, as there is nobody for whom to refuse it.
            self.client.last_reply().await?;
            self.client.command("RSET").await?;
        }
        if !mail.is_positive() {
            replies.fill(mail);
        }
        Ok(replies)
    }

    fn write_head(&mut self, sender: &str, recipients: &[String], body_bytes: usize) {
        let is_ascii = sender.is_ascii() && recipients.iter().all(|address| address.is_ascii());
        let utf8 = if is_ascii { "" } else { " SMTPUTF8" };
        let head = &mut self.head;
        head.clear();
        let mut written =
            write!(head, "MAIL FROM:<{sender}> SIZE={body_bytes} BODY=8BITMIME{utf8}\r\n");
        for recipient in recipients {
            written = written.and(write!(head, "RCPT TO:<{recipient}>\r\n"));
        }
        written
            .and(write!(head, "BDAT {body_bytes} LAST\r\n"))
            .expect("writing to a String cannot fail");
    }
}
