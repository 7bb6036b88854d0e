//! A node that is asked to stop leaves nothing behind that its peers were to have.

use crate::proxy::Quality;
use crate::support::{body_of, feed, some_mails};
use crate::world::World;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_acknowledged_is_with_its_peers_before_it_stops() {
    for lines in ["", "quic = false"] {
        let slow = Quality { delay: Duration::from_millis(100), ..Quality::GOOD };
        // Nobody waits for a second copy: what is acknowledged is still on its way.
        let mut world = World::new(slow, 1, lines).await;
        world.start(2).await;
        let mails = some_mails(50);
        let [first, second, _] = &mut world.running.cluster.nodes[..] else { panic!("three") };
        let ids = feed(first, &mails).await;
        first.stop().unwrap();
        let mut client = second.client().await.unwrap();
        for (id, mail) in ids.iter().zip(&mails) {
            assert_eq!(body_of(&mut client, id).await.unwrap(), mail.body);
        }
        world.wait_for_peers(0).await;
    }
}
