//! Every limit on what is taken from outside, in one place.
//! Never a tunable: a limit here is part of the formats (docs/formats.md, "Limits").

/// Largest message taken in, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest record, envelope and signature included, in bytes.
pub const RECORD_BYTES_MAX: usize = 256 << 10;
/// Most recipients of one message.
pub const RECIPIENTS_MAX: usize = 1000;
/// Longest mail address, queue id, host name or path kept in a record, in bytes.
pub const FIELD_BYTES_MAX: usize = 1024;
/// Longest header field kept for listing, in bytes.
pub const HEADER_BYTES_MAX: usize = 512;
/// Longest note of an operator, in bytes.
pub const NOTE_BYTES_MAX: usize = 4096;
/// Most bytes of the original's actions that a held message takes along.
pub const HOLD_ACTIONS_BYTES_MAX: usize = 64 << 10;
/// Largest frame between members, header excluded, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most members of a roster.
pub const MEMBERS_MAX: usize = 64;
/// Largest roster text, signature included, in bytes.
pub const ROSTER_BYTES_MAX: usize = 256 << 10;
/// How far ahead of this node's clock a record's stamp may lie, in milliseconds (48 h).
pub const STAMP_AHEAD_MS_MAX: u64 = 48 * 3600 * 1000;
/// Largest segment file, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Largest dictionary that bodies are coded with, in bytes.
pub const DICTIONARY_BYTES_MAX: usize = 128 << 10;
/// Largest certificate in a proof, in bytes of DER.
pub const CERTIFICATE_BYTES_MAX: usize = 4096;
/// Largest proof, in bytes: more than the longest way to a state root takes.
pub const PROOF_BYTES_MAX: usize = 18 << 10;
