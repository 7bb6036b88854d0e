//! The JSON about what messages take up.
//! Never holds behaviour: names, shapes, and how they follow from what the store counts.

use quar_store::{Amounts, Usage, UsageBy};
use serde::{Deserialize, Serialize};

/// What messages take up, by class, day or sender's domain.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct UsageReply {
    /// `class`, `day` or `sender-domain`.
    pub by: String,
    /// Those that take up most come first.
    pub rows: Vec<UsageRow>,
    /// All rows together; its name is `total`.
    pub total: UsageRow,
    /// Length of all segment files of these days: beside the rows, that is deleted mail that was not
    /// erased yet, tables, dictionaries and room ahead. `null` when a filter leaves out some messages
    /// of a day.
    pub file_bytes: Option<u64>,
    /// Messages whose body is not on the node that answers.
    pub missing_bodies: u64,
    /// Messages that are not counted because their record is damaged on this node.
    pub damaged: u64,
}

/// What some messages take up.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct UsageRow {
    /// The class, day or domain; of domains `<>` for the null sender and `-` for none.
    pub name: String,
    /// Messages.
    pub messages: u64,
    /// Bytes of mail, as it came.
    pub mail_bytes: u64,
    /// Bytes on disk: of each block with records or bodies the part that is theirs. A body that
    /// messages of one day and class share counts once.
    pub disk_bytes: u64,
}

impl UsageReply {
    /// The reply for what was counted.
    #[must_use]
    pub fn new(by: UsageBy, usage: Usage) -> Self {
        let total = UsageRow::new("total".to_owned(), usage.total());
        let Usage { rows, missing_bodies, damaged, file_bytes } = usage;
        let rows = rows.into_iter().map(|(name, amounts)| UsageRow::new(name, amounts));
        let mut rows: Vec<_> = rows.filter(|row| row.messages > 0).collect();
        rows.sort_by(|a, b| (b.disk_bytes, &a.name).cmp(&(a.disk_bytes, &b.name)));
        Self { by: usage_by_name(by).to_owned(), rows, total, file_bytes, missing_bodies, damaged }
    }
}

impl UsageRow {
    fn new(name: String, amounts: Amounts) -> Self {
        let Amounts { messages, mail_bytes, disk_bytes } = amounts;
        Self { name, messages, mail_bytes, disk_bytes }
    }
}

/// What messages are put together by, as it is asked for.
#[must_use]
pub fn usage_by_name(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Class => "class",
        UsageBy::Day => "day",
        UsageBy::SenderDomain => "sender-domain",
    }
}

/// What a name asks for; `None` for another.
#[must_use]
pub fn usage_by(name: &str) -> Option<UsageBy> {
    let all = [UsageBy::Class, UsageBy::Day, UsageBy::SenderDomain];
    all.into_iter().find(|by| usage_by_name(*by) == name)
}

#[cfg(test)]
mod tests {
    use super::{UsageReply, usage_by, usage_by_name};
    use quar_store::{Amounts, Usage, UsageBy};

    #[test]
    fn rows_are_in_order_of_what_they_take_and_names_read_back() {
        let amounts = |disk_bytes| Amounts { messages: 1, mail_bytes: 2, disk_bytes };
        let rows = [("a", 1), ("b", 3), ("c", 3), ("d", 2)];
        let rows = rows.map(|(name, bytes)| (name.to_owned(), amounts(bytes))).into();
        let reply = UsageReply::new(UsageBy::Day, Usage { rows, ..Usage::default() });
        let names: Vec<_> = reply.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "d", "a"]);
        assert_eq!((reply.total.messages, reply.total.disk_bytes), (4, 9));
        for by in [UsageBy::Class, UsageBy::Day, UsageBy::SenderDomain] {
            assert_eq!(usage_by(usage_by_name(by)), Some(by));
        }
        assert_eq!(usage_by("size"), None);
    }
}
