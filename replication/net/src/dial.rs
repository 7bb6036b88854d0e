//! Dialing: names to addresses, and which transport is tried when.
//! Never keeps a second connection: what completes too late is dropped.

use crate::accept::canonical;
use crate::connection::{Connection, Transport};
use crate::endpoint::Shared;
use crate::error::{Attempt, NetError};
use crate::{quic, tcp};
use quar_base::ids::MemberId;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout_at};

/// Most addresses tried of one name.
const ADDRESSES_PER_NAME_MAX: usize = 4;

/// Which transport to dial with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preference {
    /// QUIC; TCP where QUIC does not answer.
    Quic,
    /// TCP; QUIC where TCP does not answer. For a peer whose UDP was filtered lately.
    Tcp,
    /// QUIC alone: to see whether UDP has healed, beside a TCP connection in use.
    OnlyQuic,
    /// TCP alone.
    OnlyTcp,
}

impl Preference {
    /// First and second choice.
    fn order(self) -> [Option<Transport>; 2] {
        match self {
            Self::Quic => [Some(Transport::Quic), Some(Transport::Tcp)],
            Self::Tcp => [Some(Transport::Tcp), Some(Transport::Quic)],
            Self::OnlyQuic => [Some(Transport::Quic), None],
            Self::OnlyTcp => [Some(Transport::Tcp), None],
        }
    }
}

/// One dial of one member.
pub(crate) struct Dial<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) peer: MemberId,
    pub(crate) deadline: Instant,
    attempts: Vec<Attempt>,
}

impl<'a> Dial<'a> {
    pub(crate) fn new(shared: &'a Shared, peer: MemberId) -> Self {
        Self { shared, peer, deadline: Instant::now() + shared.limits.dial, attempts: Vec::new() }
    }

    /// Tries the addresses in order, until one answers as `peer` or the deadline passes.
    pub(crate) async fn run(
        mut self,
        addresses: &[String],
        prefer: Preference,
    ) -> Result<Connection, NetError> {
        let mut order = prefer.order().into_iter().flatten();
        let mut order = order.by_ref().filter(|choice| self.shared.has(*choice));
        let Some(first) = order.next() else {
            return Err(NetError::NoTransport);
        };
        let order = (first, order.next());
        for address in addresses {
            for target in self.look_up(address).await {
                if let Some(connection) = self.try_address(target, order).await {
                    return Ok(connection);
                }
            }
        }
        Err(self.failure())
    }

    async fn look_up(&mut self, address: &str) -> Vec<SocketAddr> {
        let found = match timeout_at(self.deadline, lookup_host(address)).await {
            Ok(Ok(found)) => found.map(canonical).collect::<Vec<_>>(),
            Ok(Err(source)) => {
                let cause = NetError::Unresolved { source };
                self.failed(address.to_owned(), None, cause);
                return Vec::new();
            }
            Err(_) => {
                let source = std::io::ErrorKind::TimedOut.into();
                let cause = NetError::Unresolved { source };
                self.failed(address.to_owned(), None, cause);
                return Vec::new();
            }
        };
        found.into_iter().take(ADDRESSES_PER_NAME_MAX).collect()
    }

    /// The first choice gets a head start; if it fails sooner, the second starts at once. After
    /// that both run, and the first to complete stays.
    async fn try_address(
        &mut self,
        target: SocketAddr,
        (first, second): (Transport, Option<Transport>),
    ) -> Option<Connection> {
        let (shared, peer, deadline) = (self.shared, self.peer, self.deadline);
        let mut running = pin!(attempt(shared, peer, deadline, target, first));
        let Some(second) = second else {
            return self.keep(target, first, running.await);
        };
        let early = tokio::select! {
            biased;
            done = &mut running => Some(done),
            () = sleep(shared.limits.head_start) => None,
        };
        if let Some(done) = early {
            let silent = done.as_ref().is_err_and(NetError::is_silence);
            let kept = self.keep(target, first, done);
            if kept.is_some() || !silent {
                return kept;
            }
            let done = attempt(shared, peer, deadline, target, second).await;
            return self.keep(target, second, done);
        }
        let mut late = pin!(attempt(shared, peer, deadline, target, second));
        let (done, transport) = tokio::select! {
            biased;
            done = &mut running => (done, first),
            done = &mut late => (done, second),
        };
        if let Some(connection) = self.keep(target, transport, done) {
            return Some(connection);
        }
        if transport == first {
            self.keep(target, second, late.await)
        } else {
            self.keep(target, first, running.await)
        }
    }

    fn keep(
        &mut self,
        target: SocketAddr,
        transport: Transport,
        done: Result<Connection, NetError>,
    ) -> Option<Connection> {
        match done {
            Ok(connection) => {
                self.shared.remember(&connection);
                Some(connection)
            }
            Err(cause) => {
                self.failed(target.to_string(), Some(transport), cause);
                None
            }
        }
    }

    fn failed(&mut self, address: String, transport: Option<Transport>, cause: NetError) {
        tracing::debug!(peer = %self.peer, address, %cause, "dial failed");
        self.attempts.push(Attempt { address, transport, cause });
    }

    /// If anybody answered, what came of that tells more than the silence elsewhere.
    fn failure(mut self) -> NetError {
        let answered = |attempt: &Attempt| !attempt.cause.is_silence();
        match self.attempts.iter().position(answered) {
            Some(index) => self.attempts.swap_remove(index).cause,
            None => NetError::Unreachable { peer: self.peer, attempts: self.attempts },
        }
    }
}

async fn attempt(
    shared: &Shared,
    peer: MemberId,
    deadline: Instant,
    target: SocketAddr,
    transport: Transport,
) -> Result<Connection, NetError> {
    let limit = shared.limits.handshake;
    let until = deadline.min(Instant::now() + limit);
    let handshake = async {
        match (transport, &shared.quic) {
            (Transport::Quic, None) => Err(NetError::NoTransport),
            (Transport::Quic, Some(endpoint)) => {
                quic::dial(endpoint, target, peer, &shared.tls, &shared.limits).await
            }
            (Transport::Tcp, _) => {
                tcp::dial(target, shared.local, peer, &shared.tls, &shared.limits).await
            }
        }
    };
    timeout_at(until, handshake).await.unwrap_or(Err(NetError::HandshakeTimeout { limit }))
}
