//! Arguments of the commands about what lies on disk.
//! Never acts.

use clap::Args;
use quar_base::key::{Bucket, MessageId};
use std::str::FromStr;

/// Arguments of `inspect`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl inspect                         all days: segments, sizes, packs
  quarctl inspect spam/2026-11-23         one day
  quarctl inspect spam/2026-11-23/1       the blocks of its segment 1
  quarctl inspect 4f3a92                  where a message's arrival, body and actions lie
  quarctl inspect --json | jq '[.days[].segments[].bytes] | add'")]
pub struct Inspect {
    /// CLASS/DAY, CLASS/DAY/SEGMENT, or a message's id or its first digits [default: all days]
    #[arg(value_name = "WHAT")]
    pub what: Option<InspectWhat>,
}

/// What to inspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InspectWhat {
    /// A day's segments.
    Day(Bucket),
    /// A segment's blocks.
    Segment(Bucket, u32),
    /// A message's places, by its id or the first digits of it.
    Message(String),
}

impl FromStr for InspectWhat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "not CLASS/DAY, CLASS/DAY/SEGMENT or a message id".to_owned();
        match text.split('/').count() {
            1 => super::id(text).map(Self::Message),
            2 => text.parse().map(Self::Day).map_err(|error| format!("{error}")),
            3 => {
                let (day, number) = text.rsplit_once('/').ok_or_else(expected)?;
                let number = number.trim_end_matches(".seg").parse().map_err(|_| expected())?;
                day.parse()
                    .map(|day| Self::Segment(day, number))
                    .map_err(|error| format!("{error}"))
            }
            _ => Err(expected()),
        }
    }
}

/// Arguments of `fsck`.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads every block, decodes and hashes every body, and holds index, tables and trie against them; names
files among the segments that the store does not use.
On a running node what is damaged is marked, and fetched from peers, and for each message that is
damaged the members that have it are named.
On a stopped node nothing is mended but by opening the store, which does what a start of the daemon
does: it reads into the index what is not there yet; sets a damaged index aside as index.damaged-N and
builds it anew; unlinks what is left of expired days and what a finished rewrite replaced; gives back
room that segments have ahead; fills up the reserve; and, when the node did not end in order, writes the
last commit again in a new segment. What opening found is told, and for a damaged index too the exit code
is 4. What was deleted stays in the files.

Examples:
  quarctl fsck                            exit code 4 when something is wrong
  quarctl fsck --bucket spam/2026-11-23
  quarctl fsck --json | jq .findings")]
pub struct Fsck {
    /// Only this class and UTC day; may be repeated [default: all]
    #[arg(long = "bucket", value_name = "CLASS/DAY")]
    pub buckets: Vec<Bucket>,
}

/// Arguments of `repair`.
#[derive(Args, Debug)]
#[command(after_help = "\
For a stopped node; start it again afterwards. Everything is checked against the index that is there, if
it can be read, since it knows damaged records by name; their names are kept in the file `broken`. Then
the index is built anew from the segments, everything is checked again, and the old index is set aside
as index.damaged-N (the one that was set aside before is removed).
Into damaged/ in the data directory go copies of damaged stretches of segments, of blocks with damaged
bodies, and of whole segments that cannot be opened; remove them when you have no use for them. Segments
stay as they are: when the daemon runs again it takes what is missing from the members that have it. A
stopped node does not know which these are: see that the members run that are named. Messages without
their body are listed, and damaged records whose ids are known; other records of a damaged stretch come
back all the same. Exit code 4 when something is damaged or missing.

Example:
  systemctl stop quard && quarctl repair && systemctl start quard")]
pub struct Repair {}

/// Arguments of `erasure-check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads and decodes every block of the message's day on this node. What is deleted leaves the files
within the hour that upkeep.erase_after_s allows, while the daemon runs, or at the end of an `rm` or
`unhold` on a stopped node; this command erases nothing. Exit code 4 while something of it is left, or
while something damaged keeps it from being sure; what other messages left does not count. It also says
when the message is not deleted at all.

Example:
  quarctl erasure-check spam-20261123-081512-4f3a92c1...   the whole id")]
pub struct ErasureCheck {
    /// The whole id of the deleted message
    #[arg(value_name = "ID")]
    pub id: MessageId,
}

#[cfg(test)]
mod tests {
    use super::InspectWhat;

    #[test]
    fn tells_days_segments_and_messages_apart() {
        let day = "spam/2026-11-23".parse().unwrap();
        assert_eq!("spam/2026-11-23".parse(), Ok(InspectWhat::Day(day)));
        let segment = InspectWhat::Segment(day, 12);
        assert_eq!("spam/2026-11-23/12".parse(), Ok(segment.clone()));
        assert_eq!("spam/2026-11-23/00000012.seg".parse(), Ok(segment));
        assert_eq!("4F3A".parse(), Ok(InspectWhat::Message("4f3a".into())));
        for wrong in ["", "ham/2026-11-23", "spam/yesterday", "spam/2026-11-23/x", "a/b/c/d", "a@b"]
        {
            assert!(wrong.parse::<InspectWhat>().is_err(), "{wrong}");
        }
    }
}
