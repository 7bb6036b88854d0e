//! This node's certificate, key and authority; and the member that any certificate names.
//! Never issues a certificate, and never shows a private key.

use crate::authority::Authority;
use crate::error::{CertificateFault, NetError};
use quar_base::ids::MemberId;
use quar_base::signing::{PublicKey, SigningKey};
use quar_base::time::UnixMillis;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use std::fmt;
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::FromDer;
use zeroize::{Zeroize, Zeroizing};

/// Under which domain members' names stand. `.internal` is reserved for private use.
const MEMBER_DOMAIN: &str = ".member.quard.internal";

/// The DNS name that stands in a member's certificate.
#[must_use]
pub fn certificate_name(member: MemberId) -> String {
    format!("{member}{MEMBER_DOMAIN}")
}

/// Who this node is: a certificate, its private key, and the authority that issued it.
///
/// *Holds*: the key is the certificate's; the authority issued the certificate, for both sides
/// of a connection; it names one member. Whether it is valid *now* is for the peers to judge.
pub struct Identity {
    certificate: CertificateDer<'static>,
    private_key: Zeroizing<Vec<u8>>,
    authority: Authority,
    subject: Subject,
}

impl Identity {
    /// Checks and keeps the three parts. The private key is wiped when the identity goes.
    ///
    /// # Errors
    /// [`NetError::BadKey`], [`NetError::KeyMismatch`], [`NetError::BadCertificate`],
    /// [`NetError::BadAuthority`], [`NetError::WrongAuthority`].
    pub fn new(
        certificate_der: Vec<u8>,
        private_key_pkcs8_der: Vec<u8>,
        authority_der: Vec<u8>,
    ) -> Result<Self, NetError> {
        let private_key = Zeroizing::new(private_key_pkcs8_der);
        let certificate = CertificateDer::from(certificate_der);
        let subject = Subject::read(&certificate)?;
        let public = SigningKey::from_pkcs8(&private_key).map_err(|_| NetError::BadKey)?.public();
        if public != subject.public_key {
            return Err(NetError::KeyMismatch);
        }
        let authority = Authority::new(CertificateDer::from(authority_der))?;
        authority.issued(&certificate, subject.member, subject.not_before)?;
        Ok(Self { certificate, private_key, authority, subject })
    }

    /// As [`Identity::new`], from PEM texts: the first certificate or PKCS #8 key of each counts.
    ///
    /// # Errors
    /// As [`Identity::new`].
    pub fn from_pem(
        certificate: &[u8],
        private_key: &[u8],
        authority: &[u8],
    ) -> Result<Self, NetError> {
        let certificate = CertificateDer::from_pem_slice(certificate)
            .map_err(|_| NetError::BadCertificate { fault: CertificateFault::Unreadable })?;
        let authority = CertificateDer::from_pem_slice(authority)
            .map_err(|error| NetError::BadAuthority { detail: error.to_string() })?;
        let mut key =
            PrivatePkcs8KeyDer::from_pem_slice(private_key).map_err(|_| NetError::BadKey)?;
        let key_bytes = key.secret_pkcs8_der().to_vec();
        key.zeroize();
        Self::new(certificate.to_vec(), key_bytes, authority.to_vec())
    }

    /// The member that the certificate names.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.subject.member
    }

    /// The certificate's public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.subject.public_key
    }

    /// An identity whose authority did not issue its certificate: a peer with bad intent.
    #[cfg(test)]
    pub(crate) fn trusting(mut self, authority_der: Vec<u8>) -> Self {
        self.authority = Authority::new(CertificateDer::from(authority_der)).unwrap();
        self
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key, borrowed: no second copy of its bytes is made.
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'_> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.private_key.as_slice()))
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.subject.member)
    }
}

/// Whom a certificate names, as the authority that issued it vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Which member.
    pub member: MemberId,
    /// Its name for people; empty when the certificate has none.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
}

/// Reads a member's certificate, which the authority must have issued and which must be valid at an
/// instant: for what a member signed then, whatever became of it since. Admits nobody.
///
/// # Errors
/// As [`Identity::new`]; [`NetError::Expired`] and [`NetError::NotYetValid`] by that instant.
pub fn certified(
    certificate_der: &[u8],
    authority_der: &[u8],
    at: UnixMillis,
) -> Result<Certified, NetError> {
    let certificate = CertificateDer::from(certificate_der);
    let Subject { member, public_key, name, .. } = Subject::read(&certificate)?;
    let authority = Authority::new(CertificateDer::from(authority_der.to_vec()))?;
    let at = UnixTime::since_unix_epoch(Duration::from_millis(at.0));
    authority.issued(&certificate, member, at)?;
    Ok(Certified { member, name, public_key })
}

/// What this crate reads from a certificate.
pub(crate) struct Subject {
    pub(crate) member: MemberId,
    pub(crate) public_key: PublicKey,
    pub(crate) name: String,
    /// From when on it is valid.
    pub(crate) not_before: UnixTime,
}

impl Subject {
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, NetError> {
        Self::parse(certificate).map_err(|fault| NetError::BadCertificate { fault })
    }

    fn parse(der: &[u8]) -> Result<Self, CertificateFault> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateFault::Unreadable)?;
        if !rest.is_empty() {
            return Err(CertificateFault::Unreadable);
        }
        let not_before_s = certificate.validity().not_before.timestamp();
        Ok(Self {
            member: member_of(&certificate)?,
            public_key: public_key_of(&certificate)?,
            name: name_of(&certificate),
            not_before: UnixTime::since_unix_epoch(Duration::from_secs(
                u64::try_from(not_before_s).unwrap_or(0),
            )),
        })
    }
}

/// The one member among the certificate's DNS names; host names beside it do not matter.
fn member_of(certificate: &X509Certificate<'_>) -> Result<MemberId, CertificateFault> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateFault::Unreadable)?
        .ok_or(CertificateFault::NoMember)?;
    let mut members = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => member_from_name(name),
        _ => None,
    });
    let member = members.next().ok_or(CertificateFault::NoMember)?;
    match members.next() {
        None => Ok(member),
        Some(_) => Err(CertificateFault::SeveralMembers),
    }
}

fn name_of(certificate: &X509Certificate<'_>) -> String {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().and_then(|name| name.as_str().ok());
    name.unwrap_or_default().to_owned()
}

/// Only the canonical text counts: two certificates never spell one member differently.
fn member_from_name(name: &str) -> Option<MemberId> {
    let member = name.strip_suffix(MEMBER_DOMAIN)?.parse().ok()?;
    (certificate_name(member) == name).then_some(member)
}

fn public_key_of(certificate: &X509Certificate<'_>) -> Result<PublicKey, CertificateFault> {
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let point: Option<[u8; quar_base::signing::PUBLIC_KEY_BYTES]> =
        key.subject_public_key.data.as_ref().try_into().ok();
    match point {
        Some(point)
            if key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
                && curve == Some(OID_EC_P256)
                && point[0] == 0x04 =>
        {
            Ok(PublicKey(point))
        }
        _ => Err(CertificateFault::NotP256),
    }
}
