//! A node of real daemons that lost its disk: it fills from its peers, and serves what is not here yet.

use crate::support::{assert_kept, body_of, feed, some_mails, start, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_data_fills_again_and_serves_everything_meanwhile() {
    let mut running = start(2, "rate = 200000").await;
    let mails = some_mails(300);
    let mut ids = feed(&running.cluster.nodes[0], &mails[..200]).await;
    ids.extend(feed(&running.cluster.nodes[1], &mails[200..]).await);
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[2].stop().unwrap();
    let data = running.cluster.nodes[2].root.join("var/lib/quard");
    std::fs::remove_dir_all(&data).unwrap();
    running.cluster.nodes[2].start().unwrap();
    // Whatever is listed can be opened, also while the rest comes.
    until("the node shows the first of them", async || {
        let mut client = running.cluster.nodes[2].client().await.ok()?;
        let page: quard::api::MessagePage = client.get("/v1/messages?limit=1").await.ok()?;
        let id = page.messages.first()?.id.clone();
        let at = ids.iter().position(|known| *known == id)?;
        assert_eq!(body_of(&mut client, &id).await.unwrap(), mails[at].body);
        Some(())
    })
    .await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
    until("nothing is lacking", async || {
        let status = running.cluster.nodes[2].status().await.ok()?;
        (!status.backfill.running && status.wanted == 0).then_some(())
    })
    .await;
}
