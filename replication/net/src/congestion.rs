//! Congestion control that a lossy line does not fool: CUBIC, told of losses only when they are many.
//! Never ignores a queue that overflows: that loses more than a few datagrams of a hundred.
//!
//! ```text
//! acknowledged, lost ─► counted over some windows ─► 8 datagrams and 3% lost? ─► CUBIC slows down
//!                                                    └─ less: the line, not a queue
//! slow start ─► answers take a quarter longer than at best? ─► a queue grows: it ends before it overflows
//! ```

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Losses up to this are the line's.
const TOLERATED_PERCENT: u64 = 3;
/// Fewer lost datagrams than this say nothing.
const LOST_DATAGRAMS_MIN: u64 = 8;
/// Losses are counted over so many windows, and no fewer datagrams than the next says.
const WINDOWS_COUNTED: u64 = 4;
const DATAGRAMS_COUNTED_MIN: u64 = 64;
/// Slow start ends when answers are late by a quarter, and by no less than this.
const LATE_MIN: Duration = Duration::from_millis(25);
/// Sent on a new connection before the first answer.
const INITIAL_WINDOW_BYTES: u64 = 32 * 1200;

/// Makes a controller for each connection.
pub(crate) struct TolerantConfig(Arc<CubicConfig>);

impl Default for TolerantConfig {
    fn default() -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(INITIAL_WINDOW_BYTES);
        Self(Arc::new(cubic))
    }
}

impl ControllerFactory for TolerantConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = self.0.clone().build(now, current_mtu);
        let mtu = current_mtu.into();
        Box::new(Tolerant { cubic, mtu, acked: 0, lost: 0, has_slowed_down: false })
    }
}

struct Tolerant {
    cubic: Box<dyn Controller>,
    mtu: u64,
    /// Bytes since the count began.
    acked: u64,
    lost: u64,
    /// Slow start is over.
    has_slowed_down: bool,
}

impl Tolerant {
    fn is_congested(&self) -> bool {
        let all = self.acked + self.lost;
        self.lost >= LOST_DATAGRAMS_MIN * self.mtu && self.lost * 100 > all * TOLERATED_PERCENT
    }

    fn count_anew(&mut self) {
        (self.acked, self.lost) = (0, 0);
    }
}

impl Controller for Tolerant {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.acked += bytes;
        let counted = WINDOWS_COUNTED * self.cubic.window();
        if self.acked > counted.max(DATAGRAMS_COUNTED_MIN * self.mtu) {
            self.count_anew();
        }
        if !self.has_slowed_down && rtt.get() > rtt.min() + (rtt.min() / 4).max(LATE_MIN) {
            self.has_slowed_down = true;
            self.cubic.on_congestion_event(now, now, false, 0);
        }
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    /// `lost_bytes` is 0 when a router marked datagrams in place of dropping them: that is a queue.
    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.lost += lost_bytes;
        if lost_bytes == 0 || is_persistent_congestion || self.is_congested() {
            self.count_anew();
            self.has_slowed_down = true;
            self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let cubic = self.cubic.clone_box();
        Box::new(Self { cubic, ..*self })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Controller, ControllerFactory, TolerantConfig};
    use std::sync::Arc;
    use std::time::Instant;

    const MTU: u64 = 1200;

    fn controller() -> (Box<dyn Controller>, Instant) {
        let now = Instant::now();
        (Arc::new(TolerantConfig::default()).build(now, MTU as u16), now)
    }

    /// What is left of the window after every `nth` of some thousand datagrams was lost.
    fn left_after_losing_every(nth: u64) -> bool {
        let (mut controller, now) = controller();
        let before = controller.window();
        for number in 1..5000 {
            if number % nth == 0 {
                controller.on_congestion_event(now, now, false, MTU);
            }
        }
        controller.window() == before
    }

    #[test]
    fn a_few_losses_close_no_window_and_many_do() {
        // Nothing is acknowledged here, so that even few losses are many of all.
        assert!(!left_after_losing_every(100));
        let (mut controller, now) = controller();
        let before = controller.window();
        for _ in 0..7 {
            controller.on_congestion_event(now, now, false, MTU);
        }
        assert_eq!(controller.window(), before);
        controller.on_congestion_event(now, now, false, MTU);
        assert!(controller.window() < before);
    }

    #[test]
    fn a_mark_and_a_line_that_is_gone_are_believed_at_once() {
        for (is_persistent, lost) in [(false, 0), (true, MTU)] {
            let (mut controller, now) = controller();
            let before = controller.window();
            controller.on_congestion_event(now, now, is_persistent, lost);
            assert!(controller.window() < before);
        }
    }
}
