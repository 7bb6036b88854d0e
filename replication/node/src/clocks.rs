//! What this node believes the time to be, next to its peers' clocks.
//! Never sets a clock: it corrects stamps and cutoffs, and says when a day's bytes may go.
//!
//! ```text
//! cutoff     by the median of all clocks when this one is more than 5 s off it
//! stamps     by the median when this one is more than 1 h off it; with nobody heard, not before the
//!            time at which this node last ran, unless most members told the same time since
//! median     of two middle ones the nearer to this clock, or the farther when this one has jumped; for cutoffs the
//!            earlier one while they are within the hour: whoever goes by another cutoff is never compared with
//! unlinking  when this clock and most members heard within the hour agree on the day; with none heard, when this
//!            clock is not in doubt. In the first hour, and while it is, most of all members have to agree
//! doubt      for two days after this clock went more than an hour at once while the node ran, or more than two
//!            days, or an hour back, while it did not; or until most members tell the same time
//! ```

use quar_base::ids::MemberId;
use quar_base::time::UnixMillis;
use quar_store::LastSeen;
use std::collections::BTreeMap;

const CUTOFF_TOLERANCE_MS: i64 = 5_000;
const STAMP_TOLERANCE_MS: i64 = 3_600_000;
const HEARD_WITHIN_MS: u64 = 3_600_000;
/// A greeting that waited somewhere makes a clock look slow, never fast, and none waits longer than this: what is so
/// little slower than was told before counts when nothing faster was told for as long, and then the fastest of it.
const WAIT_MS_MAX: u64 = 60_000;
/// Two ticks further apart than this, or backwards, are a jump.
const JUMP_MS: u64 = 48 * 3_600_000;
/// Two ticks further apart than this are one for unlinking. Across a restart of a node that is the only member they are
/// none: it may have been switched off for a night, and nobody can tell.
const GAP_MS: u64 = 3_600_000;

/// A peer's clock as last heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    offset_ms: i64,
    /// Since when it told only of less, and the most of that.
    slower: Option<(UnixMillis, i64)>,
    /// When it was heard last.
    at: UnixMillis,
}

/// All clocks this node knows of.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// Members of the roster, this node among them.
    members: usize,
    peers: BTreeMap<MemberId, Heard>,
    last_tick: Option<UnixMillis>,
    jumped_at: Option<UnixMillis>,
    /// When this clock last went too far at once, if most members have not told the same time since.
    doubted_since: Option<UnixMillis>,
    first_tick: Option<UnixMillis>,
    /// When this node last ran, until the first tick.
    last_seen: Option<UnixMillis>,
    /// The first tick, and how far this clock lay behind that: it was set back meanwhile. Less as it is set forward.
    set_back: Option<(UnixMillis, u64)>,
}

impl Clocks {
    /// Starts from the time at which this node was last known to run. When that is not known, the
    /// clock may have jumped.
    pub(crate) fn since(seen: Option<LastSeen>, members: usize) -> Self {
        let last_seen = seen.map(|seen| seen.at);
        let doubted_since = seen.and_then(|seen| seen.doubted_since);
        let last_tick = last_seen.or(Some(UnixMillis(0)));
        Self { members, last_tick, last_seen, doubted_since, ..Self::default() }
    }

    /// The roster has so many members from now on.
    pub(crate) fn set_members(&mut self, members: usize) {
        self.members = members;
    }

    /// What is to be known at the next start. A restart makes no clock believable that is not.
    pub(crate) fn last_seen(&self, now: UnixMillis) -> LastSeen {
        let doubted_since = self.doubted_since(now).filter(|since| was_lately(Some(*since), now));
        LastSeen { at: self.stamp_time(now), doubted_since }
    }

    /// A peer's clock stands this far ahead of ours.
    pub(crate) fn heard(&mut self, peer: MemberId, offset_ms: i64, now: UnixMillis) {
        let new = Heard { offset_ms, slower: None, at: now };
        let heard = self.peers.entry(peer).or_insert(new);
        // After a silence one that waited may be the first again.
        if (now - heard.at).0 >= WAIT_MS_MAX {
            heard.slower = None;
        }
        heard.at = now;
        let slower_ms = heard.offset_ms.saturating_sub(offset_ms);
        if slower_ms <= 0 || slower_ms as u64 > WAIT_MS_MAX {
            *heard = new;
            return;
        }
        let (since, fastest) = heard.slower.unwrap_or((now, offset_ms));
        let fastest = fastest.max(offset_ms);
        // This clock may have been set back since.
        let is_lately = now >= since && (now - since).0 < WAIT_MS_MAX;
        *heard = match is_lately {
            true => Heard { slower: Some((since, fastest)), ..*heard },
            false => Heard { offset_ms: fastest, ..new },
        };
    }

    pub(crate) fn offset_ms(&self, peer: MemberId) -> Option<i64> {
        self.peers.get(&peer).map(|heard| heard.offset_ms)
    }

    pub(crate) fn tick(&mut self, now: UnixMillis) {
        if let Some(last_seen) = self.last_seen.take() {
            self.set_back = Some((now, (last_seen - now).0));
        }
        self.make_good(now);
        if let Some(last) = self.last_tick {
            let forward = (now - last).0;
            let back = (last - now).0;
            if forward > JUMP_MS || back > HEARD_WITHIN_MS {
                self.jumped_at = Some(now);
            }
        }
        self.doubted_since = self.doubted_since(now);
        self.first_tick.get_or_insert(now);
        self.last_tick = Some(now);
    }

    /// What this clock was set back by is added no more once most members tell the same time, nor twice where somebody
    /// set it right.
    fn make_good(&mut self, now: UnixMillis) {
        let forward = self.last_tick.map_or(0, |last| (now - last).0);
        let is_agreed = self.is_agreed_with(now);
        let rest =
            |behind: u64| if forward > GAP_MS { behind.saturating_sub(forward) } else { behind };
        let behind = self.set_back.filter(|_| !is_agreed);
        self.set_back = behind.map(|(first, behind)| (first, rest(behind)));
    }

    /// Since when this clock is not to be unlinked by, the time since the last tick included.
    fn doubted_since(&self, now: UnixMillis) -> Option<UnixMillis> {
        let runs_on = self.first_tick.is_some();
        let forward_max = if runs_on || self.members > 1 { GAP_MS } else { JUMP_MS };
        let is_gap = |last: UnixMillis| (now - last).0 > forward_max || (last - now).0 > GAP_MS;
        let doubted_since =
            self.last_tick.is_some_and(is_gap).then_some(now).or(self.doubted_since);
        doubted_since.filter(|_| !self.is_agreed_with(now))
    }

    fn is_agreed_with(&self, now: UnixMillis) -> bool {
        let same = |heard: &&Heard| heard.offset_ms.abs() <= STAMP_TOLERANCE_MS;
        self.are_most(self.recent(now).filter(same).count())
    }

    /// Whether so many peers and this node are most of all members.
    fn are_most(&self, peers: usize) -> bool {
        peers > 0 && (peers + 1) * 2 > self.members
    }

    fn recent(&self, now: UnixMillis) -> impl Iterator<Item = &Heard> {
        self.peers.values().filter(move |heard| is_recent(heard, now))
    }

    /// The time by which cutoffs are computed.
    pub(crate) fn cutoff_time(&self, now: UnixMillis) -> UnixMillis {
        let (low, high) = self.middle_offsets(now);
        let offset =
            if high - low < HEARD_WITHIN_MS as i64 { low } else { self.median_offset(now) };
        corrected(now, offset, CUTOFF_TOLERANCE_MS)
    }

    /// The time with which records are stamped, and by which days are kept.
    pub(crate) fn stamp_time(&self, now: UnixMillis) -> UnixMillis {
        // Mail that a lone node stamps with a day long gone would expire as soon as peers are met.
        // Or it is the earlier run whose clock was wrong: steady running makes this one believable.
        let is_alone = self.recent(now).next().is_none();
        match self.set_back {
            Some((first, behind_ms)) if is_alone && (now - first).0 < JUMP_MS => {
                UnixMillis(now.0.saturating_add(behind_ms))
            }
            _ => corrected(now, self.median_offset(now), STAMP_TOLERANCE_MS),
        }
    }

    /// Whether bytes of a day that the retention lets go may be unlinked.
    pub(crate) fn is_corroborated(&self, now: UnixMillis) -> bool {
        let mine = self.stamp_time(now).day();
        // Stamps may go by peers' clocks or by an earlier run; for what cannot be undone this clock has to agree.
        if now.day() < mine {
            return false;
        }
        let agrees = |heard: &&Heard| moved(now, heard.offset_ms).day() >= mine;
        let agreeing = self.recent(now).filter(agrees).count();
        let heard = self.recent(now).count();
        let is_doubted = was_lately(self.doubted_since, now);
        let has_run = |first: UnixMillis| (now - first).0 >= HEARD_WITHIN_MS;
        if self.members > 1 && (is_doubted || !self.first_tick.is_some_and(has_run)) {
            // Those heard first may be the few whose clocks are wrong too.
            return self.are_most(agreeing);
        }
        if heard == 0 {
            return self.first_tick.is_some() && !is_doubted;
        }
        agreeing * 2 > heard
    }

    /// Whether this clock jumped, and has not run steadily long enough since to be believed again.
    fn has_jumped(&self, now: UnixMillis) -> bool {
        was_lately(self.jumped_at, now)
    }

    /// The middle ones of this clock (offset 0) and those heard within the hour: twice the same where their number is
    /// odd.
    fn middle_offsets(&self, now: UnixMillis) -> (i64, i64) {
        let mut offsets: Vec<i64> = self.recent(now).map(|heard| heard.offset_ms).collect();
        offsets.push(0);
        offsets.sort_unstable();
        (offsets[(offsets.len() - 1) / 2], offsets[offsets.len() / 2])
    }

    /// Two middle ones stand word against word: the nearer to ours counts, unless ours jumped and theirs need not have.
    fn median_offset(&self, now: UnixMillis) -> i64 {
        let (low, high) = self.middle_offsets(now);
        let low_is_nearer = low.abs() <= high.abs();
        if low_is_nearer != self.has_jumped(now) { low } else { high }
    }
}

fn corrected(now: UnixMillis, offset_ms: i64, tolerance_ms: i64) -> UnixMillis {
    if offset_ms.abs() > tolerance_ms { moved(now, offset_ms) } else { now }
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
mod tests;
