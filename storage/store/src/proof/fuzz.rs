//! What must hold of any bytes that are read as a proof.
//! Never built into the product.

use super::{Proof, ProofError};
use quar_base::key::MessageId;
use quar_base::limits::PROOF_BYTES_MAX;
use quar_base::signing::{PUBLIC_KEY_BYTES, PublicKey};

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
