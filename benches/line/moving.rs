//! How long nodes are apart: where UDP is filtered from the start, filtered later, and where a process dies.

use crate::proxy::Quality;
use crate::support::start;
use crate::world::World;
use quard::api::NodeStatus;
use std::time::{Duration, Instant};

pub async fn run() {
    for delay_ms in [0, 100] {
        let quality = Quality { delay: Duration::from_millis(delay_ms), ..Quality::GOOD };
        let rtt = 2 * delay_ms;
        let mut world = World::new(quality, 2, "").await;
        world.control.filter_udp(true);
        world.running.cluster.nodes[0].start().unwrap();
        world.wait_for_peers(0).await;
        let begun = Instant::now();
        world.running.cluster.nodes[1].start().unwrap();
        world.wait_for_transport("tcp", 1).await;
        println!("RTT {rtt} ms, UDP filtered: over TCP {} after the start of a node", ms(begun));
        world.control.filter_udp(false);
        let begun = Instant::now();
        world.wait_for_transport("quic", 1).await;
        println!("RTT {rtt} ms, UDP heals: over QUIC after {}", ms(begun));
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.control.filter_udp(true);
        let begun = Instant::now();
        world.wait_for_transport("tcp", 1).await;
        println!("RTT {rtt} ms, UDP filtered in use: over TCP after {}", ms(begun));
    }
    for lines in ["tcp = false", "", "quic = false"] {
        let mut running = start(2, lines).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        running.cluster.nodes[2].kill().unwrap();
        let begun = Instant::now();
        let up = |status: &NodeStatus| status.members.iter().filter(|it| it.state == "up").count();
        let wait = |all: &[NodeStatus]| all.iter().all(|status| up(status) == 2);
        running.cluster.wait("the others know", wait).await.unwrap();
        println!("{:14}: a killed peer is noticed after {}", lines, ms(begun));
    }
}

fn ms(begun: Instant) -> String {
    format!("{} ms", begun.elapsed().as_millis())
}
