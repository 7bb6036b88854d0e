//! Arguments of `du`.
//! Never acts.

use super::Filters;
use clap::{Args, ValueEnum};
use quar_store::UsageBy;

/// Arguments of `du`.
#[derive(Args, Debug)]
#[command(after_help = "\
MAIL is what came in, ON DISK what of this node's files is theirs: of each block with records or bodies
the part by length. Bodies of a packed day are compressed together; each has its part of its group by
its plain length. A body that messages of one day and class share is in MAIL for each of them, and
ON DISK once, with the first. The files hold more than that: tables, dictionaries, room ahead, deleted
mail that is not erased yet.

Examples:
  quarctl du                                    by class
  quarctl du --by day --class spam
  quarctl du --by sender-domain --from 2026-11-01 | head
  quarctl du --json | jq .total.disk_bytes")]
pub struct Du {
    /// What messages are put together by
    #[arg(long, value_enum, default_value_t = DuBy::Class)]
    pub by: DuBy,
    /// Which messages
    #[command(flatten)]
    pub filters: Filters,
}

/// What messages are put together by.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuBy {
    /// Their class
    Class,
    /// The UTC day on which they came
    Day,
    /// The domain of the envelope sender
    SenderDomain,
}

impl From<DuBy> for UsageBy {
    fn from(by: DuBy) -> Self {
        match by {
            DuBy::Class => Self::Class,
            DuBy::Day => Self::Day,
            DuBy::SenderDomain => Self::SenderDomain,
        }
    }
}
