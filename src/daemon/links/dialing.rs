//! Dialing a peer for as long as it is in the roster, and watching the connection with it.
//! Never decides which of two connections stays: `settle` does.
//!
//! ```text
//! none           dial, then after 0.1 s, 0.2 s ... 5 s; at once when the roster changes
//! over TCP       every 5 s: does QUIC answer by now? ─► moves there
//! over QUIC      no datagram for 0.75 s: does TCP answer? ─► moves there: UDP is filtered
//!                                        └─ no process listens ─► ended
//! ```

use crate::daemon::driver::Event;
use crate::daemon::links::{Links, is_offence};
use quar_base::ids::MemberId;
use quar_base::roster::Member;
use quar_net::{CloseReason, Closer, Preference, Transport};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;

/// Pause between dials of a peer that does not answer: the first, and the longest.
const DIAL_PAUSE_FIRST: Duration = Duration::from_millis(100);
const DIAL_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The higher member waits this much before it dials, so that usually only the lower one does.
const DIAL_COURTESY: Duration = Duration::from_millis(300);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often QUIC is tried while TCP is in use.
const HEAL_EVERY: Duration = Duration::from_secs(5);
/// A QUIC line on which nothing came for so long is in doubt. Probes go out every 400 ms.
const QUIET_MAX: Duration = Duration::from_millis(750);
/// But on a line that is slow, so many round trips.
const QUIET_ROUND_TRIPS: u32 = 3;
/// How often it is doubted.
const DOUBT_EVERY: Duration = Duration::from_secs(3);
/// Where nobody listens over TCP, a line that has been quiet for so much longer is over.
const DESERTED_AFTER: Duration = Duration::from_millis(1250);

/// What was seen of the connection in use.
#[derive(Default)]
struct Watch {
    number: u64,
    datagrams: u64,
    heard: Duration,
    /// When the other transport was tried last; QUIC: since something came.
    tried: Option<Duration>,
}

impl Links {
    /// Dials whenever there is no connection, for as long as the peer is in the roster.
    pub(super) async fn keep_dialing(self: Arc<Self>, peer: MemberId) {
        let mut roster_changed = self.roster_changed.subscribe();
        let mut pause = DIAL_PAUSE_FIRST;
        let mut watch = Watch::default();
        if self.me > peer {
            sleep(DIAL_COURTESY).await;
        }
        while let Some(member) = self.roster().member(peer).cloned() {
            if self.is_stopping.load(Ordering::Relaxed) {
                return;
            }
            if self.live().contains_key(&peer) {
                self.look_at(&member, &mut watch).await;
                pause = DIAL_PAUSE_FIRST;
                continue;
            }
            if !self.bans.is_banned(peer, self.clock.since_start()) {
                match self.endpoint.dial(&member.addresses, peer, Preference::Quic).await {
                    Ok(connection) => self.settle(connection).await,
                    Err(error) => {
                        tracing::debug!(peer = %member.name, %error, "dial failed");
                        if is_offence(&error) {
                            // Who answers at a member's address need not be that member.
                            let why = error.kind();
                            let _ = self.events.send(Event::Rejected { why, peer: None }).await;
                        }
                    }
                }
            }
            if self.live().contains_key(&peer) {
                continue;
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(DIAL_PAUSE_MAX),
                _ = roster_changed.changed() => pause = DIAL_PAUSE_FIRST,
            }
        }
    }

    /// One look at the connection in use, and a pause.
    async fn look_at(self: &Arc<Self>, member: &Member, watch: &mut Watch) {
        sleep(LOOK_EVERY).await;
        let now = self.clock.since_start();
        let found = self
            .live()
            .get(&member.id)
            .map(|link| (link.number, link.transport, link.closer.clone()));
        let Some((number, transport, closer)) = found else { return };
        if watch.number != number {
            *watch = Watch { number, datagrams: 0, heard: now, tried: None };
            if transport == Transport::Tcp {
                watch.tried = Some(now);
            }
        }
        let tried = watch.tried;
        let is_due = |every| tried.is_none_or(|at| now.saturating_sub(at) >= every);
        match transport {
            Transport::Tcp => {
                if is_due(HEAL_EVERY) {
                    self.try_to_heal(member, &closer).await;
                    watch.tried = Some(self.clock.since_start());
                }
            }
            Transport::Quic => {
                let datagrams = closer.datagrams_received().unwrap_or(watch.datagrams);
                if datagrams != watch.datagrams {
                    (watch.datagrams, watch.heard, watch.tried) = (datagrams, now, None);
                }
                let round_trips = closer.round_trip().unwrap_or_default() * QUIET_ROUND_TRIPS;
                let is_quiet = now.saturating_sub(watch.heard) >= QUIET_MAX.max(round_trips);
                if is_quiet && is_due(DOUBT_EVERY) {
                    watch.tried = Some(now);
                    self.doubt(member, &closer, datagrams).await;
                }
            }
        }
    }

    /// Moves from TCP to QUIC where that answers by now.
    async fn try_to_heal(self: &Arc<Self>, member: &Member, closer: &Closer) {
        let over = async {
            while closer.is_open() {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            healed = self.endpoint.dial(&member.addresses, member.id, Preference::OnlyQuic) => {
                if let Ok(connection) = healed {
                    self.settle(connection).await;
                }
            }
            () = over => {}
        }
    }

    /// Moves from a QUIC line on which nothing comes to TCP where that answers, or ends it where
    /// nobody listens.
    async fn doubt(self: &Arc<Self>, member: &Member, closer: &Closer, datagrams: u64) {
        let heard_again = async {
            while closer.datagrams_received() == Some(datagrams) {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::pin!(heard_again);
        let dialed = tokio::select! {
            () = &mut heard_again => return,
            dialed = self.endpoint.dial(&member.addresses, member.id, Preference::OnlyTcp) => dialed,
        };
        match dialed {
            Ok(connection) => {
                tracing::info!(peer = %member.name, "nothing comes over QUIC, TCP answers");
                self.settle(connection).await;
            }
            Err(error) if error.is_deserted() => tokio::select! {
                () = &mut heard_again => {}
                () = sleep(DESERTED_AFTER) => {
                    tracing::info!(peer = %member.name, "nothing comes, and nobody listens");
                    closer.close(CloseReason::Done);
                }
            },
            Err(_) => {}
        }
    }
}
