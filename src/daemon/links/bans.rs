//! Peers that break the rules again and again: kept out for a while, longer each time.
//! Never for what one damaged item or one broken line explains: a number of offences is forgiven.

use quar_base::ids::MemberId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// An offence that ends a connection counts as so many that do not.
const BREAK_POINTS: u32 = 4;
/// What an offence cost counts too: so much of the node task's time as one point, up to so many. A body of 64 MiB
/// that is another one takes some 80 ms to tell.
const POINT_COST: Duration = Duration::from_millis(4);
const COST_POINTS_MAX: u128 = 15;
/// Points that are forgiven at once.
const POINTS_MAX: u32 = 32;
/// After so long, one point less.
const POINT_FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// How long a peer is kept out: the first time, and at most.
const BAN_FIRST: Duration = Duration::from_secs(10);
const BAN_MAX: Duration = Duration::from_secs(600);

/// What is remembered of one peer.
#[derive(Default)]
struct Record {
    points: u32,
    /// Until when points have been forgiven.
    counted: Duration,
    until: Duration,
    last_ban: Duration,
}

impl Record {
    fn forgive(&mut self, now: Duration) {
        let gone = now.saturating_sub(self.counted).as_secs() / POINT_FORGIVEN_AFTER.as_secs();
        let gone = u32::try_from(gone).unwrap_or(u32::MAX);
        self.counted += POINT_FORGIVEN_AFTER.saturating_mul(gone);
        self.points = self.points.saturating_sub(gone);
        if self.points == 0 {
            self.counted = now;
        }
    }

    /// Whether the peer is kept out from now on.
    fn add(&mut self, points: u32, now: Duration) -> bool {
        self.forgive(now);
        self.points += points;
        if self.points <= POINTS_MAX {
            return false;
        }
        self.points = POINTS_MAX;
        if now >= self.until {
            self.last_ban = (self.last_ban * 2).clamp(BAN_FIRST, BAN_MAX);
            self.until = now + self.last_ban;
        }
        true
    }
}

/// All peers with offences. Times are the process's own.
#[derive(Default)]
pub(super) struct Bans(Mutex<HashMap<MemberId, Record>>);

impl Bans {
    /// One item of a peer was refused as no honest peer's, which took so long. Whether that is enough.
    pub(super) fn offended(&self, peer: MemberId, cost: Duration, now: Duration) -> bool {
        let points = (cost.as_nanos() / POINT_COST.as_nanos()).min(COST_POINTS_MAX);
        self.add(peer, 1 + points as u32, now)
    }

    /// A peer broke the protocol, and its connection ended for it.
    pub(super) fn broke_off(&self, peer: MemberId, now: Duration) {
        self.add(peer, BREAK_POINTS, now);
    }

    pub(super) fn is_banned(&self, peer: MemberId, now: Duration) -> bool {
        !self.left(peer, now).is_zero()
    }

    /// How long a peer is still kept out.
    pub(super) fn left(&self, peer: MemberId, now: Duration) -> Duration {
        self.all().get(&peer).map_or(Duration::ZERO, |record| record.until.saturating_sub(now))
    }

    fn add(&self, peer: MemberId, points: u32, now: Duration) -> bool {
        let mut all = self.all();
        let record = all.entry(peer).or_default();
        let was_out = now < record.until;
        let is_out = record.add(points, now);
        if is_out && !was_out {
            let seconds = record.last_ban.as_secs();
            tracing::warn!(%peer, seconds, "a peer broke the rules too often and is kept out");
        }
        is_out
    }

    fn all(&self) -> MutexGuard<'_, HashMap<MemberId, Record>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::{BAN_FIRST, BAN_MAX, BREAK_POINTS, Bans, POINT_FORGIVEN_AFTER, POINTS_MAX};
    use quar_base::ids::MemberId;
    use std::time::Duration;

    const PEER: MemberId = MemberId([2; 16]);
    const NOW: Duration = Duration::from_secs(1000);
    const QUICK: Duration = Duration::from_micros(100);

    #[test]
    fn what_took_long_to_find_out_counts_more() {
        let bans = Bans::default();
        let long = Duration::from_millis(80);
        assert!(!bans.offended(PEER, long, NOW));
        assert!(!bans.offended(PEER, Duration::from_secs(9), NOW), "a pause of the machine");
        assert!(bans.offended(PEER, QUICK, NOW));
        assert!(!bans.offended(MemberId([3; 16]), long, NOW));
    }

    #[test]
    fn some_offences_are_forgiven_and_more_keep_a_peer_out_for_longer_each_time() {
        let bans = Bans::default();
        assert!((0..POINTS_MAX).all(|_| !bans.offended(PEER, QUICK, NOW)));
        assert!(!bans.is_banned(PEER, NOW));
        assert!(bans.offended(PEER, QUICK, NOW));
        let (mut now, mut ban) = (NOW, BAN_FIRST);
        for _ in 0..10 {
            assert!(bans.is_banned(PEER, now + ban - Duration::from_millis(1)));
            assert!(!bans.is_banned(PEER, now + ban));
            assert!(!bans.is_banned(MemberId([3; 16]), now));
            now += ban;
            // What was forgiven meanwhile is used up again.
            while !bans.offended(PEER, QUICK, now) {}
            ban = (ban * 2).min(BAN_MAX);
        }
    }

    #[test]
    fn an_offence_now_and_then_keeps_nobody_out() {
        let bans = Bans::default();
        let pause = POINT_FORGIVEN_AFTER * BREAK_POINTS;
        for at in 0..1000 {
            bans.broke_off(PEER, NOW + pause * at);
            assert!(!bans.is_banned(PEER, NOW + pause * at));
        }
    }
}
