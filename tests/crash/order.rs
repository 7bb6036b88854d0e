//! Under a concurrent load, every 250, every 201 of an upload and every 200 of a delete is sent after the sync of what
//! it acknowledges.
//! Never judges by time: by the order in which calls began and ended.

mod checker;
mod log;

use self::checker::{Beside, check};
use crate::expected::{Heard, mail, send};
use crate::shim::Told;
use crate::support::{Node, Started};
use quard::api::{DeleteReply, PutReply};

/// The class of each connection. Those with a class of their own have segments of their own.
const CLASSES: [&str; 8] = ["nonspam", "virus", SHARED, SHARED, SHARED, SHARED, SHARED, SHARED];
const SHARED: &str = "spam";
/// The classes of what is uploaded, and of what is uploaded and deleted.
const UPLOADED: &str = "archive";
const DELETED: &str = "policy";
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

/// Uploads mails over the control socket; deletes each of them when `is_deleted`.
async fn upload(node: &Node, class: &str, connection: u64, is_deleted: bool) {
    let mut client = node.client().await.unwrap();
    for at in 0..MAILS {
        let bytes = [200, 2000, 20_000, 200_000][(at % 4) as usize];
        let body = mail(connection * 1000 + at, bytes);
        let path = format!("/v1/messages?class={class}&recipient=user@example.net");
        let put: PutReply = client.upload(&path, body).await.unwrap();
        if is_deleted {
            let path = format!("/v1/messages/{}", put.id);
            let reply: DeleteReply = client.delete(&path).await.unwrap();
            assert!(reply.gone);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_sent_before_what_it_acknowledges_is_synced() {
    let mut node = Node::create();
    let told = Told { fault: None, log: Some(node.beside("shim.log")) };
    assert!(matches!(node.start(Some(&told)).await, Started::Up));
    let living = &node;
    let one = |at: usize| feed(living, CLASSES[at], at as u64);
    let load = async {
        let mails = async {
            tokio::join!(one(0), one(1), one(2), one(3), one(4), one(5), one(6), one(7));
        };
        tokio::join!(mails, upload(living, UPLOADED, 8, false), upload(living, DELETED, 9, true));
    };
    node.watched("the load", load).await;
    assert!(node.stop().await.success());
    let text = std::fs::read_to_string(node.beside("shim.log")).unwrap();
    let calls = log::parse(&text);
    // Erasures write to the class of the deletes at any time.
    let beside = |class: &str| match class {
        SHARED => Beside::Connections,
        DELETED => Beside::Erasures,
        _ => Beside::Nobody,
    };
    let found = check(&calls, node.data().to_str().unwrap(), &beside);
    assert_eq!(found.offences, Vec::<String>::new());
    assert_eq!(found.replies as u64, (CLASSES.len() as u64 + 3) * MAILS);
    assert_eq!([found.uploads as u64, found.deletes as u64], [2 * MAILS, MAILS]);
    eprintln!(
        "{} replies, {} of them to uploads and {} to deletes, over {} calls; {} were sent while another \
         connection's mail was being written",
        found.replies,
        found.uploads,
        found.deletes,
        calls.len(),
        found.overlapped
    );
    assert!(found.overlapped > 0, "the load was not concurrent");
}
