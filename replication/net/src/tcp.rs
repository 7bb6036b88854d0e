//! TLS 1.3 over TCP: sockets, both handshakes, and the halves of a connection.
//! Never reads the clock itself: deadlines are the callers'.

use crate::authority::server_name;
use crate::connection::{Connection, Facts, Transport, Wire};
use crate::endpoint::Limits;
use crate::error::{NetError, ProtocolFault};
use crate::fault;
use crate::preamble;
use crate::receiver::ReadEnd;
use crate::sender::WriteEnd;
use crate::tls::{APPLICATION_PROTOCOL, SESSION_LABEL, Tls};
use quar_base::ids::MemberId;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// rustls reads 4 KiB at a time; this turns sixteen such reads into one system call.
const READ_BYTES: usize = 64 << 10;
/// Connections that the system holds for us until they are taken.
const BACKLOG: i32 = 256;
/// Probes without an answer before an idle connection counts as lost.
const KEEPALIVE_PROBES: u32 = 3;
/// The system counts keep-alives in whole seconds.
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);

type Buffered = BufReader<TcpStream>;

/// Listens; `[::]` takes IPv4 as well.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The acceptor's side of a handshake.
pub(crate) async fn accept(
    stream: TcpStream,
    remote: SocketAddr,
    tls: &Tls,
    limits: &Limits,
) -> Result<Connection, NetError> {
    let (socket, stream) = prepare(stream, limits)?;
    let (config, verdict) = tls.server();
    let stream = TlsAcceptor::from(Arc::new(config))
        .accept(stream)
        .await
        .map_err(|error| verdict.refusal_or(|| fault::from_io(error, Transport::Tcp)))?;
    let (_, session) = stream.get_ref();
    check_protocol(session.alpn_protocol())?;
    let session_key = session
        .export_keying_material([0; 32], SESSION_LABEL, Some(b""))
        .map_err(|error| fault::from_tls(&error))?;
    let peer = verdict.member()?;
    let (mut read, mut write) = halves(stream.into());
    preamble::answer(&mut write, &mut read, Transport::Tcp).await?;
    let facts = Facts { peer, dialed: false, remote, session_key };
    Ok(Connection::new(facts, Wire::Tcp(socket), (read, write), limits))
}

/// Dials: from this node's own address, if it listens on a particular one.
pub(crate) async fn dial(
    remote: SocketAddr,
    local: SocketAddr,
    peer: MemberId,
    tls: &Tls,
    limits: &Limits,
) -> Result<Connection, NetError> {
    let stream = connect(remote, local).await.map_err(|source| NetError::Connect { source })?;
    let (socket, stream) = prepare(stream, limits)?;
    let (config, verdict) = tls.client(peer);
    let stream = TlsConnector::from(Arc::new(config))
        .connect(server_name(peer), stream)
        .await
        .map_err(|error| verdict.refusal_or(|| fault::from_io(error, Transport::Tcp)))?;
    let (_, session) = stream.get_ref();
    check_protocol(session.alpn_protocol())?;
    let session_key = session
        .export_keying_material([0; 32], SESSION_LABEL, Some(b""))
        .map_err(|error| fault::from_tls(&error))?;
    let peer = verdict.member()?;
    let (mut read, mut write) = halves(stream.into());
    preamble::lead(&mut write, &mut read, Transport::Tcp).await?;
    let facts = Facts { peer, dialed: true, remote, session_key };
    Ok(Connection::new(facts, Wire::Tcp(socket), (read, write), limits))
}

async fn connect(remote: SocketAddr, local: SocketAddr) -> io::Result<TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !local.ip().is_unspecified() {
        socket.bind(SocketAddr::new(local.ip(), 0))?;
    }
    socket.connect(remote).await
}

/// Sets what both sides want of a socket, and keeps a second handle for the closer.
fn prepare(stream: TcpStream, limits: &Limits) -> Result<(Socket, Buffered), NetError> {
    let set = |socket: &Socket| {
        socket.set_tcp_nodelay(true)?;
        let probing = limits.idle.saturating_sub(limits.keep_alive);
        let interval = (probing / KEEPALIVE_PROBES).max(KEEPALIVE_MIN);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(limits.keep_alive.max(KEEPALIVE_MIN))
                .with_interval(interval)
                .with_retries(KEEPALIVE_PROBES),
        )?;
        // Without it, unacknowledged bytes keep a dead connection for a quarter of an hour.
        socket.set_tcp_user_timeout(Some(limits.idle))
    };
    SockRef::from(&stream)
        .try_clone()
        .and_then(|socket| set(&socket).map(|()| socket))
        .map(|socket| (socket, BufReader::with_capacity(READ_BYTES, stream)))
        .map_err(|source| NetError::Lost { transport: Transport::Tcp, source })
}

fn halves(stream: TlsStream<Buffered>) -> (ReadEnd, WriteEnd) {
    let (read, write) = tokio::io::split(stream);
    (Box::new(read), WriteEnd::Stream(Box::new(write)))
}

/// rustls lets a peer pass that offers no application protocol at all.
fn check_protocol(agreed: Option<&[u8]>) -> Result<(), NetError> {
    if agreed == Some(APPLICATION_PROTOCOL) {
        return Ok(());
    }
    Err(NetError::Protocol { fault: ProtocolFault::Application })
}
