//! QUIC over UDP: the socket, both handshakes, and the one stream of a connection.
//! Never uses datagrams, 0-RTT, or a second stream.

use crate::congestion::TolerantConfig;
use crate::connection::{Connection, Facts, Transport, Wire};
use crate::endpoint::Limits;
use crate::error::NetError;
use crate::fault;
use crate::identity::certificate_name;
use crate::preamble;
use crate::receiver::ReadEnd;
use crate::sender::WriteEnd;
use crate::tls::{SESSION_LABEL, Tls, Verdict};
use quar_base::ids::MemberId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// What a peer may send on the stream before this side has read it.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same for the whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// What this side keeps until the peer has acknowledged it.
const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// Wanted socket buffers; the system gives what it allows.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Handshakes that wait for one of this node's turns, and what they may send meanwhile.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_EACH: u64 = 64 << 10;
const WAITING_BYTES: u64 = 2 << 20;

/// Binds the one UDP socket that both dials and accepts; `[::]` takes IPv4 as well.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // Smaller buffers only cost speed.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Starts QUIC on a bound socket.
pub(crate) fn open(socket: UdpSocket, tls: &Tls, limits: &Limits) -> io::Result<quinn::Endpoint> {
    let config = EndpointConfig::default();
    let (server, _) = server_config(tls, limits);
    quinn::Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
}

/// The acceptor's side of a handshake.
pub(crate) async fn accept(
    incoming: quinn::Incoming,
    remote: SocketAddr,
    tls: &Tls,
    limits: &Limits,
) -> Result<Connection, NetError> {
    let (config, verdict) = server_config(tls, limits);
    let refused = |error| verdict.refusal_or(|| fault::from_quic(&error));
    let connection =
        incoming.accept_with(Arc::new(config)).map_err(refused)?.await.map_err(refused)?;
    let peer = verdict.member()?;
    let streams = connection.accept_bi().await.map_err(|error| fault::from_quic(&error))?;
    let (mut read, mut write) = halves(streams);
    preamble::answer(&mut write, &mut read, Transport::Quic).await?;
    let facts = Facts { peer, dialed: false, remote, session_key: session_key(&connection) };
    let wire = Wire::Quic(connection);
    Ok(Connection::new(facts, wire, (read, write), limits))
}

/// Dials from the listening socket.
pub(crate) async fn dial(
    endpoint: &quinn::Endpoint,
    remote: SocketAddr,
    peer: MemberId,
    tls: &Tls,
    limits: &Limits,
) -> Result<Connection, NetError> {
    let (config, verdict) = tls.client(peer);
    let crypto = QuicClientConfig::try_from(config).expect("the provider has QUIC's first suite");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(limits, 0));
    let connection = endpoint
        .connect_with(config, remote, &certificate_name(peer))
        .map_err(|error| NetError::Connect {
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?
        .await
        .map_err(|error| verdict.refusal_or(|| fault::from_quic(&error)))?;
    let peer = verdict.member()?;
    let streams = connection.open_bi().await.map_err(|error| fault::from_quic(&error))?;
    let (mut read, mut write) = halves(streams);
    preamble::lead(&mut write, &mut read, Transport::Quic).await?;
    let facts = Facts { peer, dialed: true, remote, session_key: session_key(&connection) };
    let wire = Wire::Quic(connection);
    Ok(Connection::new(facts, wire, (read, write), limits))
}

fn session_key(connection: &quinn::Connection) -> [u8; 32] {
    let mut key = [0; 32];
    connection
        .export_keying_material(&mut key, SESSION_LABEL, b"")
        .expect("32 bytes are within the exporter's bounds");
    key
}

fn halves((write, read): (quinn::SendStream, quinn::RecvStream)) -> (ReadEnd, WriteEnd) {
    (Box::new(read), WriteEnd::Quic(write))
}

fn server_config(tls: &Tls, limits: &Limits) -> (quinn::ServerConfig, Verdict) {
    let (config, verdict) = tls.server();
    let crypto = QuicServerConfig::try_from(config).expect("the provider has QUIC's first suite");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(limits, 1))
        .max_incoming(WAITING_MAX)
        .incoming_buffer_size(WAITING_BYTES_EACH)
        .incoming_buffer_size_total(WAITING_BYTES);
    (config, verdict)
}

/// What is not named keeps quinn's default, datagrams of up to 1,452 bytes found by probing among
/// it: on loopback, larger ones (8,952) were measured at a third of the speed, since a few of them
/// fill the congestion window; and rarer acknowledgements made no difference.
fn transport(limits: &Limits, streams_from_peer: u32) -> Arc<TransportConfig> {
    let idle = IdleTimeout::try_from(limits.quic_idle).expect("the idle limit is some seconds");
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_from_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .congestion_controller_factory(Arc::new(TolerantConfig::default()))
        .keep_alive_interval(Some(limits.quic_keep_alive))
        .max_idle_timeout(Some(idle));
    Arc::new(config)
}
