//! A node's one endpoint: it listens, accepts, dials and shuts down.
//! Never holds a connection open that its owner has dropped.

use crate::accept::{self, Arrival, Rejected};
use crate::connection::{CloseReason, Closer, Connection, Transport};
use crate::dial::{self, Preference};
use crate::error::NetError;
use crate::identity::Identity;
use crate::quic;
use crate::tls::{Admission, Tls};
use quar_base::ids::MemberId;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Outcomes of handshakes that wait for `accept`.
const ARRIVALS_MAX: usize = 64;

/// What an endpoint is made from.
pub struct Settings {
    /// Where to listen, over both transports; port 0 picks one. Dialing goes out from this
    /// address too, unless it is `[::]` or `0.0.0.0`.
    pub listen: SocketAddr,
    /// Whether TLS over TCP is used, both ways.
    pub tcp: bool,
    /// Whether QUIC is used, both ways.
    pub quic: bool,
    /// Who this node is.
    pub identity: Identity,
    /// Who may connect.
    pub admission: Admission,
    /// How much, and how long.
    pub limits: Limits,
}

impl Settings {
    /// Both transports, default limits.
    #[must_use]
    pub fn new(listen: SocketAddr, identity: Identity, admission: Admission) -> Self {
        Self { listen, tcp: true, quic: true, identity, admission, limits: Limits::default() }
    }
}

/// How much, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Incoming handshakes at one time, for each transport.
    pub handshakes_max: usize,
    /// The same from one IPv4 address or IPv6 /64.
    pub handshakes_per_address_max: usize,
    /// Handshakes that one address may begin at once; then four a second.
    pub handshakes_per_address_begun: u32,
    /// For one handshake, preambles included.
    pub handshake: Duration,
    /// Before the second transport, and another address, is tried beside the first.
    pub head_start: Duration,
    /// For a whole dial, all addresses and both transports.
    pub dial: Duration,
    /// For a peer that takes no bytes. Keep it below `idle`: over TCP the system counts a peer
    /// that does not read as gone after `idle`.
    pub stall: Duration,
    /// For a peer from which nothing comes, not even an acknowledgement: over TCP.
    pub idle: Duration,
    /// Silence after which the peer is probed: over TCP.
    pub keep_alive: Duration,
    /// As `idle`, over QUIC: nobody's kernel tells there that a process has died.
    pub quic_idle: Duration,
    /// As `keep_alive`, over QUIC.
    pub quic_keep_alive: Duration,
    /// For connections to say goodbye at shutdown.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes_max: 128,
            handshakes_per_address_max: 64,
            handshakes_per_address_begun: 128,
            handshake: Duration::from_secs(5),
            head_start: Duration::from_millis(200),
            dial: Duration::from_secs(15),
            stall: Duration::from_secs(15),
            idle: Duration::from_secs(20),
            keep_alive: Duration::from_secs(5),
            quic_idle: Duration::from_secs(6),
            quic_keep_alive: Duration::from_millis(400),
            goodbye: Duration::from_secs(2),
        }
    }
}

/// Accepts and dials. Dropping it ends listening; connections live on with their halves.
pub struct Endpoint {
    shared: Arc<Shared>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
    listeners: Mutex<JoinSet<()>>,
}

/// What the endpoint's tasks share.
pub(crate) struct Shared {
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) local: SocketAddr,
    pub(crate) quic: Option<quinn::Endpoint>,
    tcp: bool,
    /// For shutting down: every connection made, the dead ones swept out now and then.
    open: Mutex<Vec<Closer>>,
    /// Where and over what each peer answered last.
    worked: Mutex<HashMap<MemberId, (String, Transport)>>,
}

impl Endpoint {
    /// Listens, and begins to take handshakes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NetError::Bind`] with address and cause, [`NetError::NoTransport`],
    /// [`NetError::BadKey`].
    pub fn bind(settings: Settings) -> Result<Self, NetError> {
        if !settings.tcp && !settings.quic {
            return Err(NetError::NoTransport);
        }
        let tls = Tls::new(&settings.identity, settings.admission)?;
        let (listener, socket, local) =
            accept::open_sockets(settings.listen, settings.tcp, settings.quic)?;
        let quic = socket.map(|socket| quic::open(socket, &tls, &settings.limits));
        let quic = quic.transpose().map_err(|source| NetError::Bind {
            address: settings.listen,
            transport: Transport::Quic,
            source,
        })?;
        let shared = Arc::new(Shared {
            tls,
            limits: settings.limits,
            local,
            quic,
            tcp: settings.tcp,
            open: Mutex::default(),
            worked: Mutex::default(),
        });
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let mut listeners = JoinSet::new();
        if let Some(listener) = listener {
            listeners.spawn(accept::take_tcp(shared.clone(), listener, sender.clone()));
        }
        if let Some(quic) = shared.quic.clone() {
            listeners.spawn(accept::take_quic(shared.clone(), quic, sender));
        }
        Ok(Self {
            shared,
            arrivals: tokio::sync::Mutex::new(arrivals),
            listeners: Mutex::new(listeners),
        })
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local
    }

    /// The next connection that a member made, or the next handshake that failed; none once the
    /// endpoint has been shut down. Call it all the time: a caller that does not, ends up
    /// refusing handshakes.
    ///
    /// *Cancel*: safe.
    pub async fn accept(&self) -> Option<Result<Connection, Rejected>> {
        self.arrivals.lock().await.recv().await
    }

    /// Connects to a member at whichever of its `host:port` addresses it answers first.
    ///
    /// Each address has a head start of [`Limits::head_start`] before the next one, and so has QUIC
    /// before TCP; but what answered last time goes first. When more than one completes, the later
    /// ones are dropped: the peer may see them come and go at once.
    ///
    /// *Cancel*: safe; whatever was begun is dropped.
    ///
    /// # Errors
    /// [`NetError::Unreachable`] with every attempt, if nobody answered; else the first answer:
    /// [`NetError::WrongMember`], [`NetError::WrongAuthority`], [`NetError::Expired`],
    /// [`NetError::UnknownMember`], [`NetError::RefusedByPeer`], [`NetError::Protocol`],
    /// [`NetError::NotTls`] and the like. [`NetError::NoTransport`].
    pub async fn dial(
        &self,
        addresses: &[String],
        peer: MemberId,
        prefer: Preference,
    ) -> Result<Connection, NetError> {
        dial::run(&self.shared, peer, addresses, prefer).await
    }

    /// Uses another certificate and authority from the next handshake on: after a renewal.
    ///
    /// # Errors
    /// [`NetError::BadKey`].
    pub fn set_identity(&self, identity: &Identity) -> Result<(), NetError> {
        self.shared.tls.set_identity(identity)
    }

    /// Takes certificates of admitted members for so long after their end: for the time in
    /// which there is no quorum to renew them. Zero at first.
    pub fn set_expiry_grace(&self, grace: Duration) {
        self.shared.tls.set_expiry_grace(grace);
    }

    /// Ends listening and closes every connection with [`CloseReason::Shutdown`]; returns when
    /// the peers know, or after [`Limits::goodbye`].
    pub async fn shutdown(&self) {
        let mut listeners =
            std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        listeners.shutdown().await;
        for closer in self.shared.open().drain(..) {
            closer.close(CloseReason::Shutdown);
        }
        if let Some(quic) = &self.shared.quic {
            quic.close(quinn::VarInt::from_u32(CloseReason::Shutdown.code()), b"");
            // Peers that do not answer find out by themselves.
            let _ = timeout(self.shared.limits.goodbye, quic.wait_idle()).await;
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.shared.local)
    }
}

impl Shared {
    /// Whether a transport is switched on.
    pub(crate) fn has(&self, transport: Transport) -> bool {
        match transport {
            Transport::Quic => self.quic.is_some(),
            Transport::Tcp => self.tcp,
        }
    }

    /// Notes a connection for the shutdown.
    pub(crate) fn remember(&self, connection: &Connection) {
        let mut open = self.open();
        open.retain(Closer::is_open);
        open.push(connection.closer());
    }

    /// Where and over what a peer answered last.
    pub(crate) fn worked(&self, peer: MemberId) -> Option<(String, Transport)> {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }

    /// Notes where and over what a peer answered.
    pub(crate) fn note_worked(&self, peer: MemberId, address: String, transport: Transport) {
        let mut worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        worked.insert(peer, (address, transport));
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Closer>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
