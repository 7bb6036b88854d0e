//! Who knocks: handshakes run side by side, each with a seat and a deadline.
//! Never lets one address take all seats, nor one transport the other's.

use crate::connection::{Connection, Transport};
use crate::endpoint::{Limits, Shared};
use crate::error::NetError;
use crate::{quic, tcp};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long to wait when the system gives no connection, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);
/// One address begins one handshake in so long, once it has begun what it may at once.
const BEGUN_EACH: Duration = Duration::from_millis(250);
/// Addresses whose handshakes are counted.
const ADDRESSES_KNOWN: usize = 4096;
/// Which part of an IPv6 address one host commands: its /64.
const IPV6_NETWORK: u128 = !0 << 64;

/// A handshake that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{from} over {transport}: {why}")]
pub struct Rejected {
    /// Who knocked. Unauthenticated.
    pub from: SocketAddr,
    /// On which door.
    pub transport: Transport,
    /// What went wrong.
    #[source]
    pub why: NetError,
}

/// What `accept` hands out.
pub(crate) type Arrival = Result<Connection, Rejected>;

/// Takes TCP connections until the task is aborted.
pub(crate) async fn take_tcp(
    shared: Arc<Shared>,
    listener: TcpListener,
    arrivals: mpsc::Sender<Arrival>,
) {
    let seats = Seats::new(&shared.limits);
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let permit = seats.free().await;
        let (stream, from) = match listener.accept().await {
            Ok((stream, from)) => (stream, canonical(from)),
            Err(error) => {
                tracing::warn!(%error, "cannot take a TCP connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let seat = match seats.take(permit, from.ip()) {
            Ok(seat) => seat,
            Err(why) => {
                report(&arrivals, from, Transport::Tcp, why);
                continue;
            }
        };
        let (shared, arrivals) = (shared.clone(), arrivals.clone());
        handshakes.spawn(async move {
            let handshake = tcp::accept(stream, from, &shared.tls, &shared.limits);
            let done = timeout(shared.limits.handshake, handshake).await;
            deliver(&shared, &arrivals, (from, Transport::Tcp), done).await;
            drop(seat);
        });
    }
}

/// Takes QUIC connections until the endpoint closes or the task is aborted.
pub(crate) async fn take_quic(
    shared: Arc<Shared>,
    endpoint: quinn::Endpoint,
    arrivals: mpsc::Sender<Arrival>,
) {
    let seats = Seats::new(&shared.limits);
    let claimed = Begun::new(&shared.limits);
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let permit = seats.free().await;
        let Some(incoming) = endpoint.accept().await else {
            return;
        };
        let from = canonical(incoming.remote_address());
        // A datagram's sender is easily forged: when there are many, it must answer first, and what is
        // begun in another's name is not counted as that one's.
        let is_proven = incoming.remote_address_validated();
        let is_crowd =
            seats.are_short() || !is_proven && !claimed.may_begin(from.ip(), Instant::now());
        if is_crowd && incoming.may_retry() {
            // Cannot fail: `may_retry` was asked.
            let _ = incoming.retry();
            continue;
        }
        let taken = match is_proven {
            true => seats.take(permit, from.ip()),
            false => seats.take_uncounted(permit, from.ip()),
        };
        let seat = match taken {
            Ok(seat) => seat,
            Err(why) => {
                incoming.refuse();
                report(&arrivals, from, Transport::Quic, why);
                continue;
            }
        };
        let (shared, arrivals) = (shared.clone(), arrivals.clone());
        handshakes.spawn(async move {
            let handshake = quic::accept(incoming, from, &shared.tls, &shared.limits);
            let done = timeout(shared.limits.handshake, handshake).await;
            deliver(&shared, &arrivals, (from, Transport::Quic), done).await;
            drop(seat);
        });
    }
}

/// An IPv4 address that came through an IPv6 socket, as the IPv4 address it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn deliver(
    shared: &Shared,
    arrivals: &mpsc::Sender<Arrival>,
    (from, transport): (SocketAddr, Transport),
    done: Result<Result<Connection, NetError>, tokio::time::error::Elapsed>,
) {
    let limit = shared.limits.handshake;
    let made = done.unwrap_or(Err(NetError::HandshakeTimeout { limit }));
    let arrival = match made {
        Ok(connection) => {
            shared.remember(&connection);
            Ok(connection)
        }
        Err(why) => Err(Rejected { from, transport, why }),
    };
    // Fails only when the endpoint is gone, and then nobody wants it.
    let _ = arrivals.send(arrival).await;
}

/// Reports without waiting: under a flood the caller need not learn of each.
fn report(arrivals: &mpsc::Sender<Arrival>, from: SocketAddr, transport: Transport, why: NetError) {
    let _ = arrivals.try_send(Err(Rejected { from, transport, why }));
}

/// The handshakes of one transport: so many in all, so many for one address.
struct Seats {
    all: Arc<Semaphore>,
    all_max: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each_max: usize,
    begun: Begun,
}

impl Seats {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.handshakes_max)),
            all_max: limits.handshakes_max,
            taken: Arc::default(),
            each_max: limits.handshakes_per_address_max,
            begun: Begun::new(limits),
        }
    }

    async fn free(&self) -> OwnedSemaphorePermit {
        let permit = self.all.clone().acquire_owned().await;
        permit.expect("nobody closes the semaphore")
    }

    fn are_short(&self) -> bool {
        self.all.available_permits() < self.all_max / 2
    }

    fn take(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Result<Seat, NetError> {
        if !self.begun.may_begin(address, Instant::now()) {
            let address = network(address);
            return Err(NetError::TooManyHandshakes { address, limit: self.each_max });
        }
        self.take_uncounted(permit, address)
    }

    fn take_uncounted(
        &self,
        permit: OwnedSemaphorePermit,
        address: IpAddr,
    ) -> Result<Seat, NetError> {
        let address = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= self.each_max {
            return Err(NetError::TooManyHandshakes { address, limit: self.each_max });
        }
        *count += 1;
        Ok(Seat { address, taken: self.taken.clone(), _permit: permit })
    }
}

/// How many handshakes each address begins: each costs this node some signatures.
struct Begun {
    /// Until when what an address began is paid for.
    until: Mutex<HashMap<IpAddr, Instant>>,
    at_once: Duration,
}

impl Begun {
    fn new(limits: &Limits) -> Self {
        let at_once = BEGUN_EACH * limits.handshakes_per_address_begun;
        Self { until: Mutex::default(), at_once }
    }

    fn may_begin(&self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let mut known = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADDRESSES_KNOWN {
            known.retain(|_, until| *until > now);
        }
        if known.len() >= ADDRESSES_KNOWN && !known.contains_key(&address) {
            return true;
        }
        let until = known.entry(address).or_insert(now);
        let paid = (*until).max(now) + BEGUN_EACH;
        let may = paid <= now + self.at_once;
        if may {
            *until = paid;
        }
        may
    }
}

/// Held while a handshake runs, and until its outcome is handed over.
struct Seat {
    address: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & IPV6_NETWORK)),
    }
}

/// Binds both sockets on one port. With port 0 the system picks it for TCP, and UDP follows.
pub(crate) fn open_sockets(
    listen: SocketAddr,
    tcp_on: bool,
    quic_on: bool,
) -> Result<(Option<TcpListener>, Option<std::net::UdpSocket>, SocketAddr), NetError> {
    /// The picked port may be taken for UDP; then another is picked, this often at most.
    const PICKS_MAX: usize = 16;
    let bind =
        |transport| move |source: io::Error| NetError::Bind { address: listen, transport, source };
    let mut pick = 0;
    loop {
        pick += 1;
        let mut address = listen;
        let listener = tcp_on.then(|| tcp::listen(listen)).transpose();
        let listener = listener.map_err(bind(Transport::Tcp))?;
        if let Some(listener) = &listener {
            address = listener.local_addr().map_err(bind(Transport::Tcp))?;
        }
        let socket = quic_on.then(|| quic::bind(address)).transpose();
        match socket {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && listen.port() == 0
                    && pick < PICKS_MAX => {}
            Err(error) => return Err(bind(Transport::Quic)(error)),
            Ok(socket) => {
                if let Some(socket) = &socket {
                    address = socket.local_addr().map_err(bind(Transport::Quic))?;
                }
                return Ok((listener, socket, address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGUN_EACH, Begun};
    use crate::endpoint::Limits;
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    #[test]
    fn an_address_begins_some_handshakes_at_once_and_then_a_few_a_second() {
        let limits = Limits { handshakes_per_address_begun: 5, ..Limits::default() };
        let (begun, now) = (Begun::new(&limits), Instant::now());
        let [one, other]: [IpAddr; 2] =
            ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!((0..10).filter(|_| begun.may_begin(one, now)).count(), 5);
        assert!(begun.may_begin(other, now));
        assert!(!begun.may_begin(one, now + BEGUN_EACH - Duration::from_millis(1)));
        let later = now + 2 * BEGUN_EACH;
        assert_eq!((0..10).filter(|_| begun.may_begin(one, later)).count(), 2);
        assert_eq!((0..10).filter(|_| begun.may_begin(one, later + 50 * BEGUN_EACH)).count(), 5);
    }
}
