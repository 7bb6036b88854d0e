//! TLS settings for both sides, and the gate: chain first, then member, then admission.
//! Never resumes a session, so that the gate is asked at every handshake.

use crate::authority::{Authority, provider};
use crate::error::NetError;
use crate::fault;
use crate::identity::{Identity, Subject};
use quar_base::ids::MemberId;
use quar_base::signing::PublicKey;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Which application protocol runs inside.
pub(crate) const APPLICATION_PROTOCOL: &[u8] = b"quar-sync/1";
/// Label of the exporter that yields the session key.
pub(crate) const SESSION_LABEL: &[u8] = b"quard session v1";

/// Whether a member may connect with this public key: the caller looks into its roster.
/// Asked at every handshake, in both directions; it must answer without blocking.
pub type Admission = Arc<dyn Fn(MemberId, &PublicKey) -> bool + Send + Sync>;

/// What every handshake starts from.
pub(crate) struct Tls {
    credentials: RwLock<Credentials>,
    admission: Admission,
    expiry_grace_s: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Credentials {
    own: Arc<SingleCertAndKey>,
    authority: Authority,
}

impl Tls {
    pub(crate) fn new(identity: &Identity, admission: Admission) -> Result<Self, NetError> {
        Ok(Self {
            credentials: RwLock::new(Credentials::new(identity)?),
            admission,
            expiry_grace_s: Arc::default(),
        })
    }

    /// Shows a certificate whose key it does not have: a thief of certificates.
    #[cfg(test)]
    pub(crate) fn with_stolen_certificate(thief: &Identity, stolen: &Identity) -> Self {
        let key = any_ecdsa_type(&thief.private_key()).unwrap();
        let own = CertifiedKey::new(vec![stolen.certificate().clone()], key);
        let tls = Self::new(thief, Arc::new(|_, _| true)).unwrap();
        tls.credentials.write().unwrap().own = Arc::new(SingleCertAndKey::from(own));
        tls
    }

    /// From now on handshakes use another certificate and authority.
    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), NetError> {
        let fresh = Credentials::new(identity)?;
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// For how long after its end a certificate still passes the gate's check of dates.
    pub(crate) fn set_expiry_grace(&self, grace: Duration) {
        self.expiry_grace_s.store(grace.as_secs(), Ordering::Relaxed);
    }

    /// Settings for one incoming handshake, and where its verdict will stand.
    pub(crate) fn server(&self) -> (ServerConfig, Verdict) {
        let credentials = self.credentials();
        let gate = self.gate(&credentials, None);
        let verdict = gate.verdict.clone();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .with_client_cert_verifier(Arc::new(gate))
            .with_cert_resolver(credentials.own);
        config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        (config, verdict)
    }

    /// Settings for one handshake with `peer`, and where its verdict will stand.
    pub(crate) fn client(&self, peer: MemberId) -> (ClientConfig, Verdict) {
        let credentials = self.credentials();
        let gate = self.gate(&credentials, Some(peer));
        let verdict = gate.verdict.clone();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(gate))
            .with_client_cert_resolver(credentials.own);
        config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        (config, verdict)
    }

    fn credentials(&self) -> Credentials {
        self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gate(&self, credentials: &Credentials, dialed: Option<MemberId>) -> Gate {
        Gate {
            authority: credentials.authority.clone(),
            admission: self.admission.clone(),
            expiry_grace_s: self.expiry_grace_s.clone(),
            dialed,
            verdict: Verdict::default(),
        }
    }
}

impl Credentials {
    fn new(identity: &Identity) -> Result<Self, NetError> {
        let key = any_ecdsa_type(&identity.private_key()).map_err(|_| NetError::BadKey)?;
        let own = CertifiedKey::new(vec![identity.certificate().clone()], key);
        Ok(Self {
            own: Arc::new(SingleCertAndKey::from(own)),
            authority: identity.authority().clone(),
        })
    }
}

/// What the gate said at one handshake: QUIC's own errors would lose the facts.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<Result<MemberId, NetError>>>>);

impl Verdict {
    /// The member that passed; taken once, after the handshake succeeded.
    pub(crate) fn member(&self) -> Result<MemberId, NetError> {
        self.take().unwrap_or(Err(NetError::NoCertificate))
    }

    /// Why the gate refused, or else what the library's error stands for.
    pub(crate) fn refusal_or(&self, otherwise: impl FnOnce() -> NetError) -> NetError {
        match self.take() {
            Some(Err(refusal)) => refusal,
            _ => otherwise(),
        }
    }

    fn take(&self) -> Option<Result<MemberId, NetError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, judged: Result<MemberId, NetError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(judged);
    }
}

/// Judges the other side's certificate at one handshake.
struct Gate {
    authority: Authority,
    admission: Admission,
    expiry_grace_s: Arc<AtomicU64>,
    dialed: Option<MemberId>,
    verdict: Verdict,
}

impl Gate {
    /// `check` asks the authority, at a given time.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
        check: impl Fn(UnixTime) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        let checked = match check(now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after,
                ..
            })) if self.forgives(now, not_after) => check(not_after),
            other => other,
        };
        let (verdict, answer) = match checked {
            Ok(()) => match self.admit(certificate) {
                Ok(member) => (Ok(member), Ok(())),
                // This one is told to the peer as "access denied".
                Err(error) => {
                    let denied = CertificateError::ApplicationVerificationFailure;
                    (Err(error), Err(denied.into()))
                }
            },
            Err(error) => (Err(self.explain(certificate, &error)), Err(error)),
        };
        self.verdict.set(verdict);
        answer
    }

    fn forgives(&self, now: UnixTime, not_after: UnixTime) -> bool {
        let grace_s = self.expiry_grace_s.load(Ordering::Relaxed);
        now.as_secs() <= not_after.as_secs().saturating_add(grace_s)
    }

    fn admit(&self, certificate: &CertificateDer<'_>) -> Result<MemberId, NetError> {
        let subject = Subject::read(certificate)?;
        let member = subject.member;
        match self.dialed {
            Some(expected) if expected != member => {
                Err(NetError::WrongMember { expected, found: Some(member) })
            }
            _ if (self.admission)(member, &subject.public_key) => Ok(member),
            _ => Err(NetError::UnknownMember { member }),
        }
    }

    fn explain(&self, certificate: &CertificateDer<'_>, error: &rustls::Error) -> NetError {
        match (error, self.dialed) {
            (
                rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                ),
                Some(expected),
            ) => NetError::WrongMember {
                expected,
                found: Subject::read(certificate).ok().map(|found| found.member),
            },
            _ => fault::from_tls(error),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({:?})", self.dialed)
    }
}

impl ServerCertVerifier for Gate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let dialed = self.dialed.expect("a gate of the dialing side has a member");
        self.judge(end_entity, now, |at| {
            self.authority.check_dialed(end_entity, intermediates, dialed, at)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority.servers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority.servers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Gate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity, now, |at| {
            self.authority.check_dialer(end_entity, intermediates, at)
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority.clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority.clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.clients.supported_verify_schemes()
    }
}
