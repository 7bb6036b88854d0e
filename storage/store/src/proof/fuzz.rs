//! What must hold of any bytes that are read as a proof.
//! Never built into the product.

use super::{Proof, ProofError, sha256};
use crate::fuzz::{BUCKET, CLUSTER, MEMBER};
use quar_base::class::Class;
use quar_base::ids::{BodyId, RecordId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::limits::PROOF_BYTES_MAX;
use quar_base::signing::{PUBLIC_KEY_BYTES, PublicKey, Signature};
use quar_base::time::Day;
use quar_merkle::{DayTree, Hash, Inclusion, Trie};

/// A proof of the first of so many messages in the first of so many buckets. Never changes from run
/// to run; nobody signed it.
pub(crate) fn sample(keys: u32, buckets: u32) -> Proof {
    let key = |i: u32| RecordKey { second: i, id: RecordId([i as u8; 32]) };
    let trie = Trie::from_sorted((0..keys).map(key));
    let others = (1..buckets).map(|number| {
        let bucket = Bucket { class: Class::VIRUS, day: Day(BUCKET.day.0 - number) };
        (bucket, 7, Hash([number as u8; 32]))
    });
    let own = (BUCKET, trie.len(), trie.root());
    let tree = DayTree::from_buckets(others.chain([own]));
    let noon = BUCKET.day.start().plus(quar_base::time::Millis(12 * 3_600_000));
    Proof {
        cluster: CLUSTER,
        member: MEMBER,
        at: noon,
        cutoff: noon.cutoff(),
        state_root: tree.root(),
        message: MessageId { bucket: BUCKET, key: key(0) },
        body: BodyId([11; 32]),
        body_bytes: 3,
        body_sha256: sha256(b"abc"),
        inclusion: Inclusion::new(&tree, BUCKET, &trie, &key(0)).expect("it is in the set"),
        certificate: vec![0x30, 0],
        signature: Signature([5; 64]),
    }
}

/// A proof: the bytes as they are, and with the state root that they lead to.
pub(crate) fn proof(input: &[u8]) {
    check(input);
    let Ok(mut proof) = Proof::parse(input) else { return };
    assert_eq!(proof.encode(), input, "a proof has one form");
    let root = proof.inclusion.state_root(proof.message.bucket, &proof.message.key);
    let Ok(root) = root else { return };
    let as_given = Proof::decode(input);
    match root == proof.state_root {
        true => assert_eq!(as_given.as_ref(), Ok(&proof)),
        false => assert_eq!(as_given, Err(ProofError::StateRoot)),
    }
    proof.state_root = root;
    let bytes = proof.encode();
    assert_eq!(Proof::decode(&bytes), Ok(proof));
    check(&bytes);
}

fn check(bytes: &[u8]) {
    let Ok(proof) = Proof::decode(bytes) else { return };
    assert!(bytes.len() <= PROOF_BYTES_MAX);
    assert_eq!(proof.encode(), bytes, "a proof has one form");
    let MessageId { bucket, key } = proof.message;
    assert_eq!(proof.message.to_string().parse(), Ok(proof.message));
    assert!(key.is_settled(bucket.day, proof.cutoff));
    assert!(proof.inclusion.bucket_count() > 0);
    let nobody = PublicKey([4; PUBLIC_KEY_BYTES]);
    assert_eq!(proof.check_signature(&nobody), Err(ProofError::Signature));
}
