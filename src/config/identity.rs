//! Who this node is: keys, certificate, authority and roster, checked against each other.
//! Never makes a key and never talks to a peer.
//!
//! ```text
//! cluster.key ──opens──► id.key
//! BaruwaCA.pem ──issued──► member.crt ◄──belongs to── member.key
//!      └──signed──► roster.toml ──lists──► this member, with this key
//! ```

use crate::config::files::{self, SecretError};
use crate::config::id_key;
use crate::config::key_text::{self, KeyTextError};
use crate::config::paths::Paths;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::roster::{Member, Roster, RosterError, SignedRoster};
use quar_base::signing::{PublicKey, SigningKey};
use quar_net::NetError;
use quar_store::{EncryptionKey, IdKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::FromDer;
use zeroize::{Zeroize, Zeroizing};

/// A node's keys, certificates and roster.
///
/// *Holds*: the encryption key opened the id key; the authority issued the certificate and signed
/// the roster; the roster lists `member` with the certificate's key, which is the private key's.
pub struct Identity {
    /// The cluster encryption key.
    pub encryption_key: EncryptionKey,
    /// The key of body ids.
    pub id_key: IdKey,
    /// Signs this member's actions.
    pub signing: SigningKey,
    /// The same key, PKCS #8 DER, for TLS.
    pub private_key: Zeroizing<Vec<u8>>,
    /// This member's certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificate of the cluster's authority, DER.
    pub authority: Vec<u8>,
    /// Signs rosters.
    pub authority_key: PublicKey,
    /// The members.
    pub roster: SignedRoster,
    /// Which of them this node is.
    pub member: MemberId,
}

/// Why a node cannot tell who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is neither key nor roster.
    #[error(
        "{} holds no keys and no roster: this node belongs to no cluster yet; \
         `quarctl init --static FILE` makes one", directory.display()
    )]
    NoCluster {
        /// Where they should be.
        directory: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others than its owner can read a secret.
    #[error(
        "{file} can be read by others than its owner (mode {mode:04o}): run `chmod 600 {file}`, \
         and count the key as known to whoever could read it", file = file.display()
    )]
    Exposed {
        /// Which file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The encryption key is mistyped or cut off.
    #[error("{}: {source}", file.display())]
    KeyText {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        source: KeyTextError,
    },
    /// The sealed id key is not what was written.
    #[error("{} was cut off, edited or damaged: copy it from another member", file.display())]
    IdKeyDamaged {
        /// Which file.
        file: PathBuf,
    },
    /// The encryption key is another cluster's.
    #[error(
        "{} is not this cluster's encryption key: it does not open {}; copy the right one from \
         another member", key.display(), sealed.display()
    )]
    WrongKey {
        /// The encryption key's file.
        key: PathBuf,
        /// The id key's file.
        sealed: PathBuf,
    },
    /// No certificate or private key in PEM.
    #[error("{} holds no {wanted} in PEM: it was cut off, edited or damaged", file.display())]
    NotPem {
        /// Which file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The authority's certificate has no key that could sign a roster.
    #[error(
        "{} is not the certificate of a quard cluster's authority: its key is not on P-256",
        file.display()
    )]
    AuthorityKey {
        /// Which file.
        file: PathBuf,
    },
    /// Certificate, private key and authority do not belong together.
    #[error("{} does not fit its key or authority: {source}", file.display())]
    Certificate {
        /// The certificate's file.
        file: PathBuf,
        /// What does not fit.
        source: NetError,
    },
    /// The roster cannot be used.
    #[error("{}: {source}", file.display())]
    Roster {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        source: RosterError,
    },
    /// The roster does not list this member.
    #[error(
        "this node's certificate is member {member}'s, whom the roster of epoch {epoch} does not \
         list: it was removed from the cluster, or its files are of two clusters"
    )]
    NotListed {
        /// Who the certificate says this is.
        member: MemberId,
        /// The roster's epoch.
        epoch: u64,
    },
    /// The roster lists this member with another key.
    #[error(
        "the roster of epoch {epoch} lists {name} with another key than this node's: the files \
         here are older than the member's present certificate"
    )]
    OtherKey {
        /// The member's name.
        name: String,
        /// The roster's epoch.
        epoch: u64,
    },
}

impl Identity {
    /// Reads and checks all files of `paths`. Dates are not looked at: peers judge them.
    ///
    /// # Errors
    /// Any [`IdentityError`].
    pub fn load(paths: &Paths) -> Result<Self, IdentityError> {
        let all = [paths.cluster_key(), paths.member_key(), paths.roster()];
        if all.iter().all(|file| !file.exists()) {
            let directory = paths.config_dir();
            return Err(IdentityError::NoCluster { directory });
        }
        let encryption_key = load_encryption_key(&paths.cluster_key())?;
        let id_key = load_id_key(&paths.id_key(), &encryption_key, &paths.cluster_key())?;
        let authority = load_certificate(&paths.authority_certificate())?;
        let authority_key = load_authority_key(&authority, &paths.authority_certificate())?;
        let certificate = load_certificate(&paths.member_certificate())?;
        let private_key = load_private_key(&paths.member_key())?;
        let misfit =
            |source| IdentityError::Certificate { file: paths.member_certificate(), source };
        let signing = SigningKey::from_pkcs8(&private_key).map_err(|_| misfit(NetError::BadKey))?;
        let network =
            quar_net::Identity::new(certificate.clone(), private_key.to_vec(), authority.clone());
        let member = network.map_err(misfit)?.member();
        let roster = load_roster(&paths.roster(), &authority_key)?;
        check_listed(roster.roster(), member, signing.public())?;
        Ok(Self {
            encryption_key,
            id_key,
            signing,
            private_key,
            certificate,
            authority,
            authority_key,
            roster,
            member,
        })
    }

    /// This node's entry in the roster.
    #[must_use]
    pub fn this_member(&self) -> &Member {
        let roster = self.roster.roster();
        roster.member(self.member).expect("checked when loaded")
    }

    /// Which cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.roster.roster().cluster
    }

    /// The part that connections need.
    #[must_use]
    pub fn network(&self) -> quar_net::Identity {
        quar_net::Identity::new(
            self.certificate.clone(),
            self.private_key.to_vec(),
            self.authority.clone(),
        )
        .expect("checked when loaded")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.member)
    }
}

/// Keeps a roster that was adopted from a peer.
///
/// *Durable when* it returns. A crash leaves the old roster or the new one.
///
/// # Errors
/// As the file system reports.
pub fn save_roster(paths: &Paths, roster: &SignedRoster) -> io::Result<()> {
    files::write_atomically(&paths.roster(), roster.text().as_bytes(), 0o644)
}

/// Reads a file that only its owner may read.
pub(crate) fn load_secret(file: &Path) -> Result<Zeroizing<String>, IdentityError> {
    files::read_secret(file).map_err(|error| match error {
        SecretError::Exposed { mode } => IdentityError::Exposed { file: file.to_owned(), mode },
        SecretError::Io(source) => read_error(file, source),
    })
}

/// Reads the encryption key's file.
pub(crate) fn load_encryption_key(file: &Path) -> Result<EncryptionKey, IdentityError> {
    let text = load_secret(file)?;
    key_text::parse_file(&text)
        .map_err(|source| IdentityError::KeyText { file: file.to_owned(), source })
}

/// Reads the id key's file, and so tells whether the encryption key is this cluster's.
pub(crate) fn load_id_key(
    file: &Path,
    key: &EncryptionKey,
    key_file: &Path,
) -> Result<IdKey, IdentityError> {
    let text = load_text(file)?;
    let wrapped = id_key::parse_file(&text)
        .ok_or_else(|| IdentityError::IdKeyDamaged { file: file.to_owned() })?;
    IdKey::unwrap(&wrapped, key)
        .map_err(|_| IdentityError::WrongKey { key: key_file.to_owned(), sealed: file.to_owned() })
}

/// Reads a certificate; gives its DER.
///
/// # Errors
/// [`IdentityError::Read`], [`IdentityError::NotPem`].
pub fn load_certificate(file: &Path) -> Result<Vec<u8>, IdentityError> {
    let text = load_text(file)?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes());
    certificate.map(|der| der.to_vec()).map_err(|_| not_pem(file, "certificate"))
}

/// Reads a private key that only its owner may read; gives its PKCS #8 DER.
pub(crate) fn load_private_key(file: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let text = load_secret(file)?;
    let mut key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| not_pem(file, "PKCS #8 private key"))?;
    let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
    key.zeroize();
    Ok(der)
}

/// Reads a roster that this authority signed.
pub(crate) fn load_roster(
    file: &Path,
    authority: &PublicKey,
) -> Result<SignedRoster, IdentityError> {
    let text = load_text(file)?;
    SignedRoster::parse(&text, authority)
        .map_err(|source| IdentityError::Roster { file: file.to_owned(), source })
}

/// The authority's public key, from its certificate.
pub(crate) fn load_authority_key(der: &[u8], file: &Path) -> Result<PublicKey, IdentityError> {
    public_key(der).ok_or_else(|| IdentityError::AuthorityKey { file: file.to_owned() })
}

fn public_key(der: &[u8]) -> Option<PublicKey> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let is_p256 = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256;
    let point = key.subject_public_key.data.as_ref().try_into().ok();
    point.filter(|_| is_p256).map(PublicKey)
}

fn check_listed(roster: &Roster, id: MemberId, key: PublicKey) -> Result<(), IdentityError> {
    let epoch = roster.epoch;
    match roster.member(id) {
        None => Err(IdentityError::NotListed { member: id, epoch }),
        Some(member) if member.public_key != key => {
            Err(IdentityError::OtherKey { name: member.name.clone(), epoch })
        }
        Some(_) => Ok(()),
    }
}

fn load_text(file: &Path) -> Result<String, IdentityError> {
    files::read_text(file).map_err(|source| read_error(file, source))
}

fn read_error(file: &Path, source: io::Error) -> IdentityError {
    IdentityError::Read { file: file.to_owned(), source }
}

fn not_pem(file: &Path, wanted: &'static str) -> IdentityError {
    IdentityError::NotPem { file: file.to_owned(), wanted }
}

#[cfg(test)]
mod tests;
