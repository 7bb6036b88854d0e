//! The node task's turn: what belongs to one connection never goes out on another.

use super::{Driver, Event, Parts};
use crate::config::Config;
use crate::daemon::clock::Clock;
use crate::daemon::links::{Outlet, tests};
use crate::daemon::room::Room;
use crate::daemon::upkeep::Upkeep;
use crate::surface::tests::served;
use quar_base::time::Millis;
use quar_node::{CopyRule, Node, NodeSettings, Output};
use quar_store::MemoryDisk;
use std::sync::Arc;
use tokio::sync::mpsc;

const ACK: u8 = 9;
const HELLO: u8 = 1;

#[tokio::test]
async fn what_was_said_on_a_connection_is_not_said_on_the_one_that_takes_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let [mine, theirs] = tests::members(directory.path());
    let (links, _queue) = tests::links(&mine);
    let store = served::store(directory.path().join("store"), Arc::new(MemoryDisk::new()));
    let (store, clock) = (Arc::new(store), Clock::start());
    let copies = CopyRule { copies: 2, timeout: Millis(500) };
    let settings = NodeSettings { member: mine.member, copies, push_bytes_max: 1 << 20 };
    let (roster, authority) = (mine.roster.clone(), mine.authority_key);
    let parts = Parts {
        node: Node::new(&settings, store.clone(), roster, authority, None),
        links,
        save_roster: Box::new(|_| Ok(())),
        upkeep: Upkeep::new(store.clone(), clock.clone(), Config::default().upkeep),
        room: Room::new(store.clone(), clock.clone(), Default::default()),
        store,
        clock,
    };
    let mut driver = Driver::new(parts, mpsc::channel(16).0).unwrap();
    let mut outputs = Vec::new();
    let connect = |driver: &mut Driver, number, outputs: &mut Vec<Output>| {
        let (outlet, queue) = Outlet::new();
        let (peer, session_key) = (theirs.member, [number as u8; 32]);
        driver.take(Event::Connected { peer, number, session_key, outlet }, outputs);
        queue
    };
    let mut first = connect(&mut driver, 1, &mut outputs);
    let payload = b"an answer to what came on the first".to_vec();
    outputs.push(Output::Send { peer: theirs.member, kind: ACK, payload });
    let mut second = connect(&mut driver, 2, &mut outputs);
    driver.perform_all(&mut outputs);
    let kinds = |queue: &mut mpsc::UnboundedReceiver<(u8, Vec<u8>)>| {
        let frames = std::iter::from_fn(|| queue.try_recv().ok());
        frames.map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    let (first, second) = (kinds(&mut first), kinds(&mut second));
    assert_eq!((first[0], first.last()), (HELLO, Some(&ACK)), "{first:?}");
    assert_eq!((second[0], second.contains(&ACK)), (HELLO, false), "{second:?}");
}
