//! The receiving half of a connection.
//! Never holds more than one frame begun and one read ahead.

use crate::connection::Link;
use crate::error::NetError;
use crate::frame::{Frame, FrameDecoder};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Where the bytes come from.
pub(crate) type ReadEnd = Box<dyn AsyncRead + Send + Unpin>;

/// Receives frames in order.
pub struct FrameReceiver {
    end: ReadEnd,
    decoder: FrameDecoder,
    ended: bool,
    link: Arc<Link>,
}

impl FrameReceiver {
    pub(crate) fn new(end: ReadEnd, link: Arc<Link>) -> Self {
        Self { end, decoder: FrameDecoder::default(), ended: false, link }
    }

    /// The next frame; none once the peer has ended the stream.
    ///
    /// *Cancel*: safe. What has arrived stays for the next call.
    ///
    /// # Errors
    /// [`NetError::FrameTooLarge`], [`NetError::Truncated`], [`NetError::Closed`],
    /// [`NetError::ClosedByPeer`], [`NetError::Lost`]. All of them are final.
    pub async fn next(&mut self) -> Result<Option<Frame>, NetError> {
        loop {
            self.link.check()?;
            if let Some(frame) = self.decoder.decode()? {
                return Ok(Some(frame));
            }
            if self.ended {
                return match self.decoder.missing() {
                    None => Ok(None),
                    Some(missing) => Err(NetError::Truncated { missing }),
                };
            }
            let read = self.end.read_buf(self.decoder.room()).await;
            self.ended = read.map_err(|error| self.link.fault(error))? == 0;
        }
    }

    /// A frame that has arrived already, without waiting: callers drain these to work in
    /// batches. None also where [`FrameReceiver::next`] would report an error.
    pub fn try_next_buffered(&mut self) -> Option<Frame> {
        self.link.check().ok()?;
        self.decoder.decode().ok().flatten()
    }
}

impl std::fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameReceiver(ended: {})", self.ended)
    }
}

#[cfg(test)]
mod tests;
