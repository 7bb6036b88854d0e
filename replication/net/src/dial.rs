//! Dialing: names to addresses, and which of them is tried when, over which transport.
//! Never keeps a second connection: what completes too late is dropped.
//!
//! ```text
//! look-ups, all at once ─► addresses in order ─► 200 ms apart, or when one fails ─► the first that answers
//!                                                   each: QUIC, and TCP beside it 200 ms later
//! ```

use crate::accept::canonical;
use crate::connection::{Connection, Transport};
use crate::endpoint::Shared;
use crate::error::{Attempt, NetError};
use crate::{quic, tcp};
use quar_base::ids::MemberId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Most addresses tried of one name.
const ADDRESSES_PER_NAME_MAX: usize = 4;

/// Which transport to dial with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preference {
    /// QUIC, and TCP where QUIC does not answer; the other way round where TCP worked last.
    Quic,
    /// TCP; QUIC where TCP does not answer.
    Tcp,
    /// QUIC alone: to see whether UDP has healed, beside a TCP connection in use.
    OnlyQuic,
    /// TCP alone.
    OnlyTcp,
}

impl Preference {
    /// First and second choice.
    fn order(self, worked: Option<Transport>) -> [Option<Transport>; 2] {
        match self {
            Self::Quic if worked == Some(Transport::Tcp) => Self::Tcp.order(None),
            Self::Quic => [Some(Transport::Quic), Some(Transport::Tcp)],
            Self::Tcp => [Some(Transport::Tcp), Some(Transport::Quic)],
            Self::OnlyQuic => [Some(Transport::Quic), None],
            Self::OnlyTcp => [Some(Transport::Tcp), None],
        }
    }
}

/// What every attempt of one dial needs.
#[derive(Clone)]
struct Dial {
    shared: Arc<Shared>,
    peer: MemberId,
    deadline: Instant,
    order: (Transport, Option<Transport>),
}

/// Place of an address in the order of trying: the name's, then the look-up's.
type Rank = (usize, usize);

/// What one of the tasks found.
enum Step {
    /// What a name stands for.
    Found(usize, Vec<SocketAddr>),
    Connected(usize, Box<Connection>),
    Failed(Vec<Attempt>),
}

/// Tries the addresses until one answers as `peer` or the deadline passes.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    peer: MemberId,
    addresses: &[String],
    prefer: Preference,
) -> Result<Connection, NetError> {
    let worked = shared.worked(peer);
    let order = prefer.order(worked.as_ref().map(|(_, transport)| *transport));
    let mut order = order.into_iter().flatten().filter(|choice| shared.has(*choice));
    let Some(first) = order.next() else {
        return Err(NetError::NoTransport);
    };
    let order = (first, order.next());
    let deadline = Instant::now() + shared.limits.dial;
    let mut names = addresses.to_vec();
    if let Some((address, _)) = worked {
        names.sort_by_key(|name| *name != address);
    }
    let dial = Dial { shared: shared.clone(), peer, deadline, order };
    dial.try_all(&names).await
}

impl Dial {
    async fn try_all(self, names: &[String]) -> Result<Connection, NetError> {
        let mut running = JoinSet::new();
        for (at, name) in names.iter().enumerate() {
            running.spawn(self.clone().look_up(at, name.clone()));
        }
        let mut waiting: BTreeMap<Rank, SocketAddr> = BTreeMap::new();
        let mut attempts = Vec::new();
        let mut next_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_at
                && let Some(((at, _), target)) = waiting.pop_first()
            {
                running.spawn(self.clone().try_address(at, target));
                next_at = now + self.shared.limits.head_start;
            }
            if running.is_empty() && waiting.is_empty() {
                return Err(self.failure(attempts));
            }
            tokio::select! {
                biased;
                Some(step) = running.join_next() => match step {
                    Ok(Step::Connected(at, connection)) => {
                        let transport = connection.transport;
                        self.shared.remember(&connection);
                        self.shared.note_worked(self.peer, names[at].clone(), transport);
                        return Ok(*connection);
                    }
                    Ok(Step::Found(at, found)) => {
                        waiting.extend(found.into_iter().enumerate().map(|(n, to)| ((at, n), to)));
                    }
                    Ok(Step::Failed(failed)) => {
                        attempts.extend(failed);
                        next_at = now;
                    }
                    // Nobody aborts an attempt, and none of them panics.
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(next_at), if !waiting.is_empty() => {}
            }
        }
    }

    async fn look_up(self, at: usize, name: String) -> Step {
        let source = match timeout_at(self.deadline, lookup_host(&name)).await {
            Ok(Ok(found)) => {
                let found = found.map(canonical).take(ADDRESSES_PER_NAME_MAX);
                return Step::Found(at, found.collect());
            }
            Ok(Err(source)) => source,
            Err(_) => std::io::ErrorKind::TimedOut.into(),
        };
        Step::Failed(vec![self.failed(name, None, NetError::Unresolved { source })])
    }

    /// The first choice gets a head start; if it fails sooner, the second starts at once. After
    /// that both run, and the first to complete stays.
    async fn try_address(self, at: usize, target: SocketAddr) -> Step {
        let (first, second) = self.order;
        let mut failed = Vec::new();
        let mut running = pin!(self.attempt(target, first));
        let early = match second {
            None => Some(running.as_mut().await),
            Some(_) => tokio::select! {
                biased;
                done = &mut running => Some(done),
                () = sleep(self.shared.limits.head_start) => None,
            },
        };
        let is_first_over = early.is_some();
        if let Some(done) = early {
            match done {
                Ok(connection) => return Step::Connected(at, Box::new(connection)),
                Err(cause) => {
                    let silent = cause.is_silence();
                    failed.push(self.failed(target.to_string(), Some(first), cause));
                    if !silent {
                        return Step::Failed(failed);
                    }
                }
            }
        }
        let Some(second) = second else { return Step::Failed(failed) };
        let mut late = pin!(self.attempt(target, second));
        let mut left = [!is_first_over, true];
        while left != [false, false] {
            let (done, transport) = tokio::select! {
                biased;
                done = &mut running, if left[0] => (done, first),
                done = &mut late, if left[1] => (done, second),
            };
            match done {
                Ok(connection) => return Step::Connected(at, Box::new(connection)),
                Err(cause) => {
                    failed.push(self.failed(target.to_string(), Some(transport), cause));
                    left[usize::from(transport == second)] = false;
                }
            }
        }
        Step::Failed(failed)
    }

    async fn attempt(
        &self,
        target: SocketAddr,
        transport: Transport,
    ) -> Result<Connection, NetError> {
        let (shared, peer) = (&*self.shared, self.peer);
        let limit = shared.limits.handshake;
        let until = self.deadline.min(Instant::now() + limit);
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

    fn failed(&self, address: String, transport: Option<Transport>, cause: NetError) -> Attempt {
        tracing::debug!(peer = %self.peer, address, %cause, "dial failed");
        Attempt { address, transport, cause }
    }

    /// If anybody answered, what came of that tells more than the silence elsewhere.
    fn failure(&self, mut attempts: Vec<Attempt>) -> NetError {
        let answered = |attempt: &Attempt| !attempt.cause.is_silence();
        match attempts.iter().position(answered) {
            Some(index) => attempts.swap_remove(index).cause,
            None => NetError::Unreachable { peer: self.peer, attempts },
        }
    }
}
