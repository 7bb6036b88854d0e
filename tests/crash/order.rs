//! Under a concurrent load, every 250 is sent after the sync of what it acknowledges.
//! Never judges by time: by the order in which calls began and ended.

mod checker;
mod log;

use self::checker::{Alone, check};
use crate::expected::{Heard, mail, send};
use crate::shim::Told;
use crate::support::{Node, Started};

/// The class of each connection. Those with a class of their own have segments of their own.
const CLASSES: [&str; 8] =
    ["nonspam", "virus", "policy", "archive", SHARED, SHARED, SHARED, SHARED];
const SHARED: &str = "spam";
const MAILS: u64 = 60;

async fn feed(node: &Node, class: &str, connection: u64) {
    let mut feeder = None;
    for at in 0..MAILS {
        let bytes = [200, 2000, 20_000, 200_000][(at % 4) as usize];
        let body = mail(connection * 1000 + at, bytes);
        let heard = send(node, &mut feeder, class, &body).await;
        assert!(matches!(heard, Heard::Taken(_)), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_250_is_sent_before_what_it_acknowledges_is_synced() {
    let mut node = Node::create();
    let told = Told { fault: None, log: Some(node.beside("shim.log")) };
    assert!(matches!(node.start(Some(&told)).await, Started::Up));
    let living = &node;
    let one = |at: usize| feed(living, CLASSES[at], at as u64);
    let load = async {
        tokio::join!(one(0), one(1), one(2), one(3), one(4), one(5), one(6), one(7));
    };
    node.watched("the load", load).await;
    assert!(node.stop().await.success());
    let text = std::fs::read_to_string(node.beside("shim.log")).unwrap();
    let calls = log::parse(&text);
    let is_alone = |class: &str| if class == SHARED { Alone::No } else { Alone::Yes };
    let found = check(&calls, node.data().to_str().unwrap(), &is_alone);
    assert_eq!(found.offences, Vec::<String>::new());
    assert_eq!(found.replies as u64, CLASSES.len() as u64 * MAILS);
    eprintln!(
        "{} replies over {} calls; {} were sent while another connection's mail was being written",
        found.replies,
        calls.len(),
        found.overlapped
    );
    assert!(found.overlapped > 0, "the load was not concurrent");
}
