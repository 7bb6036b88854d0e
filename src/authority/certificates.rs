//! The cluster's authority: its key and certificate, members' certificates, rosters' signatures.
//! Never reads a clock, and never decides who is a member.

use crate::authority::AuthorityError;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::rng::Rng;
use quar_base::roster::{Roster, RosterError, SignedRoster};
use quar_base::signing::{PublicKey, SigningKey};
use quar_base::time::{DAY_SECONDS, UnixMillis};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

const YEAR_SECONDS: u64 = 365 * DAY_SECONDS + DAY_SECONDS / 4;
const AUTHORITY_YEARS: u64 = 20;
const MEMBER_YEARS: u64 = 10;
/// Certificates begin this long before they are made: the members' clocks may be behind.
const EARLY_SECONDS: u64 = DAY_SECONDS;

/// Who issues certificates and signs rosters.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    signing: SigningKey,
    valid: Validity,
}

/// From when to when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: u64,
    to: u64,
}

/// An authority that was just made, and the files that keep it.
pub(super) struct NewAuthority {
    pub(super) authority: Authority,
    pub(super) certificate_pem: String,
    pub(super) key_pem: Zeroizing<String>,
}

/// A member's certificate and key.
pub(super) struct Issued {
    pub(super) certificate_pem: String,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) public_key: PublicKey,
}

impl Authority {
    /// Makes an authority for a new cluster.
    pub(super) fn create(
        cluster: ClusterId,
        now: UnixMillis,
        rng: &mut Rng,
    ) -> Result<NewAuthority, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let valid = Validity::years(AUTHORITY_YEARS, now);
        let mut params = valid.params(Vec::new(), &format!("quard CA {cluster}"), rng)?;
        // No authority below this one: what it issues are members.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key)?;
        Ok(NewAuthority {
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
            authority: Self {
                signing: signing_key(&key)?,
                issuer: Issuer::new(params, key),
                valid,
            },
        })
    }

    /// Takes up an authority again; `None` when key and certificate do not belong together.
    pub(super) fn open(
        key_pkcs8: &[u8],
        certificate: &[u8],
        certificate_key: PublicKey,
    ) -> Result<Option<Self>, AuthorityError> {
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&key_pkcs8.into(), &PKCS_ECDSA_P256_SHA256)?;
        let signing = signing_key(&key)?;
        let (Some(valid), true) = (Validity::of(certificate), signing.public() == certificate_key)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            issuer: Issuer::from_ca_cert_der(&CertificateDer::from(certificate), key)?,
            signing,
            valid,
        }))
    }

    /// Makes a member's key and certificate.
    pub(super) fn issue(
        &self,
        member: MemberId,
        name: &str,
        now: UnixMillis,
        rng: &mut Rng,
    ) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // Never outside the authority's own time: a clock set back must not make a certificate
        // that nobody accepts.
        let valid = Validity::years(MEMBER_YEARS, now).within(self.valid);
        let names = vec![quar_net::certificate_name(member)];
        let mut params = valid.params(names, name, rng)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate: Certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            public_key: signing_key(&key)?.public(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Signs a roster.
    pub(super) fn sign(&self, roster: Roster) -> Result<SignedRoster, RosterError> {
        SignedRoster::sign(roster, &self.signing)
    }
}

impl Validity {
    fn years(years: u64, now: UnixMillis) -> Self {
        Self {
            from: now.seconds().saturating_sub(EARLY_SECONDS),
            to: now.seconds() + years * YEAR_SECONDS,
        }
    }

    fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let valid = certificate.validity();
        Some(Self {
            from: u64::try_from(valid.not_before.timestamp()).ok()?,
            to: u64::try_from(valid.not_after.timestamp()).ok()?,
        })
    }

    fn within(self, other: Self) -> Self {
        Self {
            from: self.from.clamp(other.from, other.to),
            to: self.to.clamp(other.from, other.to),
        }
    }

    fn params(
        self,
        names: Vec<String>,
        common_name: &str,
        rng: &mut Rng,
    ) -> Result<CertificateParams, AuthorityError> {
        let mut params = CertificateParams::new(names)?;
        let instant = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        params.not_before = instant(self.from).into();
        params.not_after = instant(self.to).into();
        params.serial_number = Some(serial(rng));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "quard");
        params.distinguished_name.push(DnType::CommonName, common_name);
        Ok(params)
    }
}

/// 16 random bytes that are a positive number of full length.
fn serial(rng: &mut Rng) -> SerialNumber {
    let mut bytes = rng.bytes::<16>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn signing_key(key: &KeyPair) -> Result<SigningKey, AuthorityError> {
    SigningKey::from_pkcs8(key.serialized_der())
        .map_err(|_| AuthorityError::Certificate(rcgen::Error::CouldNotParseKeyPair))
}
