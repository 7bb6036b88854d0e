//! `put`: one message from a file or standard input.
//! Never reads more of it than a message may have.

use crate::arguments::{Cover, Put};
use crate::backend::Backend;
use crate::failure::{Ending, Refused};
use crate::output::Output;
use anyhow::Context;
use bytes::Bytes;
use quar_base::arrival::Envelope;
use quar_base::limits::MESSAGE_BYTES_MAX;
use quard::daemon::handle::Arrived;
use quard::intake::Mail;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Stores one message.
pub fn put(backend: &mut Backend, put: &Put, output: &mut Output) -> anyhow::Result<Ending> {
    let body = if put.file == Path::new("-") {
        read_message(io::stdin().lock()).context("standard input")
    } else {
        let file = File::open(&put.file).map_err(anyhow::Error::from);
        file.and_then(read_message).with_context(|| put.file.display().to_string())
    };
    let mut mail = mail(&put.cover, body?);
    mail.envelope.queue_id = put.queue_id.clone();
    mail.envelope.client_address = put.client_address.clone();
    mail.envelope.helo = put.helo.clone();
    // The argument's parser keeps it within 10^9.
    mail.score_milli = (put.score * 1000.0).round() as i32;
    let reply = backend.put(mail, Arrived::Now)?;
    if output.is_json() {
        output.json(&reply)?;
    } else {
        output.line(reply.id)?;
    }
    Ok(Ending::Done)
}

/// A message with what comes with it.
pub fn mail(cover: &Cover, body: Bytes) -> Mail {
    Mail {
        class: cover.class,
        envelope: Envelope {
            sender: cover.sender.clone().unwrap_or_default(),
            recipients: cover.recipients.clone(),
            ..Envelope::default()
        },
        body,
        score_milli: 0,
        reason: cover.reason.clone(),
    }
}

/// Reads a message to its end, or one byte past the limit.
///
/// # Errors
/// As the source reports; [`Refused`] for a message beyond the limit.
pub fn read_message(source: impl Read) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    source.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        let error = format!("the message is beyond the limit of {MESSAGE_BYTES_MAX} bytes");
        return Err(Refused::new("too_large", error).into());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::read_message;
    use crate::failure::kind;
    use quar_base::limits::MESSAGE_BYTES_MAX;

    #[test]
    fn a_message_that_never_ends_is_not_read_to_its_end() {
        let error = read_message(std::io::repeat(7)).expect_err("it is too large");
        assert_eq!(kind(&error), Some("too_large"));
        let whole = std::io::Read::take(std::io::repeat(7), MESSAGE_BYTES_MAX as u64);
        assert_eq!(read_message(whole).unwrap().len(), MESSAGE_BYTES_MAX);
    }
}
