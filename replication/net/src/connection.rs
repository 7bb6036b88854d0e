//! An established connection, and the means to cut it from anywhere.
//! Never outlives its two halves: a `Closer` alone keeps nothing open.

use crate::endpoint::Limits;
use crate::error::NetError;
use crate::fault;
use crate::receiver::{FrameReceiver, ReadEnd};
use crate::sender::{FrameSender, WriteEnd};
use quar_base::ids::MemberId;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// What a connection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TLS 1.3 over TCP.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "QUIC",
            Self::Tcp => "TCP",
        })
    }
}

/// Why a connection is closed. Over QUIC the peer learns it, unless the line is so full that the
/// last packet does not go out; then, as over TCP, it sees the connection lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Nothing more to say.
    Done,
    /// This node is going down.
    Shutdown,
    /// The peer is no longer a member.
    Removed,
    /// There is another connection to the same peer.
    Duplicate,
    /// The peer broke a rule.
    Offence,
    /// The peer gave a number that this version does not know.
    Unknown,
}

impl CloseReason {
    /// Number on the wire: the QUIC application error code.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Shutdown => 1,
            Self::Removed => 2,
            Self::Duplicate => 3,
            Self::Offence => 4,
            Self::Unknown => 255,
        }
    }

    pub(crate) fn from_code(code: u64) -> Self {
        [Self::Done, Self::Shutdown, Self::Removed, Self::Duplicate, Self::Offence]
            .into_iter()
            .find(|reason| u64::from(reason.code()) == code)
            .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Shutdown => "shutting down",
            Self::Removed => "no longer a member",
            Self::Duplicate => "another connection stays",
            Self::Offence => "broke a rule",
            Self::Unknown => "for an unknown reason",
        })
    }
}

/// An authenticated connection with one member.
///
/// *Holds*: the peer's certificate was issued by the cluster's authority, names `peer`, and the
/// admission took it; both sides sent a preamble of this version.
pub struct Connection {
    /// The member at the other end.
    pub peer: MemberId,
    /// What it runs over.
    pub transport: Transport,
    /// Whether this side dialed.
    pub dialed: bool,
    /// The other end's address, when the connection was made.
    pub remote: SocketAddr,
    /// A secret of this connection alone, the same on both sides (TLS exporter).
    pub session_key: [u8; 32],
    /// Sends frames.
    pub sender: FrameSender,
    /// Receives frames.
    pub receiver: FrameReceiver,
    pub(crate) closer: Closer,
}

/// What a handshake found out.
pub(crate) struct Facts {
    pub(crate) peer: MemberId,
    pub(crate) dialed: bool,
    pub(crate) remote: SocketAddr,
    pub(crate) session_key: [u8; 32],
}

impl Connection {
    pub(crate) fn new(
        facts: Facts,
        wire: Wire,
        (read, write): (ReadEnd, WriteEnd),
        limits: &Limits,
    ) -> Self {
        let link = Link::new(wire);
        Self {
            peer: facts.peer,
            transport: link.transport(),
            dialed: facts.dialed,
            remote: facts.remote,
            session_key: facts.session_key,
            sender: FrameSender::new(write, link.clone(), limits.stall),
            closer: Closer(Arc::downgrade(&link)),
            receiver: FrameReceiver::new(read, link),
        }
    }

    /// A handle that can cut this connection from another task.
    #[must_use]
    pub fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// Cuts the connection at once; unsent frames are lost. For an orderly end, finish the sender
    /// and read the receiver to its end.
    pub fn close(self, reason: CloseReason) {
        self.closer.close(reason);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.dialed { "to" } else { "from" };
        let (transport, peer, remote) = (self.transport, self.peer, self.remote);
        write!(f, "Connection({transport} {way} {peer} at {remote})")
    }
}

/// Cuts a connection. Keeps none alive: when both halves are dropped, it does nothing.
#[derive(Clone)]
pub struct Closer(Weak<Link>);

impl Closer {
    /// Cuts the connection at once: from here on neither half yields or takes a frame, also none
    /// that has arrived already; both answer [`NetError::Closed`].
    pub fn close(&self, reason: CloseReason) {
        if let Some(link) = self.0.upgrade() {
            link.cut(reason);
        }
    }

    /// Whether a half is still held and nobody has cut the connection on this side.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.upgrade().is_some_and(|link| link.check().is_ok())
    }
}

impl Closer {
    /// Datagrams that have come from the peer, over QUIC: as long as this grows, the line is alive.
    #[must_use]
    pub fn datagrams_received(&self) -> Option<u64> {
        match &self.0.upgrade()?.wire {
            Wire::Quic(connection) => Some(connection.stats().udp_rx.datagrams),
            _ => None,
        }
    }

    /// How long an answer takes on this line by now, over QUIC.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        match &self.0.upgrade()?.wire {
            Wire::Quic(connection) => Some(connection.rtt()),
            _ => None,
        }
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Closer(open: {})", self.is_open())
    }
}

/// What the halves of a connection share; they hold it, closers only refer to it.
pub(crate) struct Link {
    wire: Wire,
    cut: OnceLock<CloseReason>,
}

/// What a cut acts on.
pub(crate) enum Wire {
    Quic(quinn::Connection),
    /// A second handle of the socket: TLS keeps the first for itself.
    Tcp(socket2::Socket),
    #[cfg(test)]
    Memory,
}

impl Link {
    pub(crate) fn new(wire: Wire) -> Arc<Self> {
        Arc::new(Self { wire, cut: OnceLock::new() })
    }

    pub(crate) fn transport(&self) -> Transport {
        match &self.wire {
            Wire::Quic(_) => Transport::Quic,
            Wire::Tcp(_) => Transport::Tcp,
            #[cfg(test)]
            Wire::Memory => Transport::Tcp,
        }
    }

    /// Fails once this side has cut the connection.
    pub(crate) fn check(&self) -> Result<(), NetError> {
        match self.cut.get() {
            None => Ok(()),
            Some(reason) => Err(NetError::Closed { reason: *reason }),
        }
    }

    /// What an error of either half stands for; after a cut, always the cut.
    pub(crate) fn fault(&self, error: io::Error) -> NetError {
        match self.check() {
            Err(closed) => closed,
            Ok(()) => fault::from_io(error, self.transport()),
        }
    }

    fn cut(&self, reason: CloseReason) {
        if self.cut.set(reason).is_err() {
            return;
        }
        match &self.wire {
            Wire::Quic(connection) => {
                connection.close(quinn::VarInt::from_u32(reason.code()), b"");
            }
            // Wakes whoever waits on either half. Fails only if the peer is gone already.
            Wire::Tcp(socket) => {
                if reason == CloseReason::Offence {
                    // The system keeps nothing for a peer that goes on sending: it is told so with a reset.
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
                let _ = socket.shutdown(Shutdown::Both);
            }
            #[cfg(test)]
            Wire::Memory => {}
        }
    }
}
