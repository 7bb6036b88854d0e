//! One connection to a mail server, as a client: commands out, replies in, each with a deadline.
//! Never decides what a reply means for a message.

use super::Timeouts;
use super::reply::{Reply, ReplyError};
use bytes::Buf;
use quar_base::action::Delivery;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

/// How much is read at once.
const READ_BYTES: usize = 8 << 10;
/// How long a server may take over its farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The server hung up.
    #[error("the server closed the connection")]
    Closed,
    /// The server was silent, or took nothing, for this long.
    #[error("the server did nothing for {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The server does not speak SMTP.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    timeouts: Timeouts,
}

impl Client {
    /// Connects to a `name:port` or an address; the greeting is still to be read.
    ///
    /// # Errors
    /// [`ClientError::Connect`] and [`ClientError::Timeout`].
    pub async fn connect(
        host: impl ToSocketAddrs,
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        let stream = timeout(timeouts.connect, TcpStream::connect(host))
            .await
            .map_err(|_| ClientError::Timeout(timeouts.connect))?
            .map_err(ClientError::Connect)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::with_capacity(READ_BYTES), timeouts })
    }

    /// Writes all of `bytes`, at once if the system takes them.
    ///
    /// # Errors
    /// [`ClientError`]: not all of them were written.
    pub async fn send(&mut self, bytes: impl Buf) -> Result<(), ClientError> {
        let mut bytes = bytes;
        let limit = self.timeouts.block;
        timeout(limit, self.stream.write_all_buf(&mut bytes))
            .await
            .map_err(|_| ClientError::Timeout(limit))??;
        Ok(())
    }

    /// Reads the reply to a command.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reply(&mut self) -> Result<Reply, ClientError> {
        self.reply_within(self.timeouts.command).await
    }

    /// Reads the reply to a whole message.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn last_reply(&mut self) -> Result<Reply, ClientError> {
        self.reply_within(self.timeouts.end).await
    }

    /// Says a command and reads its reply.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn command(&mut self, command: &str) -> Result<Reply, ClientError> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Whether nothing was read that no command asked for.
    pub(super) fn is_quiet(&self) -> bool {
        self.input.is_empty()
    }

    /// Writes a block of a message; if it is not taken, the server's last words say why.
    ///
    /// # Errors
    /// [`Delivery::Failed`]: the server cannot have the whole message.
    pub(super) async fn send_block(&mut self, block: &[u8]) -> Result<(), Delivery> {
        let Err(why) = self.send(block).await else {
            return Ok(());
        };
        let text = match self.reply_within(FAREWELL).await {
            Ok(reply) if !reply.is_positive() => reply.to_string(),
            _ => format!("in the middle of the message: {why}"),
        };
        Err(Delivery::Failed(text))
    }

    /// Takes leave; waits a little so that the server hears it.
    pub(super) async fn quit(mut self) {
        let farewell = async {
            self.stream.write_all(b"QUIT\r\n").await?;
            self.stream.shutdown().await?;
            let mut buffer = [0; 512];
            while self.stream.read(&mut buffer).await? > 0 {}
            io::Result::Ok(())
        };
        // The outcome is settled: nothing depends on the farewell.
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn reply_within(&mut self, limit: Duration) -> Result<Reply, ClientError> {
        let whole = async {
            loop {
                if let Some((reply, used)) = Reply::parse(&self.input)? {
                    self.input.drain(..used);
                    return Ok(reply);
                }
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(ClientError::Closed);
                }
            }
        };
        timeout(limit, whole).await.map_err(|_| ClientError::Timeout(limit))?
    }
}
