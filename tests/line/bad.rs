//! Lines that are slow, lossy and cut: what there is to send arrives, and little of it twice.

use crate::proxy::Quality;
use crate::support::{assert_kept, feed, some_mails};
use crate::world::World;
use quar_base::rng::Rng;
use quard::demo::mails::TestMail;
use std::time::Duration;

/// 200 ms there and back, 1% lost, 20 Mbit/s.
const BAD: Quality = Quality {
    delay: Duration::from_millis(100),
    lost_of_million: 10_000,
    bytes_per_s: 2_500_000,
    queue: Duration::from_millis(200),
};

/// Feeds mails to the first of two nodes while the other is down, and lets that catch up.
async fn catch_up(world: &mut World, mails: &[TestMail]) {
    world.running.cluster.nodes[0].start().unwrap();
    world.wait_for_peers(0).await;
    let ids = feed(&world.running.cluster.nodes[0], mails).await;
    world.running.cluster.nodes[1].start().unwrap();
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    world.running.cluster.nodes.truncate(2);
    assert_kept(&world.running.cluster, &ids, mails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_arrives_over_a_slow_and_lossy_line() {
    for lines in ["tcp = false", "quic = false"] {
        let mut world = World::new(BAD, 1, lines).await;
        catch_up(&mut world, &some_mails(500)).await;
    }
}

/// Mails of 16 kB that nothing makes shorter.
fn noise(count: usize) -> Vec<TestMail> {
    let mut rng = Rng::from_seed([3; 32]);
    let mut mails = some_mails(count);
    for mail in &mut mails {
        let noise: Vec<u8> = (0..16).flat_map(|_| rng.bytes::<1000>()).collect();
        let text = data_encoding::BASE64.encode(&noise);
        let lines = text.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
        mail.body = [&b"Subject: noise\r\n\r\n"[..], &lines, b"\r\n"].concat().into();
    }
    mails
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_every_five_seconds_carries_at_most_a_tenth_twice() {
    let queue = Duration::from_millis(50);
    let line = Quality { bytes_per_s: 1_000_000, lost_of_million: 0, queue, ..BAD };
    let mails = noise(500);
    for lines in ["tcp = false", "quic = false"] {
        let mut carried = Vec::new();
        for is_cut in [false, true] {
            let mut world = World::new(line, 1, lines).await;
            let (period, length) = (Duration::from_secs(5), Duration::from_millis(500));
            let cutting = is_cut.then(|| world.control.cut_every(period, length));
            catch_up(&mut world, &mails).await;
            cutting.inspect(|cutting| cutting.abort());
            let (udp, tcp) = world.control.carried_bytes();
            carried.push(udp + tcp);
        }
        let [whole, cut] = carried[..] else { panic!("two runs") };
        assert!(cut * 10 <= whole * 11, "{lines}: {cut} bytes with cuts, {whole} without");
    }
}
