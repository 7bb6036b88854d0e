//! What this node believes the time to be, next to its peers' clocks.
//! Never sets a clock: it corrects stamps and cutoffs, and says when a day's bytes may go.
//!
//! ```text
//! cutoff     by the median of all clocks when this one is more than 5 s off it
//! stamps     by the median when this one is more than 1 h off it; with nobody heard, not before the
//!            time at which this node last ran
//! median     of two middle ones the nearer to this clock, or the farther when this one has jumped
//! unlinking  when this clock and most members heard within the hour agree on the day; with none heard, when this
//!            clock has run for two days since it last went an hour forward or back at once
//! ```

use quar_base::ids::MemberId;
use quar_base::time::{Day, UnixMillis};
use quar_store::LastSeen;
use std::collections::BTreeMap;

const CUTOFF_TOLERANCE_MS: i64 = 5_000;
const STAMP_TOLERANCE_MS: i64 = 3_600_000;
const HEARD_WITHIN_MS: u64 = 3_600_000;
/// Two ticks further apart than this, or backwards, are a jump.
const JUMP_MS: u64 = 48 * 3_600_000;
/// Two ticks further apart than this may be one, or this node did not run meanwhile: nobody can tell.
const GAP_MS: u64 = 3_600_000;

/// A peer's clock as last heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    offset_ms: i64,
    at: UnixMillis,
}

/// All clocks this node knows of.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    peers: BTreeMap<MemberId, Heard>,
    last_tick: Option<UnixMillis>,
    jumped_at: Option<UnixMillis>,
    gap_at: Option<UnixMillis>,
    /// When this node last ran, until the first tick.
    last_seen: Option<UnixMillis>,
    /// The first tick, and how far this clock lay behind that: it was set back meanwhile.
    set_back: Option<(UnixMillis, u64)>,
}

impl Clocks {
    /// Starts from the time at which this node was last known to run. When that is not known, the
    /// clock may have jumped.
    pub(crate) fn since(seen: Option<LastSeen>) -> Self {
        let last_seen = seen.map(|seen| seen.at);
        let gap_at = seen.and_then(|seen| seen.doubted_since);
        let last_tick = last_seen.or(Some(UnixMillis(0)));
        Self { last_tick, last_seen, gap_at, ..Self::default() }
    }

    /// What is to be known at the next start. A restart makes no clock believable that is not.
    pub(crate) fn last_seen(&self, now: UnixMillis) -> LastSeen {
        let is_alone = !self.peers.values().any(|heard| is_recent(heard, now));
        // The clock may have gone since the last tick, or there was none yet.
        let is_gap = |last: UnixMillis| (now - last).0 > GAP_MS || (last - now).0 > GAP_MS;
        let gap_at = self.last_tick.is_some_and(is_gap).then_some(now).or(self.gap_at);
        let doubted_since = gap_at.filter(|_| is_alone && was_lately(gap_at, now));
        LastSeen { at: self.stamp_time(now), doubted_since }
    }

    /// A peer's clock stands this far ahead of ours.
    pub(crate) fn heard(&mut self, peer: MemberId, offset_ms: i64, now: UnixMillis) {
        self.peers.insert(peer, Heard { offset_ms, at: now });
    }

    pub(crate) fn offset_ms(&self, peer: MemberId) -> Option<i64> {
        self.peers.get(&peer).map(|heard| heard.offset_ms)
    }

    pub(crate) fn tick(&mut self, now: UnixMillis) {
        if let Some(last_seen) = self.last_seen.take() {
            self.set_back = Some((now, (last_seen - now).0));
        }
        if let Some(last) = self.last_tick {
            let forward = (now - last).0;
            let back = (last - now).0;
            if forward > JUMP_MS || back > HEARD_WITHIN_MS {
                self.jumped_at = Some(now);
            }
            if forward > GAP_MS || back > GAP_MS {
                self.gap_at = Some(now);
            }
        }
        self.last_tick = Some(now);
    }

    /// The time by which cutoffs are computed.
    pub(crate) fn cutoff_time(&self, now: UnixMillis) -> UnixMillis {
        self.corrected(now, CUTOFF_TOLERANCE_MS)
    }

    /// The time with which records are stamped, and by which days are kept.
    pub(crate) fn stamp_time(&self, now: UnixMillis) -> UnixMillis {
        // Mail that a lone node stamps with a day long gone would expire as soon as peers are met.
        // Or it is the earlier run whose clock was wrong: steady running makes this one believable.
        let is_alone = !self.peers.values().any(|heard| is_recent(heard, now));
        match self.set_back {
            Some((first, behind_ms)) if is_alone && (now - first).0 < JUMP_MS => {
                UnixMillis(now.0.saturating_add(behind_ms))
            }
            _ => self.corrected(now, STAMP_TOLERANCE_MS),
        }
    }

    /// Whether bytes of a day that the retention lets go may be unlinked.
    pub(crate) fn is_corroborated(&self, now: UnixMillis) -> bool {
        let mine = self.stamp_time(now).day();
        let mut heard = 0;
        let mut agreeing = 0;
        for peer in self.peers.values().filter(|heard| is_recent(heard, now)) {
            heard += 1;
            let theirs: Day = moved(now, peer.offset_ms).day();
            if theirs >= mine {
                agreeing += 1;
            }
        }
        if heard == 0 {
            return self.last_tick.is_some() && !was_lately(self.gap_at, now);
        }
        // Who follows a peer's clock believes it for stamps; for what cannot be undone its own has to agree.
        now.day() >= mine && agreeing * 2 > heard
    }

    /// Whether this clock jumped, and has not run steadily long enough since to be believed again.
    fn has_jumped(&self, now: UnixMillis) -> bool {
        was_lately(self.jumped_at, now)
    }

    fn corrected(&self, now: UnixMillis, tolerance_ms: i64) -> UnixMillis {
        let median = self.median_offset(now);
        if median.abs() > tolerance_ms { moved(now, median) } else { now }
    }

    /// The median over this clock (offset 0) and those heard within the hour. Two middle ones stand
    /// word against word: the nearer to ours counts, unless ours jumped and theirs need not have.
    fn median_offset(&self, now: UnixMillis) -> i64 {
        let recent = self.peers.values().filter(|heard| is_recent(heard, now));
        let mut offsets: Vec<i64> = recent.map(|heard| heard.offset_ms).collect();
        offsets.push(0);
        offsets.sort_unstable();
        let (low, high) = (offsets[(offsets.len() - 1) / 2], offsets[offsets.len() / 2]);
        let low_is_nearer = low.abs() <= high.abs();
        if low_is_nearer != self.has_jumped(now) { low } else { high }
    }
}

fn was_lately(at: Option<UnixMillis>, now: UnixMillis) -> bool {
    at.is_some_and(|at| now >= at && (now - at).0 < JUMP_MS)
}

fn is_recent(heard: &Heard, now: UnixMillis) -> bool {
    (now - heard.at).0 <= HEARD_WITHIN_MS && (heard.at - now).0 <= HEARD_WITHIN_MS
}

fn moved(time: UnixMillis, offset_ms: i64) -> UnixMillis {
    UnixMillis(time.0.saturating_add_signed(offset_ms))
}

#[cfg(test)]
mod tests {
    use super::{Clocks, JUMP_MS};
    use quar_base::ids::MemberId;
    use quar_base::time::UnixMillis;
    use quar_store::LastSeen;

    const NOW: UnixMillis = UnixMillis(1_795_420_800_000);
    const YEAR_MS: i64 = 365 * 86_400_000;

    fn since(last_seen_ms: u64) -> Clocks {
        Clocks::since(Some(LastSeen::at(UnixMillis(last_seen_ms))))
    }

    fn clocks(offsets: &[i64]) -> Clocks {
        let mut clocks = Clocks::since(Some(LastSeen::at(NOW)));
        for (number, offset) in offsets.iter().enumerate() {
            clocks.heard(MemberId([number as u8; 16]), *offset, NOW);
        }
        clocks.tick(NOW);
        clocks
    }

    #[test]
    fn a_clock_a_year_ahead_follows_its_peers() {
        let ahead = clocks(&[-YEAR_MS, -YEAR_MS + 3]);
        assert_eq!(ahead.stamp_time(NOW), UnixMillis(NOW.0 - YEAR_MS as u64 + 3));
        let healthy = clocks(&[YEAR_MS, 2]);
        assert_eq!(healthy.stamp_time(NOW), NOW);
        assert_eq!(healthy.cutoff_time(NOW), NOW);
    }

    #[test]
    fn a_clock_that_jumped_gives_way_to_the_first_peer_heard() {
        for skew in [YEAR_MS, -YEAR_MS] {
            let now = UnixMillis(NOW.0.saturating_add_signed(skew));
            let mut jumped = Clocks::since(Some(LastSeen::at(NOW)));
            jumped.tick(now);
            jumped.heard(MemberId([1; 16]), -skew, now);
            assert_eq!(jumped.stamp_time(now), NOW, "one peer, who contradicts");
            jumped.heard(MemberId([2; 16]), -skew + 4, now);
            assert!(jumped.stamp_time(now).0.abs_diff(NOW.0) <= 4);
            let mut steady = Clocks::since(Some(LastSeen::at(NOW)));
            steady.tick(NOW);
            steady.heard(MemberId([3; 16]), skew, NOW);
            assert_eq!(
                steady.stamp_time(NOW),
                NOW,
                "the peer whose clock is steady follows nobody"
            );
        }
    }

    #[test]
    fn a_lone_node_whose_clock_was_set_back_stamps_no_day_that_is_over() {
        let mut lone = Clocks::since(Some(LastSeen::at(NOW)));
        let back = UnixMillis(NOW.0 - YEAR_MS as u64);
        lone.tick(back);
        assert_eq!(lone.stamp_time(back), NOW);
        assert_eq!(lone.stamp_time(UnixMillis(back.0 + 5)), UnixMillis(NOW.0 + 5));
        let steady = UnixMillis(back.0 + JUMP_MS);
        assert_eq!(lone.stamp_time(steady), steady);
        lone.heard(MemberId([1; 16]), YEAR_MS + 7, back);
        lone.heard(MemberId([2; 16]), YEAR_MS + 7, back);
        assert_eq!(lone.stamp_time(back), UnixMillis(NOW.0 + 7));
    }

    #[test]
    fn half_a_minute_moves_the_cutoff_but_not_the_stamps() {
        let slow = clocks(&[30_000, 30_500]);
        assert_eq!(slow.stamp_time(NOW), NOW);
        assert_eq!(slow.cutoff_time(NOW), UnixMillis(NOW.0 + 30_000));
    }

    #[test]
    fn nothing_is_unlinked_on_the_word_of_a_clock_that_peers_contradict() {
        assert!(!clocks(&[-YEAR_MS]).is_corroborated(NOW));
        assert!(clocks(&[0, 5]).is_corroborated(NOW));
    }

    #[test]
    fn nothing_is_unlinked_on_the_word_of_one_peer_that_this_clock_contradicts() {
        let mut fresh = Clocks::since(None);
        fresh.tick(NOW);
        fresh.heard(MemberId([1; 16]), YEAR_MS, NOW);
        assert_eq!(fresh.stamp_time(NOW), UnixMillis(NOW.0 + YEAR_MS as u64));
        assert!(!fresh.is_corroborated(NOW));
    }

    #[test]
    fn a_lone_node_whose_clock_jumped_waits() {
        let mut lone = since(NOW.0 - YEAR_MS as u64);
        lone.tick(NOW);
        assert!(!lone.is_corroborated(UnixMillis(NOW.0 + 1)));
        assert!(lone.is_corroborated(UnixMillis(NOW.0 + 49 * 3_600_000)));
        // By less than a node may have been off.
        let mut hours = since(NOW.0 - 30 * 3_600_000);
        hours.tick(NOW);
        assert!(!hours.is_corroborated(NOW));
        assert!(hours.is_corroborated(UnixMillis(NOW.0 + JUMP_MS)));
        let untold = since(NOW.0 - 30 * 3_600_000);
        assert_eq!(untold.last_seen(NOW).doubted_since, Some(NOW), "stopped before its first tick");
        let mut restarted = Clocks::since(Some(hours.last_seen(UnixMillis(NOW.0 + 60_000))));
        restarted.tick(UnixMillis(NOW.0 + 120_000));
        assert!(!restarted.is_corroborated(UnixMillis(NOW.0 + 120_000)));
        let late = UnixMillis(NOW.0 + JUMP_MS);
        assert!(restarted.is_corroborated(late));
        assert_eq!(restarted.last_seen(late), LastSeen::at(late));
        let mut unknown = Clocks::since(None);
        unknown.tick(NOW);
        assert!(!unknown.is_corroborated(NOW));
        let mut steady = since(NOW.0 - 60_000);
        steady.tick(NOW);
        assert!(steady.is_corroborated(NOW));
    }
}
