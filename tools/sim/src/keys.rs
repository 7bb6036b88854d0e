//! Keys and rosters of a life: the same for the same numbers, in every process.
//! Never random: signatures are deterministic (RFC 6979), so that records have the same ids each time.

use p256::ecdsa::signature::Signer;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::roster::{Member, Roster, SignedRoster};
use quar_base::signing::{PublicKey, Signature, SigningKey};
use quar_store::{EncryptionKey, IdKey};
use std::sync::Arc;

/// The cluster of every life.
pub const CLUSTER: ClusterId = ClusterId([9; 16]);
/// Bytes of the key of body ids.
pub const ID_KEY: [u8; 32] = [8; 32];

/// One member's identity: a machine that is set up anew gets the next generation.
#[derive(Clone)]
pub struct Identity {
    /// Its member id.
    pub member: MemberId,
    /// Its node number.
    pub node_number: u16,
    /// Its key.
    pub signing: Arc<SigningKey>,
}

impl Identity {
    /// Of a machine, in a generation.
    #[must_use]
    pub fn new(machine: usize, generation: u8) -> Self {
        let number = u8::try_from(machine + 1).expect("a life has few machines");
        let mut member = [number; 16];
        member[15] = generation;
        Self {
            member: MemberId(member),
            node_number: number.into(),
            signing: Arc::new(key(&[number, generation])),
        }
    }

    /// How the roster lists it.
    #[must_use]
    pub fn listed(&self) -> Member {
        Member {
            id: self.member,
            node_number: self.node_number,
            name: format!("node{}", self.node_number),
            location: String::new(),
            addresses: vec![format!("node{}.example.net:1027", self.node_number)],
            public_key: self.signing.public(),
        }
    }
}

/// The cluster's authority: signs rosters.
pub struct Authority(SigningKey);

impl Authority {
    /// The one of every life.
    #[must_use]
    pub fn new() -> Self {
        Self(key(b"authority"))
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// A roster of these members.
    #[must_use]
    pub fn roster(
        &self,
        epoch: u64,
        members: Vec<Member>,
        past_members: Vec<Member>,
    ) -> SignedRoster {
        let roster = Roster { cluster: CLUSTER, epoch, members, past_members };
        SignedRoster::sign(roster, &self.0).expect("members differ in id, number and name")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// The key of body ids.
#[must_use]
pub fn id_key() -> IdKey {
    IdKey::new(ID_KEY)
}

/// The cluster encryption key.
#[must_use]
pub fn encryption_key() -> EncryptionKey {
    EncryptionKey::new(1, [7; 32])
}

fn key(name: &[u8]) -> SigningKey {
    let secret = blake3::derive_key("quard simulator signing key", name);
    let pair = p256::ecdsa::SigningKey::from_slice(&secret).expect("a digest is below the order");
    let point = pair.verifying_key().to_encoded_point(false);
    let public = PublicKey(point.as_bytes().try_into().expect("an uncompressed point"));
    SigningKey::elsewhere(public, move |text| {
        let signature: p256::ecdsa::Signature = pair.sign(text);
        Signature(signature.to_bytes().into())
    })
}
