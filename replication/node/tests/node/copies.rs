//! What a copy is that an answer stands for.

use crate::support::{Cluster, Home};
use quar_store::MemoryDisk;
use std::sync::Arc;

#[test]
fn an_arrival_that_was_sent_without_its_body_is_no_copy() {
    let disk = MemoryDisk::new();
    let home = Home { disk: Arc::new(disk.clone()), ..Home::in_memory() };
    let mut cluster = Cluster::new(vec![home, Home::in_memory(), Home::in_memory()], 2);
    (0..3).for_each(|at| cluster.start(at));
    cluster.connect_all();
    cluster.run();
    let token = cluster.offer(0, &[7; 3000]);
    let message = cluster.store(0).find("", 9).unwrap()[0];
    // The first connections end with it; and before it is read again, its body is damaged.
    let body = cluster.store(0).place_reports(message).unwrap().remove(1);
    disk.damage(&body.path, |bytes| bytes[body.block as usize + 60] ^= 1);
    cluster.drop_batches(1);
    cluster.drop_batches(2);
    cluster.disconnect(0, 1);
    cluster.connect(0, 1);
    while cluster.carry(1) {
        cluster.drop_batches(2);
    }
    assert!(!cluster.store(1).message(message).unwrap().has_body);
    assert!(!cluster.answers.contains_key(&token), "{:?}", cluster.answers);
}
