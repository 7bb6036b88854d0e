//! How much of the node task's time a peer gets for what brings no mail: floods, lies, actions by the million.
//! Never refuses anything: who costs more is read more slowly, and its line fills up.

use quar_base::ids::MemberId;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Time that is spent at once.
const AT_ONCE: Duration = Duration::from_millis(50);
/// After that it rests so many times as long.
const SHARE: u32 = 31;

/// All peers' paces; kept across connections. Times are the process's own.
#[derive(Default)]
pub(super) struct Paces(Mutex<HashMap<MemberId, Duration>>);

impl Paces {
    /// Frames that led to nothing cost so much. How long nothing more is to be read from the peer.
    pub(super) fn rest_after(&self, peer: MemberId, cost: Duration, now: Duration) -> Duration {
        let mut paid_until = self.0.lock().expect("no holder of this lock panics");
        let paid_until = paid_until.entry(peer).or_default();
        *paid_until = (*paid_until).max(now) + cost * SHARE;
        paid_until.saturating_sub(now + AT_ONCE * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::{AT_ONCE, Paces, SHARE};
    use quar_base::ids::MemberId;
    use std::time::Duration;

    const PEER: MemberId = MemberId([2; 16]);

    #[test]
    fn some_time_is_spent_at_once_and_more_at_a_pace() {
        let (paces, now) = (Paces::default(), Duration::from_secs(7));
        assert_eq!(paces.rest_after(PEER, AT_ONCE, now), Duration::ZERO);
        let cost = Duration::from_millis(10);
        assert_eq!(paces.rest_after(PEER, cost, now), cost * SHARE);
        // Also what costs little at a time.
        let little = Duration::from_micros(20);
        assert_eq!(paces.rest_after(PEER, little, now), (cost + little) * SHARE);
        assert_eq!(paces.rest_after(MemberId([3; 16]), cost, now), Duration::ZERO);
        // Whoever waits is as good as new.
        let later = now + (AT_ONCE + cost + little) * SHARE;
        assert_eq!(paces.rest_after(PEER, AT_ONCE, later), Duration::ZERO);
    }
}
