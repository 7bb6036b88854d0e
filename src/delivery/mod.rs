//! Release: hands a message to a mail server by SMTP, byte for byte where SMTP allows it.
//! Never re-encodes, and never tries twice.
//!
//! ```text
//! connect ─ EHLO ─ MAIL ─ RCPT... ─ DATA ─ bytes ─ last byte written ─────────── reply
//! └─────────── any trouble: failed ────────────┘ └─ no or no valid reply: unknown ┘ │
//!                                                        delivered, or failed: what it says
//! ```
//! - With CHUNKING the body goes by BDAT, byte for byte, whatever it holds; BINARYMIME is declared
//!   if it is offered and the body is not lines of at most 998 bytes that end with CR LF. A server
//!   without BINARYMIME may refuse such a body; that is its answer, and it is passed on.
//! - Without CHUNKING it goes by DATA: a bare LF becomes CR LF and a missing last line ending is
//!   added, which the outcome says. A bare CR or a NUL cannot go that way: failed.
//! - Bytes above 127 go as they are, with BODY=8BITMIME where it is offered: to re-encode them
//!   would break signatures. SMTPUTF8 is declared for addresses only; an address that needs it and
//!   cannot have it fails.

use crate::intake::lmtp::address::is_mailbox;
use content::{Content, Offers, Road};
use quar_base::action::Delivery;
use quar_base::limits::FIELD_BYTES_MAX;
use std::time::Duration;

mod client;
mod content;
mod reply;

pub use client::{Client, ClientError};
pub use reply::Reply;

/// How many RCPT commands are sent before their replies are read.
const PIPELINE_RECIPIENTS: usize = 50;
/// How much of the body is written at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// Reaches nobody: it is said when every outcome is settled.
const NOBODY_LEFT: &str = "no recipient is left";

/// How long a mail server may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// To take the connection.
    pub connect: Duration,
    /// To greet, and to reply to a command.
    pub command: Duration,
    /// To take each block of the message.
    pub block: Duration,
    /// To reply to the whole message; short ones make outcomes unknown.
    pub end: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(60),
            block: Duration::from_secs(60),
            end: Duration::from_secs(600),
        }
    }
}

/// Hands a message to the mail server at `host` (`name:port`); one outcome for each recipient.
///
/// `sender` is empty for the null sender. *Limits*: outcome texts fit
/// [`FIELD_BYTES_MAX`]. *Cancel*: as if the connection had died at that point.
pub async fn deliver(
    host: &str,
    helo: &str,
    sender: &str,
    recipients: &[String],
    body: &[u8],
    timeouts: &Timeouts,
) -> Vec<Delivery> {
    let mut attempt = Attempt { sender, recipients, body, outcomes: vec![None; recipients.len()] };
    let rest = match attempt.make(host, helo, timeouts).await {
        Ok(delivered) => Delivery::Delivered(clipped(delivered)),
        Err(Delivery::Failed(why)) => Delivery::Failed(clipped(why)),
        Err(Delivery::Unknown(why)) => Delivery::Unknown(clipped(why)),
        Err(delivered) => delivered,
    };
    let outcomes = attempt.outcomes.into_iter();
    outcomes.map(|outcome| outcome.unwrap_or_else(|| rest.clone())).collect()
}

struct Attempt<'a> {
    sender: &'a str,
    recipients: &'a [String],
    body: &'a [u8],
    /// What is settled before the message is sent; the others share what comes of it.
    outcomes: Vec<Option<Delivery>>,
}

impl Attempt<'_> {
    /// The reply by which the message was taken, or why those not yet settled did not get it.
    async fn make(
        &mut self,
        host: &str,
        helo: &str,
        timeouts: &Timeouts,
    ) -> Result<String, Delivery> {
        self.check_addresses(helo)?;
        let content = Content::of(self.body);
        let mut client = Client::connect(host, timeouts.clone())
            .await
            .map_err(|why| failed(format!("{host}: {why}")))?;
        let offers = greet(&mut client, helo).await?;
        let is_utf8 = self.settle_utf8(offers.smtp_utf8)?;
        let (road, body_kind) = content.road(&offers).map_err(failed)?;
        let mut mail = format!("MAIL FROM:<{}>", self.sender);
        if let Some(bytes_max) = offers.size {
            let bytes = self.body.len() as u64;
            if bytes_max > 0 && bytes > bytes_max {
                let why = format!("message has {bytes} bytes; the server takes {bytes_max}");
                return Err(failed(why));
            }
            mail += &format!(" SIZE={bytes}");
        }
        mail += body_kind;
        if is_utf8 {
            mail += " SMTPUTF8";
        }
        let negotiated = self.negotiate(&mut client, &mail, offers.pipelining).await;
        if !matches!(negotiated, Ok(true)) {
            client.quit().await;
            return Err(negotiated.err().unwrap_or_else(|| failed(NOBODY_LEFT)));
        }
        // An error in the middle of the message ends the connection without a word: whatever was
        // written next would be taken for the rest of the message.
        let reply = hand_over(&mut client, self.body, road).await?;
        client.quit().await;
        match reply.is_positive() {
            true => Ok(format!("{reply}{}", content.changes(road))),
            false => Err(failed(reply)),
        }
    }

    fn check_addresses(&mut self, helo: &str) -> Result<(), Delivery> {
        if helo.is_empty() || !helo.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(failed("this node's host name cannot be said in SMTP"));
        }
        if !self.sender.is_empty() && !is_mailbox(self.sender) {
            return Err(failed("the sender's address cannot be said in SMTP"));
        }
        for (recipient, outcome) in self.recipients.iter().zip(&mut self.outcomes) {
            if !is_mailbox(recipient) {
                *outcome = Some(failed("the address cannot be said in SMTP"));
            }
        }
        self.check_any_left()
    }

    /// Whether SMTPUTF8 is to be declared.
    fn settle_utf8(&mut self, is_offered: bool) -> Result<bool, Delivery> {
        let why = "the address is not ASCII and the server does not offer SMTPUTF8";
        if !is_offered {
            if !self.sender.is_ascii() {
                return Err(failed(format!("sender: {why}")));
            }
            for (recipient, outcome) in self.recipients.iter().zip(&mut self.outcomes) {
                if !recipient.is_ascii() {
                    outcome.get_or_insert_with(|| failed(why));
                }
            }
            self.check_any_left()?;
        }
        let mut open = self.recipients.iter().zip(&self.outcomes);
        let any = open.any(|(recipient, outcome)| outcome.is_none() && !recipient.is_ascii());
        Ok(any || !self.sender.is_ascii())
    }

    fn check_any_left(&self) -> Result<(), Delivery> {
        match self.outcomes.iter().any(Option::is_none) {
            true => Ok(()),
            false => Err(failed(NOBODY_LEFT)),
        }
    }

    /// MAIL and RCPT; whether anyone is left to get the message.
    async fn negotiate(
        &mut self,
        client: &mut Client,
        mail: &str,
        is_pipelining: bool,
    ) -> Result<bool, Delivery> {
        let open = |outcome: &Option<Delivery>| outcome.is_none();
        let indices: Vec<usize> =
            (0..self.outcomes.len()).filter(|index| open(&self.outcomes[*index])).collect();
        let (first, batch) = match is_pipelining {
            true => (PIPELINE_RECIPIENTS, PIPELINE_RECIPIENTS),
            false => (0, 1),
        };
        let (first, later) = indices.split_at(indices.len().min(first));
        let mut commands = format!("{mail}\r\n") + &self.rcpt(first);
        client.send(commands.as_bytes()).await.map_err(failed)?;
        let reply = client.reply().await.map_err(failed)?;
        if !reply.is_positive() {
            return Err(failed(reply));
        }
        self.settle_rcpt(client, first).await?;
        for batch in later.chunks(batch) {
            commands = self.rcpt(batch);
            client.send(commands.as_bytes()).await.map_err(failed)?;
            self.settle_rcpt(client, batch).await?;
        }
        Ok(self.outcomes.iter().any(open))
    }

    fn rcpt(&self, indices: &[usize]) -> String {
        indices.iter().map(|index| format!("RCPT TO:<{}>\r\n", self.recipients[*index])).collect()
    }

    async fn settle_rcpt(
        &mut self,
        client: &mut Client,
        indices: &[usize],
    ) -> Result<(), Delivery> {
        for index in indices {
            let reply = client.reply().await.map_err(failed)?;
            if !reply.is_positive() {
                self.outcomes[*index] = Some(failed(clipped(reply.to_string())));
            }
        }
        Ok(())
    }
}

/// Takes the greeting and says EHLO, or HELO to a server that knows no better.
async fn greet(client: &mut Client, helo: &str) -> Result<Offers, Delivery> {
    let greeting = client.reply().await.map_err(failed)?;
    if !greeting.is_positive() {
        return Err(failed(greeting));
    }
    let reply = client.command(&format!("EHLO {helo}")).await;
    let reply = reply.map_err(failed)?;
    match reply.code {
        200..=299 => return Ok(Offers::of(&reply)),
        500..=599 => {}
        _ => return Err(failed(reply)),
    }
    let reply = client.command(&format!("HELO {helo}")).await;
    let reply = reply.map_err(failed)?;
    match reply.is_positive() {
        true => Ok(Offers::default()),
        false => Err(failed(reply)),
    }
}

/// Sends the message; what the server says of it: done (2xx) or refused (4xx, 5xx).
///
/// From the last byte on, only such a reply tells what became of the message.
async fn hand_over(client: &mut Client, body: &[u8], road: Road) -> Result<Reply, Delivery> {
    if !client.is_quiet() {
        return Err(failed("the server sent more replies than it was given commands"));
    }
    match road {
        Road::Chunk => {
            let command = format!("BDAT {} LAST\r\n", body.len());
            client.send_block(command.as_bytes()).await?;
            for block in body.chunks(BLOCK_BYTES) {
                client.send_block(block).await?;
            }
        }
        Road::Lines => {
            let reply = client.command("DATA").await.map_err(failed)?;
            match reply.code {
                354 => {}
                400..=599 => return Ok(reply),
                _ => return Err(failed(format!("the server answered DATA with {reply}"))),
            }
            for block in content::stuffed(body, BLOCK_BYTES) {
                client.send_block(&block).await?;
            }
        }
    }
    let unknown = |why: String| Delivery::Unknown(format!("sent whole, then no answer: {why}"));
    let reply = client.last_reply().await;
    let reply = reply.map_err(|why| unknown(why.to_string()))?;
    match reply.code {
        200..=299 | 400..=599 => Ok(reply),
        _ => Err(unknown(format!("it said {reply}"))),
    }
}

fn failed(why: impl std::fmt::Display) -> Delivery {
    Delivery::Failed(why.to_string())
}

/// `text`, short enough for a record.
fn clipped(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(FIELD_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests;
