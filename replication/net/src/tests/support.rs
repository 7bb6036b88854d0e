//! A certificate authority, endpoints, and pairs of connected members for the other tests.
//! Never a test itself.

use crate::{
    Admission, Connection, Endpoint, Identity, NetError, Preference, Rejected, Settings,
    certificate_name,
};
use quar_base::ids::MemberId;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// Far more than a handshake may take.
const MEETING_MAX: Duration = Duration::from_secs(60);
/// Both transports, one at a time.
pub(super) const EACH: [Preference; 2] = [Preference::OnlyQuic, Preference::OnlyTcp];

/// A cluster's authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate, after `change` had its way with it.
    pub(super) fn certificate(
        &self,
        names: Vec<String>,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        params.signed_by(key, &*self.0).unwrap()
    }

    pub(super) fn issue(
        &self,
        names: Vec<String>,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        self.certificate(names, key, change).der().to_vec()
    }

    pub(super) fn member(&self, number: u8) -> Identity {
        self.member_with(number, |_| ())
    }

    pub(super) fn member_with(
        &self,
        number: u8,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names = vec![certificate_name(id(number))];
        let certificate = self.issue(names, &key, change);
        Identity::new(certificate, key.serialize_der(), self.der()).unwrap()
    }

    /// A member whose certificate ended a day ago.
    pub(super) fn expired(&self, number: u8) -> Identity {
        self.member_with(number, |params| {
            params.not_after = (SystemTime::now() - DAY).into();
        })
    }
}

pub(super) fn id(number: u8) -> MemberId {
    MemberId([number; 16])
}

pub(super) fn everyone() -> Admission {
    Arc::new(|_, _| true)
}

pub(super) fn nobody() -> Admission {
    Arc::new(|_, _| false)
}

pub(super) fn endpoint(identity: Identity) -> Endpoint {
    endpoint_with(identity, |_| ())
}

pub(super) fn endpoint_with(identity: Identity, change: impl FnOnce(&mut Settings)) -> Endpoint {
    let mut settings = Settings::new("127.0.0.1:0".parse().unwrap(), identity, everyone());
    change(&mut settings);
    Endpoint::bind(settings).unwrap()
}

pub(super) fn addresses(of: &Endpoint) -> Vec<String> {
    vec![of.local_address().to_string()]
}

/// Dials and accepts at once; gives what each side got.
pub(super) async fn meet(
    dialer: &Endpoint,
    acceptor: &Endpoint,
    peer: u8,
    prefer: Preference,
) -> (Result<Connection, NetError>, Result<Connection, Rejected>) {
    let to = addresses(acceptor);
    let both = async {
        tokio::join!(dialer.dial(&to, id(peer), prefer), async {
            acceptor.accept().await.expect("the endpoint is open")
        })
    };
    // A dial that never gets through would leave the acceptor waiting for ever.
    timeout(MEETING_MAX, both).await.expect("they meet")
}

/// Two members of one cluster, and a connection between them: its two ends, dialer's first.
pub(super) struct Pair {
    pub(super) dialer: Endpoint,
    pub(super) acceptor: Endpoint,
    pub(super) near: Connection,
    pub(super) far: Connection,
}

pub(super) async fn pair(prefer: Preference) -> Pair {
    pair_with(prefer, |_| ()).await
}

pub(super) async fn pair_with(prefer: Preference, change: impl Fn(&mut Settings)) -> Pair {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), &change);
    let acceptor = endpoint_with(authority.member(2), &change);
    let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
    Pair { dialer, acceptor, near: near.unwrap(), far: far.unwrap() }
}
