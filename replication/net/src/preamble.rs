//! The eight bytes that each side sends first: magic number and protocol version.
//! Never negotiates: two versions do not speak to each other.
//!
//! The dialer's opens the QUIC stream. The acceptor's tells the dialer that its certificate was
//! taken, which in TLS 1.3 it cannot know from the handshake alone.

use crate::connection::Transport;
use crate::error::{NetError, ProtocolFault};
use crate::fault;
use crate::receiver::ReadEnd;
use crate::sender::WriteEnd;
use tokio::io::AsyncReadExt;

/// `QUARD`, a zero byte, version 1 (u16, little-endian).
pub(crate) const PREAMBLE: [u8; 8] = *b"QUARD\0\x01\0";
const MAGIC_BYTES: usize = 6;

/// The dialer's side.
pub(crate) async fn lead(
    write: &mut WriteEnd,
    read: &mut ReadEnd,
    transport: Transport,
) -> Result<(), NetError> {
    // If the write fails, the peer's own words are the better answer: they come by the read.
    let sent = send(write, transport).await;
    check(&receive(read, transport).await?)?;
    sent
}

/// The acceptor's side. Answers a wrong version before refusing it, so that both sides know.
pub(crate) async fn answer(
    write: &mut WriteEnd,
    read: &mut ReadEnd,
    transport: Transport,
) -> Result<(), NetError> {
    let theirs = receive(read, transport).await?;
    send(write, transport).await?;
    check(&theirs)
}

async fn send(write: &mut WriteEnd, transport: Transport) -> Result<(), NetError> {
    let lost = |error| fault::from_io(error, transport);
    write.write_all(&PREAMBLE).await.map_err(lost)?;
    write.flush().await.map_err(lost)
}

async fn receive(read: &mut ReadEnd, transport: Transport) -> Result<[u8; 8], NetError> {
    let mut found = [0; 8];
    read.read_exact(&mut found).await.map_err(|error| fault::from_io(error, transport))?;
    Ok(found)
}

pub(crate) fn check(found: &[u8; 8]) -> Result<(), NetError> {
    if *found == PREAMBLE {
        return Ok(());
    }
    let fault = if found[..MAGIC_BYTES] == PREAMBLE[..MAGIC_BYTES] {
        ProtocolFault::Version(u16::from_le_bytes([found[6], found[7]]))
    } else {
        ProtocolFault::Magic(*found)
    };
    Err(NetError::Protocol { fault })
}
