//! What opening a stopped node's store found and did, as `fsck` and `repair` tell it.
//! Never decides what is damage: the store does.

use crate::backend::Offline;
use crate::output::{count, plain};
use quar_store::OpenReport;
use serde::Serialize;
use std::path::Path;

/// What opening found and did.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Why the index was built anew; `null` when it was good.
    index_rebuilt: Option<String>,
    /// Where the index lies that was set aside last, below the data directory; `null` when none was.
    index_aside: Option<String>,
    /// Whether the index held nothing, and was filled from the segments.
    index_was_empty: bool,
    /// Records that were not in the index.
    replayed_records: u64,
    /// Writes that were never finished, and are none.
    torn_tails: u64,
    /// What is damaged, in words.
    damaged: Vec<String>,
}

impl Opened {
    /// Of a store that was opened just now.
    pub fn of(offline: &Offline) -> Self {
        let OpenReport { rebuilt, was_index_empty, replayed_records, torn_tails, damaged } =
            offline.opened().clone();
        Self {
            index_rebuilt: rebuilt,
            index_aside: index_aside(offline.data()),
            index_was_empty: was_index_empty,
            replayed_records,
            torn_tails,
            damaged,
        }
    }

    /// Whether something was damaged.
    pub fn has_damage(&self) -> bool {
        self.index_rebuilt.is_some() || !self.damaged.is_empty()
    }

    /// What is told of the index and of what was mended, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(why) = &self.index_rebuilt {
            let aside = self.index_aside.as_deref().unwrap_or("nowhere");
            lines.push(format!(
                "the index was damaged ({}); it was built anew from the segments, and the old one lies in {aside}",
                plain(why)
            ));
        }
        if self.index_was_empty {
            lines.push("the index held nothing; it was filled from the segments".to_owned());
        }
        if self.replayed_records > 0 {
            let records = count(self.replayed_records);
            lines.push(format!("{records} records were not in the index; now they are"));
        }
        lines.extend(self.torn_line());
        lines
    }

    /// What is told of writes that were never finished.
    pub fn torn_line(&self) -> Option<String> {
        let torn = count(self.torn_tails);
        let line = format!("{torn} segments end in a write that was never finished");
        (self.torn_tails > 0).then_some(line)
    }

    /// What is damaged and that a check has not found as well: it may say the same with more words.
    pub fn damaged_besides(&self, findings: &[String]) -> Vec<String> {
        let is_told = |text: &str| findings.iter().any(|finding| finding.starts_with(text));
        self.damaged.iter().filter(|text| !is_told(text)).cloned().collect()
    }
}

/// The index that was set aside last.
fn index_aside(data: &Path) -> Option<String> {
    let names = std::fs::read_dir(data)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let number = |name: &String| name.strip_prefix("index.damaged-")?.parse::<u64>().ok();
    names.filter(|name| number(name).is_some()).max_by_key(number)
}

#[cfg(test)]
mod tests {
    use super::Opened;

    #[test]
    fn what_the_check_found_too_is_told_once() {
        let damaged = ["a.seg: bytes 1 to 2", "b.seg: a part of a pack is missing"];
        let opened = Opened { damaged: damaged.map(str::to_owned).to_vec(), ..Opened::default() };
        let found = ["a.seg: bytes 1 to 2 are damaged".to_owned()];
        assert_eq!(opened.damaged_besides(&found), [damaged[1]]);
        assert!(opened.has_damage() && !Opened::default().has_damage());
    }
}
