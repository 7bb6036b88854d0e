//! Mutually authenticated, ordered connections of frames between cluster members.
//! Never looks into a frame, and never decides who is a member: the caller's admission does.
//!
//! ```text
//! endpoint   bind, accept, dial, shut down
//!   accept   who knocks: bounded handshakes, each with a deadline
//!   dial     names to addresses; QUIC and TCP side by side; the first that answers stays
//!   quic  tcp            one transport each: socket, handshake, the two halves of a stream
//!   congestion           how fast QUIC sends on a line that loses datagrams
//!   tls  authority       who may be at the other end; asked at every handshake
//!   identity             this node's own certificate and key
//! connection  sender  receiver  frame  preamble     what a caller holds afterwards
//! error  fault           causes, and how the libraries' errors map to them
//! ```
//!
//! On the wire (docs/formats.md, "Between members"): TLS 1.3 by ALPN `quar-sync/1`, an 8-byte
//! preamble from each side, then frames. Over QUIC all of it runs on the one stream that the
//! dialer opens.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod authority;
mod congestion;
mod connection;
mod dial;
mod endpoint;
mod error;
mod fault;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod preamble;
mod quic;
mod receiver;
mod sender;
mod tcp;
mod tls;

#[cfg(test)]
mod tests;

pub use accept::Rejected;
pub use connection::{CloseReason, Closer, Connection, Transport};
pub use dial::Preference;
pub use endpoint::{Endpoint, Limits, Settings};
pub use error::{Attempt, CertificateFault, NetError, ProtocolFault, Refusal};
pub use frame::{FRAME_HEADER_BYTES, Frame};
pub use identity::{Certified, Identity, certificate_name, certified};
pub use receiver::FrameReceiver;
pub use sender::FrameSender;
pub use tls::Admission;
