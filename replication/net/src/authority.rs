//! The cluster's certificate authority, as what it lets pass: chain, dates, purpose and name.
//! Never knows the roster: a certificate that passes here may still be refused.

use crate::error::NetError;
use crate::fault;
use crate::identity::certificate_name;
use quar_base::ids::MemberId;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, LazyLock};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// The crypto provider of every connection. Named, so that no process-wide default counts.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// The name by which TLS asks for a member.
pub(crate) fn server_name(member: MemberId) -> ServerName<'static> {
    ServerName::try_from(certificate_name(member)).expect("hex digits under a domain are a name")
}

/// Verifiers that trust one root and nothing else.
#[derive(Clone)]
pub(crate) struct Authority {
    /// Judges members that were dialed.
    pub(crate) servers: Arc<WebPkiServerVerifier>,
    /// Judges members that dialed.
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

impl Authority {
    pub(crate) fn new(certificate: CertificateDer<'static>) -> Result<Self, NetError> {
        let refused = |detail: String| NetError::BadAuthority { detail };
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        let roots = Arc::new(roots);
        let built = |error: VerifierBuilderError| refused(error.to_string());
        Ok(Self {
            servers: WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
                .build()
                .map_err(built)?,
            clients: WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(built)?,
        })
    }

    /// Whether this authority issued a certificate for `member`, usable on both sides.
    pub(crate) fn issued(
        &self,
        certificate: &CertificateDer<'_>,
        member: MemberId,
        at: UnixTime,
    ) -> Result<(), NetError> {
        self.check_dialer(certificate, &[], at)
            .and_then(|()| self.check_dialed(certificate, &[], member, at))
            .map_err(|error| fault::from_tls(&error))
    }

    /// Judges the certificate of a member that dialed.
    pub(crate) fn check_dialer(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.clients
            .verify_client_cert(certificate, intermediates, at)
            .map(|_| ())
            .map_err(name_issuer)
    }

    /// Judges the certificate of a member that was dialed.
    pub(crate) fn check_dialed(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        member: MemberId,
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.servers
            .verify_server_cert(certificate, intermediates, &server_name(member), &[], at)
            .map(|_| ())
            .map_err(name_issuer)
    }
}

/// Two clusters' authorities may bear one name; then not the name but the signature fails, and
/// still the issuer is what is wrong.
fn name_issuer(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}
