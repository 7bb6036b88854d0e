//! What a peer brings that nobody can make up at will, and what it can.

use crate::support::{Cluster, Home};

#[test]
fn mail_and_what_others_did_is_progress_and_what_a_peer_did_itself_is_not() {
    let mut cluster = Cluster::new((0..3).map(|_| Home::in_memory()).collect(), 1);
    (0..3).for_each(|at| cluster.start(at));
    cluster.connect(0, 1);
    cluster.run();
    let progress = |cluster: &Cluster| [1, 2].map(|at| cluster.node(at).progress());

    let message = cluster.put(0, b"mail");
    cluster.run();
    assert_eq!(progress(&cluster), [1, 0], "brought by the one that took it");
    let unwelcome = cluster.node(1).unwelcome();
    cluster.delete(0, message);
    cluster.run();
    assert_eq!(progress(&cluster), [1, 0], "and deleted by the one that brings it");
    assert_eq!(cluster.node(1).unwelcome(), (unwelcome.0 + 1, unwelcome.1 + 1));

    cluster.put(0, b"another");
    cluster.run();
    cluster.disconnect(0, 1);
    cluster.connect(1, 2);
    cluster.pass(60);
    assert_eq!(progress(&cluster)[1], 2, "the mail that is left, and a delete of another member");
}
