//! The sending half of a connection: many small frames in few writes.
//! Never waits for a peer that takes no bytes longer than the stall limit.

use crate::connection::Link;
use crate::error::NetError;
use crate::frame;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// From this many buffered bytes on, `send` writes.
const BUFFER_BYTES: usize = 64 << 10;
/// A buffer that one long frame made larger than this is given back.
const BUFFER_BYTES_KEPT: usize = 4 * BUFFER_BYTES;

/// Where the bytes go.
pub(crate) enum WriteEnd {
    Quic(quinn::SendStream),
    Stream(Box<dyn AsyncWrite + Send + Unpin>),
}

impl WriteEnd {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Quic(stream) => Ok(stream.write(bytes).await?),
            Self::Stream(stream) => stream.write(bytes).await,
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Quic(stream) => Ok(stream.write_all(bytes).await?),
            Self::Stream(stream) => stream.write_all(bytes).await,
        }
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            // quinn's own task sends what was written.
            Self::Quic(_) => Ok(()),
            Self::Stream(stream) => stream.flush().await,
        }
    }

    /// Ends the stream; over QUIC also waits until the peer has all of it.
    async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Quic(stream) => {
                stream.finish().map_err(io::Error::from)?;
                stream.stopped().await.map_err(io::Error::from)?;
                Ok(())
            }
            Self::Stream(stream) => stream.shutdown().await,
        }
    }

    /// Makes sure that what was written last does not pass for a clean end.
    fn abandon(&mut self) {
        if let Self::Quic(stream) = self {
            // An error says that the stream is over already, which is what is wanted.
            let _ = stream.reset(quinn::VarInt::from_u32(0));
        }
    }
}

/// Sends frames in order.
///
/// *Cancel*: dropping a future of `send` or `flush` loses nothing: the frame stands in the
/// buffer, whole and once, and the next call goes on. Dropping the sender with frames unsent
/// breaks the stream off; [`FrameSender::finish`] ends it.
pub struct FrameSender {
    end: WriteEnd,
    buffer: Vec<u8>,
    /// How many bytes of the buffer are written.
    written: usize,
    link: Arc<Link>,
    stall_limit: Duration,
}

impl FrameSender {
    pub(crate) fn new(end: WriteEnd, link: Arc<Link>, stall_limit: Duration) -> Self {
        Self { end, buffer: Vec::with_capacity(BUFFER_BYTES), written: 0, link, stall_limit }
    }

    /// Buffers one frame, its payload in pieces; writes when 64 KiB have gathered. A frame is
    /// on its way for certain only after [`FrameSender::flush`].
    ///
    /// # Errors
    /// [`NetError::FrameTooLarge`] (nothing is buffered then), [`NetError::Stalled`],
    /// [`NetError::Closed`], [`NetError::ClosedByPeer`], [`NetError::Lost`].
    pub async fn send(&mut self, kind: u8, payload: &[&[u8]]) -> Result<(), NetError> {
        frame::encode(&mut self.buffer, kind, payload)?;
        if self.buffered_bytes() >= BUFFER_BYTES {
            self.write_buffer().await?;
        }
        Ok(())
    }

    /// Hands everything buffered to the system.
    ///
    /// # Errors
    /// As [`FrameSender::send`].
    pub async fn flush(&mut self) -> Result<(), NetError> {
        self.write_buffer().await?;
        let flushed = timeout(self.stall_limit, self.end.flush()).await;
        self.in_time(flushed)
    }

    /// Flushes and ends the stream: the peer reads all frames, then a clean end. Over QUIC this
    /// waits until the peer has received them, no longer than the stall limit.
    ///
    /// # Errors
    /// As [`FrameSender::send`].
    pub async fn finish(mut self) -> Result<(), NetError> {
        self.flush().await?;
        let finished = timeout(self.stall_limit, self.end.finish()).await;
        self.in_time(finished)
    }

    /// How many bytes wait for a write.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.written
    }

    async fn write_buffer(&mut self) -> Result<(), NetError> {
        while self.written < self.buffer.len() {
            self.link.check()?;
            let pending = &self.buffer[self.written..];
            let taken = timeout(self.stall_limit, self.end.write(pending)).await;
            match self.in_time(taken)? {
                0 => return Err(self.fault(io::ErrorKind::WriteZero.into())),
                taken => self.written += taken,
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.written = 0;
        self.link.check()
    }

    fn in_time<T>(
        &self,
        done: Result<io::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, NetError> {
        match done {
            Ok(result) => result.map_err(|error| self.fault(error)),
            Err(_) => Err(NetError::Stalled { limit: self.stall_limit }),
        }
    }

    fn fault(&self, error: io::Error) -> NetError {
        self.link.fault(error)
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        if self.buffered_bytes() > 0 {
            self.end.abandon();
        }
    }
}

impl std::fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameSender({} bytes wait)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests;
