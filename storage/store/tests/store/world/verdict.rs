//! What must be true of a store, by what is known of the world.
//! Never asks the store what to expect of it.

use super::{Known, World};
use quar_base::key::MessageId;
use quar_store::{ReadError, Store};
use std::collections::BTreeSet;

impl World {
    /// Holds the store against all that was acknowledged; nothing may be under way.
    pub fn check(&self, store: &Store) {
        assert!(self.known.in_flight.is_empty());
        let mut visible = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for (at, item) in self.items.iter().enumerate() {
            if !self.is_visible(at) {
                let missing = store.message(item.id);
                assert!(matches!(missing, Err(ReadError::NotFound(_))), "{at}: {missing:?}");
                continue;
            }
            visible.insert(item.id);
            let message = store.message(item.id).unwrap();
            assert_eq!(message.has_body, self.is_body_here(at), "message {at}");
            for recipient in 0..item.recipients {
                let is_deleted = self.known.fates[at].deleted >> recipient & 1 == 1;
                let covers = message.state.deleted.covers(item.recipients, recipient);
                assert_eq!(covers, is_deleted, "recipient {recipient} of message {at}");
            }
            match store.body(item.id) {
                Ok(body) => assert!(body == item.bytes && message.has_body, "body of {at}"),
                Err(ReadError::BodyMissing(_)) => assert!(!message.has_body, "body of {at}"),
                Err(error) => panic!("body of {at}: {error}"),
            }
            if !self.is_body_here(at) {
                wanted.insert(item.body_place());
            }
        }
        visible.extend(self.check_holds(store));
        let listed: Vec<MessageId> = crate::support::list(store).iter().map(|m| m.id).collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), visible);
        assert_eq!(listed.len(), visible.len());
        let in_store: BTreeSet<_> = store.wanted(usize::MAX).into_iter().collect();
        assert_eq!(in_store, wanted, "wanted bodies");
    }

    /// Holds a store found after a crash against what was acknowledged before it. What was under
    /// way may be there or not, but never in part.
    pub fn check_after_crash(&self, known: &Known, store: &Store) {
        self.check_holds_after_crash(known, store);
        for (at, item) in self.items.iter().enumerate() {
            let fate = &known.fates[at];
            let bucket = item.id.bucket;
            let is_covered = fate.deleted.count_ones() as usize == item.recipients
                || known.expired.contains(&bucket);
            let may_change = known.in_flight.contains(&at) || known.expiring.contains(&bucket);
            match store.body(item.id) {
                Ok(body) => {
                    assert!(!is_covered, "deleted message {at} is back");
                    assert!(fate.arrived || may_change, "message {at} came from nowhere");
                    assert_eq!(body, item.bytes, "body of {at}");
                }
                Err(ReadError::BodyMissing(_)) => {
                    let had_body = known.bodies.contains(&item.body_place());
                    assert!(!is_covered && (!fate.arrived || !had_body), "body of {at} is lost");
                }
                Err(ReadError::NotFound(_)) => {
                    assert!(!fate.arrived || is_covered || may_change, "message {at} is lost");
                }
                Err(error) => panic!("message {at}: {error}"),
            }
        }
    }
}
