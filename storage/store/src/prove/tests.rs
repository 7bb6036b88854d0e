//! Proofs of real stores: what is there is proven, what is not is said plainly.

use super::ProveError;
use crate::proof::{Proof, ProofError};
use crate::tests::{NOW, Node, delete, mail, put, signing_key};
use crate::{ReadError, Store, Which};
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_base::time::{Day, Millis, UnixMillis};
use std::ops::ControlFlow;

/// When all that the tests put has settled.
const LATER: UnixMillis = UnixMillis(NOW.0 + 600_000);
const CERTIFICATE: &[u8] = b"stands here as it is";

fn prove(store: &Store, id: MessageId) -> Result<Proof, ProveError> {
    let proof = store.prove(id, LATER, CERTIFICATE)?;
    // What is handed out is bytes.
    let read = Proof::decode(&proof.encode()).unwrap();
    assert_eq!(read, proof);
    read.check_signature(&store.settings().signing.public()).unwrap();
    Ok(read)
}

/// Mails of different classes and days.
fn fill(store: &Store, class: Class, days_before: u64, count: usize) -> Vec<MessageId> {
    let put_one = |number: usize| {
        let back = days_before * 86_400_000;
        let received = UnixMillis(NOW.0 - back).plus(Millis(number as u64 * 700));
        let body = format!("Subject: {class:?} {days_before} {number}\r\n\r\nbody");
        let mail = crate::Mail { class, received, ..mail(body.as_bytes(), 1) };
        store.admit_mail(mail).unwrap().message.unwrap()
    };
    let ids = (0..count).map(put_one).collect();
    store.commit();
    store.advance(LATER.cutoff());
    ids
}

#[test]
fn every_message_of_open_and_packed_days_is_proven_before_and_after_opening() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let mut ids = fill(&store, Class::SPAM, 0, 1);
    ids.extend(fill(&store, Class::VIRUS, 3, 300));
    ids.extend(fill(&store, Class::SPAM, 3, 70));
    for days_before in 4..20 {
        ids.extend(fill(&store, Class::POLICY, days_before, 2));
    }
    let check = |store: &Store| {
        let root = store.view(Which::Current).state_root();
        for id in &ids {
            let proof = prove(store, *id).unwrap();
            assert_eq!((proof.message, proof.state_root), (*id, root));
            assert_eq!(proof.inclusion.bucket_count(), 19);
            assert!(proof.is_about(&store.body(*id).unwrap()));
            assert_eq!((proof.at, proof.cutoff), (LATER, LATER.cutoff()));
            assert_eq!(proof.certificate, CERTIFICATE);
        }
        root
    };
    let open = check(&store);
    for bucket in [ids[1].bucket, ids[301].bucket] {
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    }
    assert_eq!(check(&store), open);
    store.checkpoint().unwrap();
    drop(store);
    let store = node.open_at(LATER).0;
    assert_eq!(store.packed().len(), 2);
    assert_eq!(check(&store), open);
}

#[test]
fn what_is_newer_than_the_cutoff_is_proven_when_it_has_settled() {
    let store = Node::new(1).open();
    let id = put(&store, b"body", 1);
    store.advance(NOW.cutoff());
    let Err(ProveError::NotYet { settles, .. }) = prove(&store, id) else {
        panic!("proven before it settled");
    };
    let error = prove(&store, id).expect_err("too new").to_string();
    assert!(error.ends_with("at 2026-11-23 08:00:05 UTC"), "{error}");
    store.advance(UnixMillis(settles.0 - 1).cutoff());
    assert!(matches!(prove(&store, id), Err(ProveError::NotYet { .. })));
    store.advance(settles.cutoff());
    assert_eq!(prove(&store, id).unwrap().message, id);
}

#[test]
fn what_was_deleted_or_is_no_longer_kept_or_never_came_is_not_proven() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, Class::SPAM, 29, 3);
    delete(&store, ids[0], 1, &[0]);
    assert!(matches!(prove(&store, ids[0]), Err(ProveError::Deleted(id)) if id == ids[0]));
    let mut never = ids[1];
    never.key.id.0[0] ^= 1;
    let error = prove(&store, never).expect_err("never came");
    assert!(matches!(error, ProveError::Read(ReadError::NotFound(_))), "{error}");
    assert!(prove(&store, ids[1]).is_ok());
    store.checkpoint().unwrap();
    drop(store);
    let store = node.open_at(LATER.plus(Millis(3 * 86_400_000))).0;
    let Err(ProveError::BelowFloor { day, .. }) = prove(&store, ids[1]) else {
        panic!("proven below the floor");
    };
    assert_eq!(day, Day(ids[1].bucket.day.0));
}

#[test]
fn a_body_that_is_not_here_is_not_claimed() {
    let origin = Node::new(1).open_at(LATER).0;
    let store = Node::new(2).open_at(LATER).0;
    let id = fill(&origin, Class::SPAM, 0, 1)[0];
    let (record, body) = origin.item(id.bucket, &id.key).unwrap().unwrap();
    store.admit_record(record.clone(), None, LATER).unwrap();
    store.commit();
    store.advance(LATER.cutoff());
    let error = prove(&store, id).expect_err("no body");
    assert!(matches!(error, ProveError::Read(ReadError::BodyMissing(_))), "{error}");
    store.admit_record(record, body, LATER).unwrap();
    store.commit();
    let (here, there) = (prove(&store, id).unwrap(), prove(&origin, id).unwrap());
    assert_eq!((here.state_root, here.body), (there.state_root, there.body));
    assert_ne!(here.member, there.member);
}

#[test]
fn a_signature_is_one_member_s_and_for_one_proof() {
    let store = Node::new(1).open_at(LATER).0;
    let ids = fill(&store, Class::SPAM, 0, 2);
    let [one, other] = [ids[0], ids[1]].map(|id| prove(&store, id).unwrap());
    let key = signing_key(1).public();
    let stolen = Proof { signature: other.signature, ..one.clone() };
    assert_eq!(stolen.check_signature(&key), Err(ProofError::Signature));
    assert_eq!(one.check_signature(&signing_key(2).public()), Err(ProofError::Signature));
    let claims: [fn(&mut Proof); 7] = [
        |proof| proof.cluster.0[0] ^= 1,
        |proof| proof.member.0[0] ^= 1,
        |proof| proof.at.0 += 1,
        |proof| proof.body.0[0] ^= 1,
        |proof| proof.body_bytes += 1,
        |proof| proof.body_sha256[0] ^= 1,
        |proof| proof.certificate[0] ^= 1,
    ];
    for (at, claim) in claims.iter().enumerate() {
        let mut changed = one.clone();
        claim(&mut changed);
        assert_eq!(changed.check_signature(&key), Err(ProofError::Signature), "{at}");
    }
}
