//! Holds in the small world: messages are held and let go.
//! Never asks the store which of them there should be.

use super::{Item, Known, Submitted, World};
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_store::{HoldError, Holding, Outcome, ReadError, Store};

/// What was acknowledged of a hold.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// The message that it holds.
    at: usize,
    is_let_go: bool,
}

impl World {
    pub(super) fn hold(&mut self, store: &Store, at: usize) {
        let id = self.items[at].id;
        match store.hold(id) {
            Ok(Holding::New(new)) => {
                // After a power cut more may be here than was acknowledged, bodies above all.
                let is_known = self.is_visible(at) || !self.uncertain.is_empty();
                assert!(is_known, "{at} is held from nowhere");
                let held = new.id();
                let admitted = store.admit_hold(*new).unwrap();
                self.known.holds_in_flight.insert(held, at);
                self.known.submitted.push((admitted.ticket, Submitted::Hold(at, held)));
            }
            Ok(Holding::Here(held)) => {
                // Of a power cut's it was open whether it came to be.
                let known = self.known.holds.entry(held).or_insert(Held { at, is_let_go: false });
                assert!(known.at == at && !known.is_let_go, "{held} holds {at}");
            }
            Err(HoldError::Read(ReadError::NotFound(_))) => assert!(!self.is_visible(at)),
            Err(HoldError::Read(ReadError::BodyMissing(_))) => assert!(!self.is_body_here(at)),
            Err(error) => panic!("{at} cannot be held: {error}"),
        }
    }

    pub(super) fn unhold(&mut self, store: &Store, at: usize) {
        let Item { id, recipients, .. } = &self.items[at];
        for held in store.holds_of(*id).unwrap() {
            let deleted = Action::Deleted(RecipientSet::all(*recipients).unwrap());
            let (admitted, _) = store.admit_action(held, &deleted, self.now).unwrap();
            self.known.holds_in_flight.insert(held, at);
            self.known.submitted.push((admitted.ticket, Submitted::Unhold(at, held)));
        }
    }

    /// After a power cut: what was under way when it came may have been done.
    pub(super) fn let_go_meanwhile(&mut self, store: &Store) {
        for held in std::mem::take(&mut self.known.holds_in_flight).into_keys() {
            let is_let_go = matches!(store.message(held), Err(ReadError::NotFound(_)));
            if let Some(known) = self.known.holds.get_mut(&held) {
                known.is_let_go = is_let_go;
            }
        }
    }

    pub(super) fn hold_committed(&mut self, what: Submitted, outcome: &Outcome) {
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?} of {what:?}");
        if let Submitted::Hold(at, held) | Submitted::Unhold(at, held) = what {
            let is_let_go = matches!(what, Submitted::Unhold(..));
            self.known.holds.insert(held, Held { at, is_let_go });
        }
    }

    /// Holds that must be shown; the others must not.
    pub(super) fn check_holds(&self, store: &Store) -> Vec<MessageId> {
        let mut visible = Vec::new();
        for (id, held) in &self.known.holds {
            if held.is_let_go {
                assert!(matches!(store.body(*id), Err(ReadError::NotFound(_))), "{id} is let go");
                continue;
            }
            let original = &self.items[held.at];
            assert_eq!(store.body(*id).unwrap(), original.bytes, "body of {id}");
            let hold = store.message(*id).unwrap().hold.unwrap();
            assert_eq!(hold.original, original.id);
            visible.push(*id);
        }
        visible
    }

    /// As [`World::check_after_crash`].
    pub(super) fn check_holds_after_crash(&self, known: &Known, store: &Store) {
        let in_flight = known.holds_in_flight.iter().map(|(id, at)| (*id, *at));
        let acknowledged = known.holds.iter().map(|(id, held)| (*id, held.at));
        for (id, at) in acknowledged.chain(in_flight) {
            let was = known.holds.get(&id);
            let may_change = known.holds_in_flight.contains_key(&id);
            match store.body(id) {
                Ok(body) => {
                    assert!(!was.is_some_and(|held| held.is_let_go), "{id} was let go and is back");
                    assert_eq!(body, self.items[at].bytes, "body of {id}");
                }
                Err(ReadError::BodyMissing(_)) => {
                    assert!(may_change && was.is_none(), "the body of {id} is lost");
                }
                Err(ReadError::NotFound(_)) => {
                    assert!(may_change || was.is_some_and(|held| held.is_let_go), "{id} is lost");
                }
                Err(error) => panic!("{id}, which holds {at}: {error}"),
            }
        }
    }
}
