//! Versions of what lies in segments: which are read, and the steps from each to the next.
//! Never touches a disk: what an older version wrote is brought forward in memory, and stays as it is where it lies.
//!
//! ```text
//! segment headers   1 ─► 2     1: logs and rewrites     2: packs too
//! pack footers      1
//! ```
//! A segment's version governs all that is in the file, the headers and payloads of its blocks too; only a footer
//! has one of its own. Records are none of this: what is signed is never written anew.
//!
//! *Source*: docs/formats.md, "Segment" and "Pack".

use crate::pack::Footer;
use crate::segment::SegmentHeader;

pub(crate) const SEGMENTS: Chain<SegmentHeader> = Chain { steps: &[segment_2] };
pub(crate) const FOOTERS: Chain<Footer> = Chain { steps: &[] };

/// What brings one thing from any version that is read to the newest.
pub(crate) struct Chain<T: 'static> {
    /// From each version to the next, the first one from version 1.
    steps: &'static [fn(T) -> T],
}

impl<T> Chain<T> {
    pub(crate) const fn newest(&self) -> u16 {
        1 + self.steps.len() as u16
    }

    /// Whether a version is none of a later program.
    pub(crate) fn reads(&self, version: u16) -> bool {
        (1..=self.newest()).contains(&version)
    }

    /// What was read as a version has it, as the newest version has it.
    pub(crate) fn forward(&self, read: T, version: u16) -> T {
        let steps = self.steps.iter().skip(usize::from(version.saturating_sub(1)));
        steps.fold(read, |read, step| step(read))
    }
}

/// Version 2 came with the role of packs; what version 1 says means the same.
fn segment_2(header: SegmentHeader) -> SegmentHeader {
    header
}

#[cfg(test)]
mod tests {
    use super::Chain;

    const CHAIN: Chain<String> =
        Chain { steps: &[|text| format!("{text} to 2"), |text| format!("{text} to 3")] };

    #[test]
    fn each_version_takes_the_steps_behind_it() {
        assert_eq!(CHAIN.newest(), 3);
        let read = |version| CHAIN.forward(format!("{version}"), version);
        assert_eq!([read(1), read(2), read(3)], ["1 to 2 to 3", "2 to 3", "3"]);
        assert_eq!([0, 1, 3, 4].map(|version| CHAIN.reads(version)), [false, true, true, false]);
    }
}
