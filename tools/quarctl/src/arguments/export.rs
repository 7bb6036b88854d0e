//! Arguments of `export`.
//! Never acts.

use super::Filters;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `export`.
#[derive(Args, Debug)]
#[command(after_help = "\
Messages are written byte for byte, the newest first. An mbox comes under its name when it is whole; of
a tree and a maildir every file does. Files can be read by their owner only. What cannot be exported
is named, and the exit code is 4: a body that is on no node that is up, or damaged.

An mbox is written as mboxrd; `quarctl import` reads it back byte for byte, also messages without a
last line feed, which other programs read with one.

Examples:
  quarctl export /srv/out --format tree --class virus --day 2026-11-23
      makes /srv/out/virus/2026-11-23/virus-20261123-081512-4f3a....eml
  quarctl export november.mbox --format mbox --from 2026-11-01 --to 2026-11-30
  quarctl export ~/Maildir/quarantine --format maildir --recipient me@example.net")]
pub struct Export {
    /// Directory, or the mbox file
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// What DEST becomes
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Replace the mbox that is there, or write into a directory that is not empty
    #[arg(long)]
    pub overwrite: bool,
    /// Which messages
    #[command(flatten)]
    pub filters: Filters,
}

/// What an export becomes.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// CLASS/YYYY-MM-DD/ID.eml below a directory
    Tree,
    /// One file, in mboxrd
    Mbox,
    /// A maildir, all messages in new/
    Maildir,
}
