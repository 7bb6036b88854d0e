//! Runs sessions on sockets: accepts, reads, stores through the door, writes.
//! Never parses, and never logs an address or a subject.

use super::Settings;
use super::replies;
use super::session::{Event, Peer, Session};
use crate::intake::{Door, Mail, Refusal};
use quar_base::key::MessageId;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// How long to wait when the system gives no connection, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client that is sent away may take to hear it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a listener listens.
#[derive(Debug)]
pub enum Listener {
    /// On TCP; only clients on loopback addresses may use XFORWARD.
    Tcp(TcpListener),
    /// On a Unix socket; its mode says who may connect, and all of them may use XFORWARD.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Serves a listener until `shutdown` is true or its sender is gone, and then until the messages
/// that are at the door are answered.
pub async fn serve<D: Door>(
    listener: impl Into<Listener>,
    settings: Settings,
    door: D,
    mut shutdown: watch::Receiver<bool>,
) {
    let listener = listener.into();
    let settings = Arc::new(settings);
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = asked_to_stop(&mut shutdown) => break,
            accepted = accept(&listener) => accepted,
        };
        while sessions.try_join_next().is_some() {}
        match accepted {
            Err(error) => {
                tracing::warn!(%error, "cannot take a mail connection");
                sleep(PAUSE).await;
            }
            Ok((mut wire, _)) if sessions.len() >= settings.connections_max => {
                tracing::warn!(limit = settings.connections_max, "too many mail connections");
                let line = format!("{}\r\n", replies::TOO_MANY_CONNECTIONS);
                // A new socket has room for one line; if not, the client is no worse off.
                let _ = timeout(FAREWELL, wire.write_all(line.as_bytes())).await;
            }
            Ok((wire, peer)) => {
                let session = Session::new(Arc::clone(&settings), peer);
                let connection = Connection {
                    wire,
                    session,
                    door: door.clone(),
                    idle_timeout: settings.idle_timeout,
                    shutdown: shutdown.clone(),
                };
                sessions.spawn(connection.run());
            }
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, which is a shutdown too.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn accept(listener: &Listener) -> io::Result<(Box<dyn Wire>, Peer)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), peer_at(from)))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let peer = Peer { is_local: true, address: String::new() };
            Ok((Box::new(stream), peer))
        }
    }
}

/// A loopback client is the mail server here; any other may be the client itself.
fn peer_at(from: SocketAddr) -> Peer {
    let address = from.ip().to_canonical();
    let is_local = address.is_loopback();
    Peer {
        is_local,
        address: match is_local {
            true => String::new(),
            false => address.to_string(),
        },
    }
}

struct Connection<D> {
    wire: Box<dyn Wire>,
    session: Session,
    door: D,
    idle_timeout: Duration,
    shutdown: watch::Receiver<bool>,
}

impl<D: Door> Connection<D> {
    async fn run(mut self) {
        // A client that breaks off is its own affair: nothing was promised to it.
        if let Err(error) = self.converse().await {
            tracing::debug!(%error, "mail connection broke off");
        }
    }

    async fn converse(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.flush().await?;
            let read = tokio::select! {
                biased;
                () = asked_to_stop(&mut self.shutdown) => {
                    self.session.end(replies::SHUTTING_DOWN);
                    return self.part().await;
                }
                read = timeout(self.idle_timeout, self.wire.read(&mut buffer)) => read,
            };
            let Ok(read) = read else {
                self.session.end(replies::IDLE);
                return self.part().await;
            };
            let mut rest = match read? {
                0 => return Ok(()),
                bytes => &buffer[..bytes],
            };
            while !rest.is_empty() {
                let fed = self.session.feed(rest);
                rest = &rest[fed.used..];
                match fed.event {
                    None => {}
                    Some(Event::Close) => return self.part().await,
                    Some(Event::Deliver(mails)) => {
                        let outcomes = store(&self.door, mails).await;
                        self.session.answer(&outcomes);
                    }
                }
            }
        }
    }

    /// Writes all replies at once; a client that does not read them holds up no shutdown.
    async fn flush(&mut self) -> io::Result<()> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let stopped = async {
            asked_to_stop(&mut self.shutdown).await;
            sleep(FAREWELL).await;
        };
        let written = tokio::select! {
            biased;
            written = timeout(self.idle_timeout, self.wire.write_all(output)) => written.ok(),
            () = stopped => None,
        };
        written.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        output.clear();
        Ok(())
    }

    /// Says the last words, and waits until they are heard: closing a socket with unread input
    /// would take them back.
    async fn part(&mut self) -> io::Result<()> {
        self.flush().await?;
        let heard = async {
            self.wire.shutdown().await?;
            let mut buffer = [0; 4096];
            while self.wire.read(&mut buffer).await? > 0 {}
            Ok(())
        };
        timeout(FAREWELL, heard).await.unwrap_or(Ok(()))
    }
}

async fn store<D: Door>(door: &D, mails: Vec<Mail>) -> Vec<Result<MessageId, Refusal>> {
    let mut outcomes = Vec::with_capacity(mails.len());
    for mail in mails {
        let queue_id = mail.envelope.queue_id.clone();
        let recipients = mail.envelope.recipients.len();
        let (class, bytes) = (mail.class, mail.body.len());
        let outcome = door.admit(mail).await;
        match &outcome {
            Ok(id) => {
                tracing::info!(queue_id, message_id = %id, bytes, recipients, "message taken")
            }
            Err(why) => {
                tracing::warn!(queue_id, %class, bytes, recipients, %why, "message refused");
            }
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[cfg(test)]
mod tests;
