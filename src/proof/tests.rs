//! Proofs of real members, made with real certificates, and everything that must not pass for one.

use super::{Unproven, verify};
use crate::authority::{PlannedMember, StaticPlan, create_cluster, extend_roster};
use crate::config::{Config, Identity, Paths};
use crate::daemon::prove::{Prover, ProvingError};
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::ids::MemberId;
use quar_base::key::MessageId;
use quar_base::signing::SigningKey;
use quar_base::time::{Millis, UnixMillis};
use quar_net::NetError;
use quar_store::{
    Mail, MemoryDisk, MemoryHome, Opening, Origin, Proof, ProofError, Settings, Store,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 31_557_600_000;

fn plan(numbers: &[u16]) -> StaticPlan {
    let member = |number: &u16| PlannedMember {
        name: format!("mx{number}"),
        node_number: *number,
        addresses: vec![format!("127.0.0.{number}:1027")],
        location: String::new(),
    };
    StaticPlan { members: numbers.iter().map(member).collect() }
}

/// A cluster of two in a directory of its own; of another seed another cluster.
fn cluster(seed: u8) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    create_cluster(&plan(&[1, 2]), [seed; 32], NOW, directory.path()).unwrap();
    directory
}

fn identity(out: &Path, name: &str) -> Identity {
    Identity::load(&Paths::under(Some(&out.join(name)))).unwrap()
}

/// The store of whoever has these keys, and says that it is `member`.
fn store_of(identity: &Identity, member: MemberId, now: UnixMillis) -> Store {
    let roster = identity.roster.roster().clone();
    let settings = Settings {
        cluster: roster.cluster,
        member,
        node_number: 1,
        signing: Arc::new(SigningKey::from_pkcs8(&identity.private_key).unwrap()),
        keys: vec![identity.encryption_key.clone()],
        id_key: identity.id_key.clone(),
        retention: Config::default().retention,
        min_free_bytes: 0,
        reserve_bytes: 0,
    };
    let opening = Opening {
        settings,
        disk: Arc::new(MemoryDisk::new()),
        index: &mut MemoryHome(Arc::default()),
        roster: Arc::new(roster),
        now,
        seed: [3; 32],
        progress: &mut |_| {},
    };
    Store::open(opening).unwrap().0
}

/// Puts mails of an hour, so many days ago.
fn fill(store: &Store, class: Class, days_ago: u64, count: u64) -> Vec<MessageId> {
    let put = |number: u64| {
        let received = UnixMillis(NOW.0 - days_ago * DAY_MS - 3_600_000);
        let text = format!("Subject: {days_ago} {number}\r\n\r\nbody");
        let mail = Mail {
            class,
            received: received.plus(Millis(number * 17_000)),
            envelope: Envelope::default(),
            headers: Headers::default(),
            body: store.encode_body(text.as_bytes()).unwrap(),
            score_milli: 0,
            reason: String::new(),
            origin: Origin::Caught,
        };
        store.admit_mail(mail).unwrap().message.unwrap()
    };
    let ids = (0..count).map(put).collect();
    store.commit();
    ids
}

/// A member with one message, and a proof of it.
struct Proving {
    out: TempDir,
    identity: Identity,
    store: Store,
    id: MessageId,
    bytes: Vec<u8>,
}

impl Proving {
    fn new() -> Self {
        let out = cluster(7);
        let identity = identity(out.path(), "mx1");
        let store = store_of(&identity, identity.member, NOW);
        let id = fill(&store, Class::SPAM, 0, 1)[0];
        let bytes = Prover::new(&identity).prove(&store, id, NOW).unwrap();
        Self { out, identity, store, id, bytes }
    }

    /// What comes of a proof that is signed at another time, with another certificate in it.
    fn signed(&self, at: UnixMillis, certificate: &[u8]) -> Result<super::Proven, Unproven> {
        let proof = self.store.prove(self.id, at, certificate).unwrap();
        verify(&proof.encode(), &self.identity.authority)
    }
}

#[test]
fn a_proof_names_its_node_and_holds_with_the_authority_s_certificate_alone() {
    let Proving { identity, store, id, bytes, .. } = Proving::new();
    let proven = verify(&bytes, &identity.authority).unwrap();
    assert_eq!(proven.node, "mx1");
    assert_eq!((proven.proof.member, proven.proof.message), (identity.member, id));
    assert_eq!(proven.proof.cluster, identity.cluster());
    assert_eq!(proven.proof.at, NOW);
    let body = store.body(id).unwrap();
    assert!(proven.proof.is_about(&body) && !proven.proof.is_about(&body[1..]));
}

/// Every bit of a proof, changed by itself.
fn assert_every_bit_counts(bytes: &[u8], authority: &[u8]) {
    assert!(verify(bytes, authority).is_ok());
    let mut changed = bytes.to_vec();
    for at in 0..bytes.len() * 8 {
        changed[at / 8] ^= 1 << (at % 8);
        assert!(verify(&changed, authority).is_err(), "bit {at} of {} bytes", bytes.len());
        changed[at / 8] ^= 1 << (at % 8);
    }
}

#[test]
fn every_single_bit_change_is_refused_of_one_leaf_in_one_open_day() {
    let Proving { identity, bytes, .. } = Proving::new();
    assert_every_bit_counts(&bytes, &identity.authority);
}

#[test]
fn every_single_bit_change_is_refused_of_pages_in_open_and_packed_days_among_many() {
    let out = cluster(7);
    let identity = identity(out.path(), "mx1");
    let store = store_of(&identity, identity.member, NOW);
    let open = fill(&store, Class::SPAM, 0, 150)[40];
    let packed = fill(&store, Class::VIRUS, 4, 150)[77];
    for days_ago in 1..20 {
        fill(&store, Class::POLICY, days_ago, 1);
    }
    store.pack(packed.bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    for id in [open, packed] {
        let bytes = Prover::new(&identity).prove(&store, id, NOW).unwrap();
        assert_eq!(verify(&bytes, &identity.authority).unwrap().proof.inclusion.bucket_count(), 21);
        assert_every_bit_counts(&bytes, &identity.authority);
    }
}

#[test]
fn another_cluster_s_authority_does_not_vouch_for_it() {
    let proving = Proving::new();
    let other = identity(cluster(8).path(), "mx1");
    let refused = verify(&proving.bytes, &other.authority).expect_err("another CA");
    assert!(matches!(refused, Unproven::Certificate(NetError::WrongAuthority)), "{refused}");
    let refused = verify(&proving.bytes, &proving.identity.certificate).expect_err("no CA");
    assert!(matches!(refused, Unproven::Certificate(_)), "{refused}");
    assert!(verify(&proving.bytes, b"nothing").is_err());
}

#[test]
fn nobody_speaks_for_another_member() {
    let proving = Proving::new();
    let other = identity(proving.out.path(), "mx2");
    // My claim and signature, another's certificate.
    let refused = proving.signed(NOW, &other.certificate).expect_err("another certificate");
    assert!(matches!(refused, Unproven::OtherMember { .. }), "{refused}");
    // Another's name, my signature, and either certificate.
    let store = store_of(&proving.identity, other.member, NOW);
    let id = fill(&store, Class::SPAM, 0, 1)[0];
    let claim = |certificate: &[u8]| {
        let proof = store.prove(id, NOW, certificate).unwrap();
        verify(&proof.encode(), &proving.identity.authority).expect_err("a false claim")
    };
    let refused = claim(&proving.identity.certificate);
    assert!(matches!(refused, Unproven::OtherMember { .. }), "{refused}");
    let refused = claim(&other.certificate);
    assert!(matches!(refused, Unproven::Proof(ProofError::Signature)), "{refused}");
}

#[test]
fn a_certificate_counts_at_the_time_that_the_proof_names() {
    let proving = Proving::new();
    let own = &proving.identity.certificate;
    assert!(proving.signed(NOW.plus(Millis(9 * YEAR_MS)), own).is_ok());
    let refused = proving.signed(NOW.plus(Millis(11 * YEAR_MS)), own).expect_err("expired");
    assert!(matches!(refused, Unproven::Certificate(NetError::Expired)), "{refused}");
    // A node whose certificate has expired says so, and hands out nothing.
    let late = NOW.plus(Millis(11 * YEAR_MS));
    let refused = Prover::new(&proving.identity).prove(&proving.store, proving.id, late);
    assert!(matches!(refused, Err(ProvingError::Unproven(_))));
    // As a node with a clock far behind would.
    let early = UnixMillis(NOW.0 - 3 * DAY_MS);
    let store = store_of(&proving.identity, proving.identity.member, early);
    let id = fill(&store, Class::SPAM, 4, 1)[0];
    let proof = store.prove(id, early, own).unwrap();
    let refused = verify(&proof.encode(), &proving.identity.authority).expect_err("too early");
    assert!(matches!(refused, Unproven::Certificate(NetError::NotYetValid)), "{refused}");
}

#[test]
fn what_a_member_proved_before_it_was_removed_stays_proven() {
    let proving = Proving::new();
    let authority = proving.out.path().join("authority");
    extend_roster(&authority, &plan(&[2, 3]), [9; 32], NOW).unwrap();
    let pem = std::fs::read(authority.join("BaruwaCA.pem")).unwrap();
    let file = proving.out.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let certificate = crate::config::load_certificate(&file).unwrap();
    assert_eq!(verify(&proving.bytes, &certificate).unwrap().node, "mx1");
}

#[test]
fn a_proof_of_one_message_is_none_of_another_in_the_same_leaf() {
    let out = cluster(7);
    let identity = identity(out.path(), "mx1");
    let store = store_of(&identity, identity.member, NOW);
    let ids = fill(&store, Class::SPAM, 0, 2);
    let bytes = Prover::new(&identity).prove(&store, ids[0], NOW).unwrap();
    let mut proof = Proof::decode(&bytes).unwrap();
    proof.message = ids[1];
    // Both lie in the leaf, so the way leads to the state root; the signature is for the other.
    assert!(Proof::decode(&proof.encode()).is_ok());
    let refused = verify(&proof.encode(), &identity.authority).expect_err("another message");
    assert!(matches!(refused, Unproven::Proof(ProofError::Signature)), "{refused}");
    assert!(
        !verify(&bytes, &identity.authority).unwrap().proof.is_about(&store.body(ids[1]).unwrap())
    );
}
