//! negentropy on the same sets: range-based reconciliation over times and ids.

use crate::world::World;
use negentropy::{Id, Negentropy, NegentropyStorageVector};

const PROOF: &str = "times and ids of the bench are plain";

/// Bytes of all messages both ways, and how many there are, until the side that lacks some knows which.
pub fn reconcile(world: &World, missing: &[usize]) -> (usize, usize) {
    let (whole, lacking) = (storage(world, &[]), storage(world, missing));
    let mut server = Negentropy::borrowed(&whole, 0).expect(PROOF);
    let mut client = Negentropy::borrowed(&lacking, 0).expect(PROOF);
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let (mut bytes, mut messages) = (0, 0);
    let mut query = Some(client.initiate().expect(PROOF));
    while let Some(asked) = query {
        let answer = server.reconcile(&asked).expect(PROOF);
        (bytes, messages) = (bytes + asked.len() + answer.len(), messages + 2);
        query = client.reconcile_with_ids(&answer, &mut have, &mut need).expect(PROOF);
    }
    assert_eq!((have.len(), need.len()), (0, missing.len()));
    (bytes, messages)
}

fn storage(world: &World, missing: &[usize]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for (second, id) in world.items(missing) {
        storage.insert(second, Id::from_byte_array(id)).expect(PROOF);
    }
    storage.seal().expect(PROOF);
    storage
}
