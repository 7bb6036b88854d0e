//! Translates what the TLS and QUIC libraries report into causes.
//! Never lets a library's type or number through unexplained.

use crate::connection::{CloseReason, Transport};
use crate::error::{CertificateFault, NetError, ProtocolFault, Refusal};
use quinn::{ConnectionError, ReadError, TransportErrorCode, WriteError};
use rustls::CertificateError;
use std::io;

/// TLS alerts (RFC 8446, section 6) that a member sends for a known reason.
const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_EXPIRED: u8 = 45;
const UNKNOWN_CA: u8 = 48;
const ACCESS_DENIED: u8 = 49;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// QUIC gives TLS alerts as transport errors from here on, one byte wide (RFC 9001, 4.8).
const CRYPTO_ERROR: u64 = 0x100;

/// What an I/O error of a stream, or of a handshake over TCP, stands for.
pub(crate) fn from_io(error: io::Error, transport: Transport) -> NetError {
    let Some(inner) = error.get_ref() else {
        return NetError::Lost { transport, source: error };
    };
    if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
        return from_tls(tls);
    }
    match (inner.downcast_ref::<ReadError>(), inner.downcast_ref::<WriteError>()) {
        (Some(ReadError::ConnectionLost(lost)), _)
        | (_, Some(WriteError::ConnectionLost(lost))) => from_quic(lost),
        (Some(ReadError::Reset(code)), _) | (_, Some(WriteError::Stopped(code))) => {
            NetError::ClosedByPeer { reason: CloseReason::from_code(code.into_inner()) }
        }
        _ => NetError::Lost { transport, source: error },
    }
}

/// What a TLS error stands for.
pub(crate) fn from_tls(error: &rustls::Error) -> NetError {
    match error {
        rustls::Error::AlertReceived(alert) => from_alert(u8::from(*alert)),
        rustls::Error::NoCertificatesPresented => NetError::NoCertificate,
        rustls::Error::NoApplicationProtocol => {
            NetError::Protocol { fault: ProtocolFault::Application }
        }
        rustls::Error::InvalidCertificate(fault) => from_certificate(fault),
        other => NetError::NotTls { detail: other.to_string() },
    }
}

/// What a refused certificate stands for. A name that does not match is the caller's to explain:
/// it knows which member it dialed.
pub(crate) fn from_certificate(error: &CertificateError) -> NetError {
    let fault = match error {
        CertificateError::UnknownIssuer => return NetError::WrongAuthority,
        // The authority names a bad issuer otherwise: this is the handshake's own signature.
        CertificateError::BadSignature => CertificateFault::KeyNotProven,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            return NetError::Expired;
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            return NetError::NotYetValid;
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            CertificateFault::Purpose
        }
        CertificateError::BadEncoding => CertificateFault::Unreadable,
        other => CertificateFault::Refused(other.to_string()),
    };
    NetError::BadCertificate { fault }
}

/// What the end of a QUIC connection stands for.
pub(crate) fn from_quic(error: &ConnectionError) -> NetError {
    let lost = |kind: io::ErrorKind| NetError::Lost {
        transport: Transport::Quic,
        source: io::Error::new(kind, error.to_string()),
    };
    match error {
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            code if is_alert(code) => from_alert((code - CRYPTO_ERROR) as u8),
            code if code == u64::from(TransportErrorCode::CONNECTION_REFUSED) => {
                lost(io::ErrorKind::ConnectionRefused)
            }
            // Its dial was over before the handshake was: another line answered sooner.
            code if code == u64::from(TransportErrorCode::APPLICATION_ERROR) => {
                lost(io::ErrorKind::ConnectionAborted)
            }
            code => NetError::Protocol { fault: ProtocolFault::Quic(code) },
        },
        ConnectionError::ApplicationClosed(close) => {
            NetError::ClosedByPeer { reason: CloseReason::from_code(close.error_code.into_inner()) }
        }
        ConnectionError::TransportError(own) => match u64::from(own.code) {
            code if code == CRYPTO_ERROR + u64::from(NO_APPLICATION_PROTOCOL) => {
                NetError::Protocol { fault: ProtocolFault::Application }
            }
            code if code == CRYPTO_ERROR + u64::from(CERTIFICATE_REQUIRED) => {
                NetError::NoCertificate
            }
            code if is_alert(code) => NetError::NotTls { detail: own.reason.clone() },
            code => NetError::Protocol { fault: ProtocolFault::Quic(code) },
        },
        ConnectionError::VersionMismatch => NetError::Protocol { fault: ProtocolFault::Quic(0) },
        ConnectionError::LocallyClosed => NetError::Closed { reason: CloseReason::Done },
        ConnectionError::TimedOut => lost(io::ErrorKind::TimedOut),
        ConnectionError::Reset => lost(io::ErrorKind::ConnectionReset),
        ConnectionError::CidsExhausted => lost(io::ErrorKind::Other),
    }
}

fn is_alert(code: u64) -> bool {
    (CRYPTO_ERROR..CRYPTO_ERROR + 0x100).contains(&code)
}

fn from_alert(alert: u8) -> NetError {
    let refusal = match alert {
        ACCESS_DENIED => Refusal::NotAdmitted,
        UNKNOWN_CA => Refusal::WrongAuthority,
        CERTIFICATE_EXPIRED => Refusal::Expired,
        BAD_CERTIFICATE => Refusal::BadCertificate,
        CERTIFICATE_REQUIRED => Refusal::NoCertificate,
        NO_APPLICATION_PROTOCOL => {
            return NetError::Protocol { fault: ProtocolFault::Application };
        }
        other => Refusal::Alert(other),
    };
    NetError::RefusedByPeer { refusal }
}
