//! Clocks that are right, wrong, set ahead and set back, one against the others.

use super::{Clocks, JUMP_MS};
use quar_base::ids::MemberId;
use quar_base::time::UnixMillis;
use quar_store::LastSeen;

const NOW: UnixMillis = UnixMillis(1_795_420_800_000);
const YEAR_MS: i64 = 365 * 86_400_000;

/// A node that is alone.
fn since(last_seen_ms: u64) -> Clocks {
    Clocks::since(Some(LastSeen::at(UnixMillis(last_seen_ms))), 1)
}

fn clocks(offsets: &[i64]) -> Clocks {
    let mut clocks = Clocks::since(Some(LastSeen::at(NOW)), 3);
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
        let mut jumped = Clocks::since(Some(LastSeen::at(NOW)), 3);
        jumped.tick(now);
        jumped.heard(MemberId([1; 16]), -skew, now);
        assert_eq!(jumped.stamp_time(now), NOW, "one peer, who contradicts");
        jumped.heard(MemberId([2; 16]), -skew + 4, now);
        assert!(jumped.stamp_time(now).0.abs_diff(NOW.0) <= 4);
        let mut steady = Clocks::since(Some(LastSeen::at(NOW)), 3);
        steady.tick(NOW);
        steady.heard(MemberId([3; 16]), skew, NOW);
        assert_eq!(steady.stamp_time(NOW), NOW, "the peer whose clock is steady follows nobody");
    }
}

#[test]
fn a_lone_node_whose_clock_was_set_back_stamps_no_day_that_is_over() {
    let mut lone = Clocks::since(Some(LastSeen::at(NOW)), 3);
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
fn what_a_clock_was_set_back_by_is_added_no_more_once_it_is_right() {
    let night = 14 * HOUR_MS;
    let back = UnixMillis(NOW.0 - night);
    let mut lone = Clocks::since(Some(LastSeen::at(NOW)), 3);
    lone.tick(back);
    assert_eq!(lone.stamp_time(back), NOW);
    lone.tick(after(0, 5));
    assert_eq!(lone.stamp_time(after(0, 5)).0, NOW.0 + 5, "somebody set it right");
    // It was the earlier run's clock that was ahead: most members say so, and then nobody is heard.
    let mut right = Clocks::since(Some(LastSeen::at(after(14, 0))), 3);
    right.tick(NOW);
    right.heard(MemberId([1; 16]), 7, NOW);
    run(&mut right, 0..=3);
    assert_eq!(right.stamp_time(after(3, 0)), after(3, 0));
    assert!(right.is_corroborated(after(3, 0)));
}

#[test]
fn nothing_is_unlinked_by_an_earlier_run_that_this_clock_contradicts() {
    // Half an hour before a midnight at which it ran already.
    let late = after(15, HOUR_MS / 2);
    let mut lone = since(after(16, 0).0);
    lone.tick(late);
    assert!(lone.stamp_time(late).day() > late.day() && !lone.is_corroborated(late));
}

#[test]
fn a_greeting_that_waited_does_not_make_a_clock_slow() {
    let mut clocks = clocks(&[0, -200_000]);
    let peer = MemberId([0; 16]);
    let later = UnixMillis(NOW.0 + 22_000);
    clocks.heard(peer, -12_500, later);
    assert_eq!(clocks.offset_ms(peer), Some(0));
    clocks.heard(peer, 40, later);
    assert_eq!(clocks.offset_ms(peer), Some(40), "a faster one counts at once");
    // The first after a long time, and then none for as long: it tells nothing.
    let first = later.0 + 3_000_000;
    clocks.heard(peer, -12_500, UnixMillis(first));
    assert_eq!(clocks.offset_ms(peer), Some(40));
    // So long none waits.
    clocks.heard(peer, -60_000, UnixMillis(first));
    assert_eq!(clocks.offset_ms(peer), Some(-60_000));
    clocks.heard(peer, 40, UnixMillis(first));
    // It goes on: that clock was set back.
    clocks.heard(peer, -12_500, UnixMillis(first));
    for (after, offset_ms, told) in [(30_000, -12_000, 40), (60_000, -13_000, -12_000)] {
        clocks.heard(peer, offset_ms, UnixMillis(first + after));
        assert_eq!(clocks.offset_ms(peer), Some(told));
    }
}

#[test]
fn half_a_minute_moves_the_cutoff_but_not_the_stamps() {
    let slow = clocks(&[30_000, 30_500]);
    assert_eq!(slow.stamp_time(NOW), NOW);
    assert_eq!(slow.cutoff_time(NOW), UnixMillis(NOW.0 + 30_000));
}

#[test]
fn members_of_which_half_have_clocks_ahead_go_by_one_cutoff() {
    for (skew, others) in [(30_000, 1), (3_000_000, 1), (30_000, 2), (-40_000, 1)] {
        let ahead = |of: i64| vec![of; others];
        let mut right = ahead(skew);
        right.extend(vec![0; others - 1]);
        let mut wrong = ahead(-skew);
        wrong.extend(vec![0; others - 1]);
        let there = UnixMillis(NOW.0.saturating_add_signed(skew));
        let mut of_wrong = Clocks::since(Some(LastSeen::at(there)), 2 * others);
        for (number, offset) in wrong.iter().enumerate() {
            of_wrong.heard(MemberId([number as u8; 16]), *offset, there);
        }
        assert_eq!(clocks(&right).cutoff_time(NOW), of_wrong.cutoff_time(there), "{skew}");
        assert_eq!(clocks(&right).stamp_time(NOW), NOW);
        assert_eq!(of_wrong.stamp_time(there), there);
    }
}

#[test]
fn nothing_is_unlinked_on_the_word_of_a_clock_that_peers_contradict() {
    assert!(!clocks(&[-YEAR_MS]).is_corroborated(NOW));
    assert!(clocks(&[0, 5]).is_corroborated(NOW));
}

#[test]
fn nothing_is_unlinked_on_the_word_of_one_peer_that_this_clock_contradicts() {
    let mut fresh = Clocks::since(None, 1);
    fresh.tick(NOW);
    fresh.heard(MemberId([1; 16]), YEAR_MS, NOW);
    assert_eq!(fresh.stamp_time(NOW), UnixMillis(NOW.0 + YEAR_MS as u64));
    assert!(!fresh.is_corroborated(NOW));
}

const HOUR_MS: u64 = 3_600_000;

/// Ticks of a node that runs, every half hour until then.
fn run(clocks: &mut Clocks, hours: std::ops::RangeInclusive<u64>) {
    for half in 2 * hours.start()..=2 * hours.end() {
        clocks.tick(after(0, half * HOUR_MS / 2));
    }
}

fn after(hours: u64, milliseconds: u64) -> UnixMillis {
    UnixMillis(NOW.0 + hours * HOUR_MS + milliseconds)
}

#[test]
fn a_lone_node_that_was_off_for_a_night_unlinks_at_once_and_one_whose_clock_jumped_waits() {
    let mut night = since(NOW.0 - 30 * HOUR_MS);
    night.tick(NOW);
    assert!(night.is_corroborated(NOW));
    let mut year = since(NOW.0 - YEAR_MS as u64);
    let mut unknown = Clocks::since(None, 1);
    for clocks in [&mut year, &mut unknown] {
        run(clocks, 0..=47);
        assert!(!clocks.is_corroborated(after(47, 0)));
        run(clocks, 48..=48);
        assert!(clocks.is_corroborated(after(48, 0)));
    }
}

#[test]
fn a_clock_that_went_by_hours_while_the_node_ran_is_not_unlinked_by_for_two_days_restarts_or_not() {
    let mut ran = since(NOW.0 - 31 * HOUR_MS);
    ran.tick(UnixMillis(NOW.0 - 30 * HOUR_MS));
    let stopped_first = Clocks::since(Some(ran.last_seen(NOW)), 1);
    ran.tick(NOW);
    assert!(!ran.is_corroborated(NOW));
    let restarted = Clocks::since(Some(ran.last_seen(after(0, 60_000))), 1);
    for mut clocks in [ran, stopped_first, restarted] {
        run(&mut clocks, 1..=47);
        assert!(!clocks.is_corroborated(after(47, 0)));
        run(&mut clocks, 48..=48);
        assert!(clocks.is_corroborated(after(48, 0)));
        assert_eq!(clocks.last_seen(after(48, 0)), LastSeen::at(after(48, 0)));
    }
}

#[test]
fn peers_that_tell_the_same_time_end_the_doubt_and_others_do_not() {
    for (offset_ms, members, doubted_since) in
        [(0, 3, None), (0, 4, Some(NOW)), (-30 * HOUR_MS as i64, 3, Some(NOW))]
    {
        let mut clocks = since(NOW.0 - 30 * HOUR_MS);
        clocks.set_members(members);
        clocks.tick(UnixMillis(NOW.0 - 30 * HOUR_MS));
        clocks.tick(NOW);
        clocks.heard(MemberId([1; 16]), offset_ms, NOW);
        assert_eq!(clocks.last_seen(NOW).doubted_since, doubted_since);
    }
}

#[test]
fn a_node_with_peers_waits_to_hear_them_before_it_unlinks_by_its_own_clock() {
    // An hour; two days when it was off for a night, or its clock was set forward meanwhile.
    for (last_seen, hours) in [(NOW.0 - 60_000, 1), (NOW.0 - 14 * HOUR_MS, 48)] {
        let mut clocks = since(last_seen);
        clocks.set_members(3);
        clocks.tick(NOW);
        run(&mut clocks, 1..=hours - 1);
        assert!(!clocks.is_corroborated(after(hours - 1, 1)));
        run(&mut clocks, hours..=hours);
        assert!(clocks.is_corroborated(after(hours, 0)));
        clocks.tick(NOW);
    }
    let mut night = since(NOW.0 - 14 * HOUR_MS);
    night.set_members(3);
    night.tick(NOW);
    night.heard(MemberId([1; 16]), 5, NOW);
    assert!(night.is_corroborated(NOW), "most agree");
}

#[test]
fn nothing_is_unlinked_by_a_clock_that_went_until_most_members_are_heard() {
    let mut clocks = since(NOW.0 - 60_000);
    clocks.set_members(5);
    clocks.tick(UnixMillis(NOW.0 - 60_000));
    // Its own clock is wrong, and so is the first that it hears.
    let ahead = after(18, 0);
    clocks.tick(ahead);
    clocks.heard(MemberId([5; 16]), 6 * 24 * HOUR_MS as i64, ahead);
    assert!(!clocks.is_corroborated(ahead));
    for (number, offset_ms) in [(1, 0), (2, 1)] {
        clocks.heard(MemberId([number; 16]), offset_ms, ahead);
    }
    assert!(clocks.is_corroborated(ahead));
}
