//! What can go wrong between members, one variant for each cause a caller can act on.
//! Never carries a library's error type: `fault` translates them.

use crate::connection::{CloseReason, Transport};
use quar_base::ids::MemberId;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({transport}): {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Which of the two sockets failed.
        transport: Transport,
        /// The system's answer.
        source: io::Error,
    },
    /// Every transport that might be used is switched off.
    #[error("no transport is left: switch on QUIC or TCP")]
    NoTransport,
    /// The private key given is no P-256 key.
    #[error("the private key is not a P-256 key in PKCS #8")]
    BadKey,
    /// The private key given is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate of the cluster's authority cannot be used.
    #[error("the cluster authority's certificate cannot be used: {detail}")]
    BadAuthority {
        /// What the parser said.
        detail: String,
    },
    /// A member's certificate cannot be used.
    #[error("the certificate {fault}")]
    BadCertificate {
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// A certificate was issued by another authority than the cluster's.
    #[error("the certificate was not issued by this cluster's authority")]
    WrongAuthority,
    /// A certificate is past its end, and past the grace if one is set.
    #[error("the certificate expired: renew it, or check the clocks")]
    Expired,
    /// A certificate is not valid yet.
    #[error("the certificate is not valid yet: check the clocks of both members")]
    NotYetValid,
    /// Another member answered than the one that was dialed.
    #[error("dialed member {expected}, but {} answered", found_name(found.as_ref()))]
    WrongMember {
        /// Who was dialed.
        expected: MemberId,
        /// Who answered, if the certificate says.
        found: Option<MemberId>,
    },
    /// The admission refused this member or its key.
    #[error("member {member} with this key is not admitted")]
    UnknownMember {
        /// Who the certificate says it is.
        member: MemberId,
    },
    /// The dialer showed no certificate.
    #[error("no certificate was shown")]
    NoCertificate,
    /// The other side refused us.
    #[error("the peer refused this node: {refusal}")]
    RefusedByPeer {
        /// What it said.
        refusal: Refusal,
    },
    /// What came was no TLS 1.3 handshake.
    #[error("not a TLS 1.3 handshake: {detail}")]
    NotTls {
        /// What the TLS library said.
        detail: String,
    },
    /// The other side speaks something else than this protocol.
    #[error("the peer {fault}")]
    Protocol {
        /// What it sent.
        fault: ProtocolFault,
    },
    /// A frame is longer than any may be.
    #[error("a frame of {bytes} bytes, where at most {limit} are allowed")]
    FrameTooLarge {
        /// Length given in the header, or asked to be sent.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The stream ended, cleanly, in the midst of a frame.
    #[error("the stream ended {missing} bytes before the end of a frame")]
    Truncated {
        /// How many bytes are missing, header bytes included.
        missing: usize,
    },
    /// The peer took no bytes for too long.
    #[error("the peer took no bytes for {} ms", limit.as_millis())]
    Stalled {
        /// How long was waited.
        limit: Duration,
    },
    /// A handshake was not over in time.
    #[error("no handshake within {} ms", limit.as_millis())]
    HandshakeTimeout {
        /// How long was waited.
        limit: Duration,
    },
    /// One address holds too many unfinished handshakes, or begins too many within a second.
    #[error("{address} holds {limit} unfinished handshakes already, or began too many lately")]
    TooManyHandshakes {
        /// The address (IPv6: its /64).
        address: IpAddr,
        /// How many it may hold.
        limit: usize,
    },
    /// An address could not be looked up.
    #[error("cannot look it up: {source}")]
    Unresolved {
        /// The resolver's answer.
        source: io::Error,
    },
    /// No connection could be started.
    #[error("cannot connect: {source}")]
    Connect {
        /// The system's answer.
        source: io::Error,
    },
    /// No address of a member answered.
    #[error("member {peer} cannot be reached: {}", Attempts(attempts))]
    Unreachable {
        /// Who was dialed.
        peer: MemberId,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// An established connection broke.
    #[error("the connection over {transport} was lost: {source}")]
    Lost {
        /// What it ran over.
        transport: Transport,
        /// The system's or the transport's answer.
        source: io::Error,
    },
    /// The peer closed the connection, without ending the stream first. Only QUIC carries the
    /// reason; over TCP the same shows as [`NetError::Lost`].
    #[error("the peer closed the connection: {reason}")]
    ClosedByPeer {
        /// The reason it gave.
        reason: CloseReason,
    },
    /// This side closed the connection.
    #[error("this node closed the connection: {reason}")]
    Closed {
        /// The reason given.
        reason: CloseReason,
    },
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// It cannot be parsed.
    Unreadable,
    /// No DNS name in it is a member's.
    NoMember,
    /// More than one DNS name in it is a member's.
    SeveralMembers,
    /// Its key is not an uncompressed P-256 point.
    NotP256,
    /// Its extended key usage lacks server or client authentication.
    Purpose,
    /// It was shown by somebody who does not have its private key.
    KeyNotProven,
    /// The chain verifier refused it.
    Refused(String),
}

/// What a peer said when it refused this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// This node, with this key, is not in its roster.
    NotAdmitted,
    /// This node's certificate comes from another authority than its own.
    WrongAuthority,
    /// This node's certificate has expired, by its clock.
    Expired,
    /// This node is not the member that it dialed, or its certificate is broken.
    BadCertificate,
    /// It wants a certificate, and none was shown.
    NoCertificate,
    /// Another TLS alert, by number.
    Alert(u8),
}

/// How a peer departs from the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolFault {
    /// It offers none of this node's application protocols.
    Application,
    /// It does not begin with this protocol's magic number.
    Magic([u8; 8]),
    /// It speaks another version.
    Version(u16),
    /// It breaks the rules of QUIC, by transport error code.
    Quic(u64),
}

/// One try of a dial.
#[derive(Debug)]
pub struct Attempt {
    /// The address as it was given, or what it was looked up as.
    pub address: String,
    /// Over what, unless the lookup failed.
    pub transport: Option<Transport>,
    /// How it failed.
    pub cause: NetError,
}

impl NetError {
    /// A short, stable name of the cause, for counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::NoTransport => "no-transport",
            Self::BadKey => "bad-key",
            Self::KeyMismatch => "key-mismatch",
            Self::BadAuthority { .. } => "bad-authority",
            Self::BadCertificate { .. } => "bad-certificate",
            Self::WrongAuthority => "wrong-authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongMember { .. } => "wrong-member",
            Self::UnknownMember { .. } => "unknown-member",
            Self::NoCertificate => "no-certificate",
            Self::RefusedByPeer { .. } => "refused-by-peer",
            Self::NotTls { .. } => "not-tls",
            Self::Protocol { .. } => "protocol",
            Self::FrameTooLarge { .. } => "frame-too-large",
            Self::Truncated { .. } => "truncated",
            Self::Stalled { .. } => "stalled",
            Self::HandshakeTimeout { .. } => "handshake-timeout",
            Self::TooManyHandshakes { .. } => "too-many-handshakes",
            Self::Unresolved { .. } => "unresolved",
            Self::Connect { .. } => "connect",
            Self::Unreachable { .. } => "unreachable",
            Self::Lost { .. } => "lost",
            Self::ClosedByPeer { .. } => "closed-by-peer",
            Self::Closed { .. } => "closed",
        }
    }

    /// Whether dialing again later may help with nobody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Stalled { .. }
            | Self::HandshakeTimeout { .. }
            | Self::TooManyHandshakes { .. }
            | Self::Unresolved { .. }
            | Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Truncated { .. } => true,
            // The roster that names this node may still be under way to the peer.
            Self::RefusedByPeer { refusal } => *refusal == Refusal::NotAdmitted,
            Self::ClosedByPeer { reason } => *reason != CloseReason::Removed,
            _ => false,
        }
    }

    /// Whether every address was reached and no process listens there any more.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        let refused = |attempt: &Attempt| match &attempt.cause {
            Self::Connect { source } => source.kind() == io::ErrorKind::ConnectionRefused,
            _ => false,
        };
        match self {
            Self::Unreachable { attempts, .. } => {
                !attempts.is_empty() && attempts.iter().all(refused)
            }
            _ => false,
        }
    }

    /// Whether nobody answered: then the other transport may still reach the same address.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::HandshakeTimeout { .. }
                | Self::Unresolved { .. }
                | Self::Connect { .. }
                | Self::Lost { .. }
                | Self::ClosedByPeer { .. }
        )
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("is not X.509 in DER"),
            Self::NoMember => f.write_str("names no member"),
            Self::SeveralMembers => f.write_str("names more than one member"),
            Self::NotP256 => f.write_str("does not hold a P-256 key"),
            Self::Purpose => f.write_str("is not meant for both sides of a connection"),
            Self::KeyNotProven => f.write_str("was shown by somebody without its key"),
            Self::Refused(detail) => write!(f, "is refused: {detail}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAdmitted => f.write_str("not in its roster with this key"),
            Self::WrongAuthority => f.write_str("certificate from another authority"),
            Self::Expired => f.write_str("certificate expired, by its clock"),
            Self::BadCertificate => f.write_str("not the member it dialed, or a bad certificate"),
            Self::NoCertificate => f.write_str("no certificate was shown"),
            Self::Alert(number) => write!(f, "TLS alert {number}"),
        }
    }
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application => f.write_str("offers no application protocol of this node"),
            Self::Magic(found) => write!(f, "began with {found:02x?}, not with the preamble"),
            Self::Version(found) => write!(f, "speaks version {found} of the protocol"),
            Self::Quic(code) => write!(f, "breaks the rules of QUIC (error {code:#x})"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Some(transport) => write!(f, "{} over {transport}: {}", self.address, self.cause),
            None => write!(f, "{}: {}", self.address, self.cause),
        }
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it has no address");
        }
        for (index, attempt) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

fn found_name(found: Option<&MemberId>) -> String {
    found.map_or_else(|| "a certificate without a member".to_owned(), ToString::to_string)
}
