//! Links over real connections: who may have one, and since when.

use super::Links;
use crate::authority::{PlannedMember, StaticPlan, create_cluster};
use crate::config::{Identity, Paths};
use crate::daemon::clock::{Clock, entropy};
use crate::daemon::driver::Event;
use quar_base::roster::Roster;
use quar_net::{CloseReason, Endpoint, NetError, Preference, Settings};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Two members of one cluster, the lower one first.
pub(crate) fn members(directory: &Path) -> [Identity; 2] {
    let planned = |node_number| PlannedMember {
        name: format!("n{node_number}"),
        node_number,
        addresses: vec![format!("127.0.0.1:{node_number}")],
        location: String::new(),
    };
    let plan = StaticPlan { members: vec![planned(1), planned(2)] };
    let now = Clock::start().now();
    let created = create_cluster(&plan, entropy().unwrap(), now, &directory.join("out")).unwrap();
    let load = |at: usize| Identity::load(&Paths::under(Some(&created.members[at].root))).unwrap();
    let mut members = [load(0), load(1)];
    members.sort_by_key(|identity| identity.member);
    members
}

pub(crate) fn endpoint(identity: &Identity) -> Endpoint {
    let everybody = Arc::new(|_, _: &_| true);
    let local = "127.0.0.1:0".parse().unwrap();
    let mut settings = Settings::new(local, identity.network(), everybody);
    settings.tcp = false;
    Endpoint::bind(settings).unwrap()
}

/// The links of a member that dials nobody, and where what happens on them is told.
pub(crate) fn links(identity: &Identity) -> (Arc<Links>, mpsc::Receiver<Event>) {
    let (events, queue) = mpsc::channel(64);
    let roster = Arc::new(identity.roster.roster().clone());
    (Links::new(identity.member, endpoint(identity), roster, events, Clock::start()), queue)
}

#[tokio::test]
async fn who_is_removed_between_its_handshake_and_its_first_word_gets_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let [lower, higher] = members(directory.path());
    for is_removed in [true, false] {
        let (links, mut queue) = links(&higher);
        tokio::spawn(links.clone().accept_all());
        let address = links.endpoint.local_address().to_string();
        let dialing = endpoint(&lower);
        let dialed = dialing.dial(&[address], higher.member, Preference::Quic).await;
        let mut connection = dialed.unwrap();
        let is_waited_for = || links.candidates.lock().unwrap().contains_key(&lower.member);
        while !is_waited_for() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if is_removed {
            let old = higher.roster.roster().clone();
            let stays = |id| id == higher.member;
            let members = old.members.into_iter().filter(|member| stays(member.id)).collect();
            links.set_roster(Arc::new(Roster { epoch: old.epoch + 1, members, ..old }));
        }
        connection.sender.send(1, &[b"hello"]).await.unwrap();
        connection.sender.flush().await.unwrap();
        if is_removed {
            let end = timeout(Duration::from_secs(20), connection.receiver.next()).await.unwrap();
            let removed = NetError::ClosedByPeer { reason: CloseReason::Removed };
            assert_eq!(end.unwrap_err().to_string(), removed.to_string());
            assert!(queue.try_recv().is_err(), "nobody is told of a connection");
        } else {
            let first = timeout(Duration::from_secs(20), queue.recv()).await.unwrap();
            assert!(matches!(first, Some(Event::Connected { peer, .. }) if peer == lower.member));
        }
        links.shutdown().await;
    }
}
