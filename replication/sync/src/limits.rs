//! Caps of the protocol, for what a peer may make this node hold or do.
//! Never tunable: both sides rely on them.

/// Bytes sent in batches and not yet acknowledged, per peer.
pub const WINDOW_BYTES: usize = 8 << 20;
/// Bytes of batches that a peer may have sent and not been told the outcome of: whoever keeps to
/// the window adds at most one frame to it.
pub const UNDECIDED_BYTES: usize = WINDOW_BYTES + quar_base::limits::FRAME_BYTES_MAX;
/// Fresh messages queued for a peer; what goes beyond is left to anti-entropy.
pub const PUSH_BYTES: usize = 8 << 20;
/// A batch is closed at this many bytes: a line that is cut loses half of one.
pub const BATCH_BYTES: usize = 64 << 10;
/// Plain bytes of one batch's bodies; one body more may lie beyond.
pub const BATCH_RAW_BYTES: usize = quar_base::limits::MESSAGE_BYTES_MAX;
/// Items in one batch.
pub const BATCH_ITEMS: usize = 512;
/// Names asked for in one load.
pub const LOAD_ITEMS: usize = 256;
/// Bytes that one load reads before it leaves the rest for later.
pub const LOAD_BYTES: usize = 4 << 20;
/// Records of a span of seconds that is offered as a whole; no more of it are sent.
pub const LOT_KEYS: u64 = 4096;
/// With several peers a span is taken in parts, but in none of fewer records than this.
pub const PART_KEYS_MIN: u64 = 512;
/// Records that are named one by one in a lot.
pub const LOT_NAMES: usize = 512;
/// Records of one name that are sent for it: more than one are a rarity.
pub const NAMESAKES: usize = 16;
/// One round of a connection in so many names what is lacking by whole keys.
pub const WHOLE_KEYS_EVERY: u32 = 8;
/// Lots that a peer may have taken and not been sent.
pub const LOTS_OPEN: usize = 256;
/// Records of those lots: whoever keeps to what is taken at a time has less.
pub const NAMES_OPEN: usize = 65_536;
/// Lots that are taken from one peer at a time; of no more records than a part has, and one part besides.
pub const LOTS_OUTSTANDING: usize = 64;
/// Spans of which some is here already that are looked at for one lot.
pub const SPANS_HERE: usize = 64;
/// Names of what is here already that are looked up for one lot.
pub const NAMED_HERE: usize = 2048;
/// Spans of one peer's offers that are kept, and that are offered at once; more are found by a later round.
pub const OFFERS_KEPT: usize = 20_000;
/// A lot that takes longer for each so many records, or part of that, is left to another peer that waits for
/// work, in milliseconds.
pub const LOT_PATIENCE_MS: u64 = 10_000;
/// See there.
pub const PATIENCE_KEYS: u64 = 1024;
/// And who was that slow is asked after the others for so long, in milliseconds.
pub const PASSED_OVER_MS: u64 = 60_000;
/// Greetings that a peer may send at once.
pub const HELLOS_AT_ONCE: u64 = 4;
/// After that, one in so many milliseconds: half a step of the cutoff.
pub const HELLO_EVERY_MS: u64 = 5_000;
/// Rounds that a peer may begin at once, for greetings that went unused before.
pub const ROUNDS_AT_ONCE: u32 = 4;
/// Flights in one round, both sides together: deeper than any trie.
pub const FLIGHTS: u32 = 200;
/// Descriptions in one flight; few in this crate's own tests, whose members are slow.
pub const FLIGHT_DESCRIPTIONS: usize = if cfg!(test) { 500 } else { 20_000 };
/// And in one frame of it.
pub const FRAME_DESCRIPTIONS: usize = 20_000;
/// Places in one frame that asks after keys: each takes at most 300 bytes.
pub const WANTS_PER_FRAME: usize = 1000;
/// A flight's frame is closed at this many bytes.
pub const FLIGHT_FRAME_BYTES: usize = 256 << 10;
/// Fresh records told of at connect.
pub const FRESH: usize = 100_000;
/// Bodies in one frame that asks for them, or says that they are not there.
pub const WANT_BODIES: usize = 1000;
/// Bodies asked of one peer that it has neither sent nor said not to have.
pub const WANT_OUTSTANDING: usize = 1050;
/// Of those, kept for bodies that a reader waits for.
pub const WANT_RESERVED: usize = 50;
/// Wanted bodies looked at in one tick.
pub const WANT_PAGE: usize = 1000;
/// Wanted bodies of which is remembered who was asked and who does not have them.
pub const WANTS_KNOWN: usize = 50_000;
/// Lost bodies forgotten in one tick for others, when no more can be remembered.
pub const WANTS_FORGOTTEN: usize = 20;
/// Keys that one frame asks after and that are named in answer.
pub const NAMED_AT_ONCE: usize = 20_000;
/// Keys asked for by one description.
pub const WANT_KEYS: usize = 64;
/// A part of a long body has so many bytes, but for the last one; a body up to this is not long.
pub const PART_BYTES: usize = 512 << 10;
/// Parts that are on their way at a time: what a line of 20 Mbit/s and 200 ms holds, and its queues.
pub const PARTS_OUTSTANDING: usize = 4;
/// Dictionaries that both sides remember of what one of them sent, the newest.
pub const DICTIONARIES: usize = 16;
/// A round without an answer for so long is given up, in milliseconds.
pub const ROUND_PATIENCE_MS: u64 = 30_000;
/// A wanted body is asked for again after so long, in milliseconds; each time after twice as long.
pub const WANT_AGAIN_MS: u64 = 5_000;
/// No wanted body waits longer than this to be asked for again, in milliseconds.
pub const WANT_AGAIN_MS_MAX: u64 = 600_000;
/// A peer that has no room is sent no mail for so long, in milliseconds; then for twice as long.
pub const HOLD_MS: u64 = 5_000;
/// No longer than this, in milliseconds.
pub const HOLD_MS_MAX: u64 = 60_000;
/// Records that a peer refused for good and that are not sent to it again.
pub const REFUSED_KEPT: usize = 10_000;
/// The newest days whose buckets are listed singly.
pub const SINGLE_DAYS: u32 = 32;
/// Acknowledged records of one peer that are kept key by key before they go into tries.
pub const ACKNOWLEDGED_KEPT: usize = 20_000;
/// Of a bucket of which a peer lacks more than this, nothing counts as confirmed.
pub const LACKING_KEPT: u64 = 10_000;
/// Items taken on a connection of which is remembered that they were, the newest.
pub const REPEATS_KNOWN: usize = 16_384;
/// Items that may come again on a connection beyond as many as were taken.
pub const REPEATS_FORGIVEN: u64 = 1000;
/// Bytes of frames that lead to nothing (of unknown kinds, behind their round) at once.
pub const IDLE_BYTES: u64 = 4 << 20;
/// And so many more in each second.
pub const IDLE_BYTES_PER_S: u64 = 64 << 10;
/// A short frame counts as so many.
pub const IDLE_BYTES_MIN: u64 = 256;
