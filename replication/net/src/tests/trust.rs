//! Who is let in: authority, dates, name, roster, key; on both sides, over both transports.
//! Never about what an admitted member may send.

use super::support::{Authority, DAY, EACH, endpoint, endpoint_with, id, meet, nobody};
use crate::tls::Tls;
use crate::{
    Admission, CertificateFault, Connection, Identity, NetError, Preference, Refusal, Rejected,
    Transport, certificate_name,
};
use quar_base::signing::PublicKey;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P384_SHA384};
use std::sync::{Arc, Mutex};

type Met = (Result<Connection, NetError>, Result<Connection, Rejected>);

fn kinds(met: Met) -> (&'static str, &'static str) {
    let (near, far) = met;
    let far = far.expect_err("the acceptor refuses or is refused");
    assert!(far.from.ip().is_loopback());
    let near = near.expect_err("the dialer refuses or is refused");
    (near.kind(), far.why.kind())
}

fn refused(met: &Met) -> Refusal {
    match &met.0 {
        Err(NetError::RefusedByPeer { refusal }) => *refusal,
        other => panic!("not refused by the peer: {other:?}"),
    }
}

#[tokio::test]
async fn a_dialer_refuses_a_member_of_another_cluster() {
    for prefer in EACH {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (dialer, acceptor) = (endpoint(ours.member(1)), endpoint(theirs.member(2)));
        let met = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(kinds(met), ("wrong-authority", "refused-by-peer"));
    }
}

#[tokio::test]
async fn an_acceptor_refuses_a_member_of_another_cluster() {
    for prefer in EACH {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let dialer = endpoint(theirs.member(1).trusting(ours.der()));
        let acceptor = endpoint(ours.member(2));
        let met = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(refused(&met), Refusal::WrongAuthority);
        assert_eq!(kinds(met), ("refused-by-peer", "wrong-authority"));
    }
}

#[tokio::test]
async fn an_acceptor_refuses_whom_the_roster_does_not_name() {
    for prefer in EACH {
        let authority = Authority::new();
        let dialer = endpoint(authority.member(1));
        let acceptor = endpoint_with(authority.member(2), |settings| {
            settings.admission = nobody();
        });
        let met = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(refused(&met), Refusal::NotAdmitted);
        match &met.1 {
            Err(Rejected { why: NetError::UnknownMember { member }, .. }) => {
                assert_eq!(*member, id(1))
            }
            other => panic!("not refused for the roster: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dialer_refuses_whom_the_roster_does_not_name() {
    for prefer in EACH {
        let authority = Authority::new();
        let dialer = endpoint_with(authority.member(1), |settings| {
            settings.admission = nobody();
        });
        let acceptor = endpoint(authority.member(2));
        let met = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(kinds(met), ("unknown-member", "refused-by-peer"));
    }
}

#[tokio::test]
async fn the_roster_is_asked_each_time_for_the_member_and_its_certificates_key() {
    for prefer in EACH {
        let authority = Authority::new();
        let members = [authority.member(1), authority.member(2)];
        let keys = members.each_ref().map(Identity::public_key);
        let [asked_dialer, asked_acceptor]: [Arc<Mutex<Vec<(_, PublicKey)>>>; 2] =
            Default::default();
        let note = |asked: &Arc<Mutex<Vec<_>>>| -> Admission {
            let asked = asked.clone();
            Arc::new(move |member, key: &PublicKey| {
                asked.lock().unwrap().push((member, *key));
                true
            })
        };
        let [one, two] = members;
        let dialer = endpoint_with(one, |settings| settings.admission = note(&asked_dialer));
        let acceptor = endpoint_with(two, |settings| settings.admission = note(&asked_acceptor));
        for _ in 0..2 {
            let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
            assert!(near.is_ok() && far.is_ok());
        }
        assert_eq!(*asked_dialer.lock().unwrap(), [(id(2), keys[1]); 2]);
        assert_eq!(*asked_acceptor.lock().unwrap(), [(id(1), keys[0]); 2]);
    }
}

#[tokio::test]
async fn a_dialer_refuses_another_member_than_it_dialed() {
    for prefer in EACH {
        let authority = Authority::new();
        let (dialer, acceptor) = (endpoint(authority.member(1)), endpoint(authority.member(2)));
        let met = meet(&dialer, &acceptor, 3, prefer).await;
        match &met.0 {
            Err(NetError::WrongMember { expected, found }) => {
                assert_eq!((*expected, *found), (id(3), Some(id(2))));
            }
            other => panic!("not refused for its name: {other:?}"),
        }
        assert_eq!(kinds(met), ("wrong-member", "refused-by-peer"));
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_both_sides() {
    for prefer in EACH {
        let authority = Authority::new();
        let (valid, expired) = (endpoint(authority.member(1)), endpoint(authority.expired(2)));
        let met = meet(&valid, &expired, 2, prefer).await;
        assert_eq!(kinds(met), ("expired", "refused-by-peer"));
        let met = meet(&expired, &valid, 1, prefer).await;
        assert_eq!(refused(&met), Refusal::Expired);
        assert_eq!(kinds(met), ("refused-by-peer", "expired"));
    }
}

#[tokio::test]
async fn a_certificate_of_the_future_is_refused() {
    let authority = Authority::new();
    let early = authority.member_with(2, |params| {
        params.not_before = (std::time::SystemTime::now() + DAY).into();
    });
    let (dialer, acceptor) = (endpoint(authority.member(1)), endpoint(early));
    let (near, _) = meet(&dialer, &acceptor, 2, Preference::OnlyTcp).await;
    assert_eq!(near.unwrap_err().kind(), "not-yet-valid");
}

#[tokio::test]
async fn an_expired_certificate_passes_within_the_grace_and_not_beyond() {
    for prefer in EACH {
        let authority = Authority::new();
        let (valid, expired) = (endpoint(authority.member(1)), endpoint(authority.expired(2)));
        valid.set_expiry_grace(2 * DAY);
        let (near, far) = meet(&expired, &valid, 1, prefer).await;
        assert!(near.is_ok() && far.is_ok());
        let (near, far) = meet(&valid, &expired, 2, prefer).await;
        assert!(near.is_ok() && far.is_ok());
        valid.set_expiry_grace(DAY / 2);
        let met = meet(&expired, &valid, 1, prefer).await;
        assert_eq!(kinds(met), ("refused-by-peer", "expired"));
    }
}

#[tokio::test]
async fn the_grace_lets_in_neither_strangers_nor_the_removed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let acceptor = endpoint_with(ours.member(2), |settings| settings.admission = nobody());
    acceptor.set_expiry_grace(2 * DAY);
    let stranger = endpoint(theirs.expired(1).trusting(ours.der()));
    let met = meet(&stranger, &acceptor, 2, Preference::OnlyTcp).await;
    assert_eq!(kinds(met), ("refused-by-peer", "wrong-authority"));
    let removed = endpoint(ours.expired(3));
    let met = meet(&removed, &acceptor, 2, Preference::OnlyTcp).await;
    assert_eq!(kinds(met), ("refused-by-peer", "unknown-member"));
}

#[tokio::test]
async fn a_certificate_without_its_key_proves_nothing() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    let (thief, victim) = (authority.member(1), authority.member(3));
    let tls = Tls::with_stolen_certificate(&thief, &victim);
    let config = Arc::new(tls.client(id(2)).0);
    let stream = tokio::net::TcpStream::connect(acceptor.local_address());
    let client = tokio_rustls::TlsConnector::from(config)
        .connect(crate::authority::server_name(id(2)), stream.await.unwrap())
        .await;
    let rejected = acceptor.accept().await.unwrap().unwrap_err();
    assert!(
        matches!(rejected.why, NetError::BadCertificate { fault: CertificateFault::KeyNotProven }),
        "{rejected}"
    );
    drop(client);
}

#[tokio::test]
async fn a_renewed_identity_serves_the_next_handshake() {
    for prefer in EACH {
        let authority = Authority::new();
        let (renewed, expired) = (authority.member(2), authority.expired(2));
        let (dialer, acceptor) = (endpoint(authority.member(1)), endpoint(expired));
        let (near, _) = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(near.unwrap_err().kind(), "expired");
        acceptor.set_identity(&renewed).unwrap();
        let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
        assert!(near.is_ok() && far.is_ok());
        let (near, far) = meet(&acceptor, &dialer, 1, prefer).await;
        assert!(near.is_ok() && far.is_ok());
    }
}

#[tokio::test]
async fn a_rejection_says_on_which_door_it_happened() {
    for (prefer, transport) in EACH.into_iter().zip([Transport::Quic, Transport::Tcp]) {
        let authority = Authority::new();
        let (valid, expired) = (endpoint(authority.member(1)), endpoint(authority.expired(2)));
        let (_, far) = meet(&expired, &valid, 1, prefer).await;
        assert_eq!(far.unwrap_err().transport, transport);
    }
}

#[test]
fn an_identity_needs_a_key_and_a_certificate_of_one_member_from_its_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let name = || vec![certificate_name(id(1))];
    let good = ours.issue(name(), &key, |_| ());
    let kind = |certificate: Vec<u8>, key: &KeyPair, authority: Vec<u8>| {
        let identity = Identity::new(certificate, key.serialize_der(), authority);
        identity.map_or_else(|error| error.to_string(), |identity| format!("{identity:?}"))
    };
    let member = format!("Identity({})", id(1));
    assert_eq!(kind(good.clone(), &key, ours.der()), member);
    assert_eq!(
        kind(good.clone(), &other, ours.der()),
        "the private key does not belong to the certificate"
    );
    assert_eq!(
        kind(good.clone(), &key, theirs.der()),
        "the certificate was not issued by this cluster's authority"
    );
    assert!(kind(good, &key, b"no certificate".to_vec()).contains("authority's certificate"));
    let no_member = "the certificate names no member";
    for names in [
        vec!["host.example".to_owned()],
        vec![],
        vec![format!("{}.member.quard.internal", "AB".repeat(16))],
        vec![format!("x{}", name()[0])],
        vec![format!("{}.example", name()[0])],
    ] {
        let certificate = ours.issue(names, &key, |_| ());
        assert_eq!(kind(certificate, &key, ours.der()), no_member);
    }
    let two = vec![certificate_name(id(1)), certificate_name(id(2))];
    assert_eq!(
        kind(ours.issue(two, &key, |_| ()), &key, ours.der()),
        "the certificate names more than one member"
    );
    let with_host = vec!["host.example".to_owned(), certificate_name(id(1))];
    assert_eq!(kind(ours.issue(with_host, &key, |_| ()), &key, ours.der()), member);
    assert_eq!(
        kind(ours.issue(name(), &p384, |_| ()), &p384, ours.der()),
        "the certificate does not hold a P-256 key"
    );
    let one_sided = ours.issue(name(), &key, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(
        kind(one_sided, &key, ours.der()),
        "the certificate is not meant for both sides of a connection"
    );
}

#[test]
fn an_identity_comes_from_pem_too_and_its_key_is_not_shown() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let certificate = authority.certificate(vec![certificate_name(id(7))], &key, |_| ());
    let identity = Identity::from_pem(
        certificate.pem().as_bytes(),
        key.serialize_pem().as_bytes(),
        authority.pem().as_bytes(),
    )
    .unwrap();
    assert_eq!(identity.member(), id(7));
    assert_eq!(format!("{identity:?}"), format!("Identity({})", id(7)));
    assert_eq!(Identity::from_pem(b"", b"", b"").unwrap_err().kind(), "bad-certificate");
}
