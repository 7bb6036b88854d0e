//! Ways in which a peer breaks the protocol.
//! Never for what an honest peer of the same version can do.

/// What a peer did that no honest peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// A frame that does not decode.
    Malformed,
    /// A frame of a kind that this version does not know and that may not be passed over.
    UnknownKind,
    /// A frame where the protocol does not allow it.
    OutOfTurn,
    /// More entries, flights or bytes than allowed.
    TooMuch,
    /// An acknowledgement of something that was not sent.
    BogusAck,
    /// An answer to something that was not asked.
    NotAsked,
    /// The same items again and again, although they were taken.
    Replayed,
    /// Another protocol version.
    Version,
}

impl Offence {
    /// A stable name for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-frame",
            Self::UnknownKind => "unknown-frame-kind",
            Self::OutOfTurn => "frame-out-of-turn",
            Self::TooMuch => "beyond-limits",
            Self::BogusAck => "bogus-acknowledgement",
            Self::NotAsked => "answer-not-asked-for",
            Self::Replayed => "replayed-items",
            Self::Version => "protocol-version",
        }
    }
}
