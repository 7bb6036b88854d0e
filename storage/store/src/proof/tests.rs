//! The bytes of a proof: one form, and everything else refused before it is believed.

use super::{FIXED_BYTES, Proof, ProofError, sha256};
use crate::fuzz::{BUCKET, CLUSTER, MEMBER};
use quar_base::class::Class;
use quar_base::ids::{BodyId, RecordId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::limits::{CERTIFICATE_BYTES_MAX, MESSAGE_BYTES_MAX, PROOF_BYTES_MAX};
use quar_base::signing::Signature;
use quar_base::time::{Cutoff, Day, Millis, UnixMillis};
use quar_merkle::{DayTree, Hash, Inclusion, Trie};

/// A proof of the first of so many messages in the first of so many buckets. Never changes from run
/// to run; nobody signed it.
fn sample(keys: u32, buckets: u32) -> Proof {
    let key = |i: u32| RecordKey { second: i, id: RecordId([i as u8; 32]) };
    let trie = Trie::from_sorted((0..keys).map(key));
    let others = (1..buckets).map(|number| {
        let bucket = Bucket { class: Class::VIRUS, day: Day(BUCKET.day.0 - number) };
        (bucket, 7, Hash([number as u8; 32]))
    });
    let own = (BUCKET, trie.len(), trie.root());
    let tree = DayTree::from_buckets(others.chain([own]));
    let noon = BUCKET.day.start().plus(Millis(12 * 3_600_000));
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

/// A proof's bytes after a change of its fields, its way to the state root made right.
fn changed(change: impl FnOnce(&mut Proof)) -> Vec<u8> {
    let mut proof = sample(100, 3);
    change(&mut proof);
    let root = proof.inclusion.state_root(proof.message.bucket, &proof.message.key);
    proof.state_root = root.unwrap_or(proof.state_root);
    proof.encode()
}

#[test]
fn golden_bytes_of_the_smallest_proof() {
    let proof = sample(1, 1);
    let hex = hex_of(&proof.encode());
    let expected = [
        "717561727072660a0100",
        &"09".repeat(16),
        &"01".repeat(16),
        "00fe4608a2010000",
        "b62a046b00000000",
        "cd265b40132af1f4d06b2bb28866719ac88386814d819af3f2eb3eaf2b8a4713",
        "01",
        "2c510000",
        "00000000",
        &"00".repeat(32),
        &"0b".repeat(32),
        "0300000000000000",
        // printf abc | sha256sum
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "01",
        "00000000",
        &"00".repeat(32),
        "00",
        "0000000000000000",
        "0100000000000000",
        "00",
        "0200",
        "3000",
        &"05".repeat(64),
    ];
    assert_eq!(hex, expected.concat());
    assert_eq!(Proof::decode(&proof.encode()), Ok(proof));
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn refuses_what_is_cut_off_or_followed_by_something() {
    let bytes = changed(|_| {});
    assert!(Proof::decode(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(Proof::decode(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert_eq!(Proof::decode(&longer), Err(ProofError::Trailing(1)));
    let long = vec![0; PROOF_BYTES_MAX + 1];
    assert_eq!(Proof::decode(&long), Err(ProofError::TooLarge));
}

#[test]
fn refuses_another_version_and_other_files() {
    let mut bytes = changed(|_| {});
    bytes[8] = 2;
    assert_eq!(Proof::decode(&bytes), Err(ProofError::Version(2)));
    bytes[7] = b'\r';
    assert_eq!(Proof::decode(&bytes), Err(ProofError::Magic));
    assert_eq!(Proof::decode(b"-----BEGIN"), Err(ProofError::Magic));
    assert_eq!(Proof::decode(b""), Err(ProofError::Magic));
}

#[test]
fn refuses_messages_and_times_that_cannot_be() {
    let refused = |change: fn(&mut Proof)| Proof::decode(&changed(change)).expect_err("refused");
    assert_eq!(refused(|proof| proof.message.bucket.day = Day(2_932_897)), ProofError::Message);
    let too_long = |proof: &mut Proof| proof.body_bytes = MESSAGE_BYTES_MAX as u64 + 1;
    assert_eq!(refused(too_long), ProofError::Message);
    assert_eq!(refused(|proof| proof.cutoff = Cutoff(proof.cutoff.0 + 60)), ProofError::Time);
    assert_eq!(refused(|proof| proof.at = UnixMillis(0)), ProofError::Time);
    assert_eq!(refused(|proof| proof.cutoff = Cutoff(proof.cutoff.0 - 200_000)), ProofError::Time);
    let long = |proof: &mut Proof| proof.certificate = vec![0x30; CERTIFICATE_BYTES_MAX + 1];
    assert_eq!(refused(long), ProofError::Certificate(CERTIFICATE_BYTES_MAX + 1));
}

#[test]
fn refuses_a_message_that_does_not_lead_to_the_state_root() {
    let bytes = changed(|_| {});
    for at in 0..FIXED_BYTES {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let is_message = (58..131).contains(&at);
        let read = Proof::decode(&other);
        // What does not bear on the root is for the signature to vouch for.
        assert!(!is_message || read.is_err(), "{at}");
        assert!(read.is_err() || read.unwrap().encode() == other, "{at}");
    }
}

#[test]
fn a_body_is_known_by_length_and_digest() {
    let proof = sample(1, 1);
    assert!(proof.is_about(b"abc"));
    assert!(!proof.is_about(b"abd") && !proof.is_about(b""));
    let wrong_length = Proof { body_bytes: 4, ..proof };
    assert!(!wrong_length.is_about(b"abc"));
    assert_eq!(sha256(b"abc"), wrong_length.body_sha256);
}
