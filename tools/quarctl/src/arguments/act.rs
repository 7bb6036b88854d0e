//! Arguments of the commands that act on messages: release, delete, confirm, hold, let go.
//! Never acts.

use super::{address, id};
use clap::{Args, ValueEnum};

/// Arguments of `release`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl release 4f3a92c10b7e                              to all its recipients
  quarctl release 4f3a92c10b7e --recipient b@example.net    to one of them
  quarctl release 4f3a92c10b7e --to postmaster@example.net  to somebody else
Exit code 4 when some got it and others did not, or nobody can tell.")]
pub struct Release {
    /// The message
    #[arg(value_parser = id)]
    pub id: String,
    /// An address other than the message's own recipients; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub to: Vec<String>,
    /// One of the message's recipients; may be repeated [default: all, without --to]
    #[arg(long = "recipient", value_name = "ADDRESS")]
    pub recipients: Vec<String>,
    /// Release also where an earlier release was delivered or may have been
    #[arg(long)]
    pub again: bool,
}

/// Arguments of `rm`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl rm 4f3a92c10b7e 77ab01c2d3e4
  quarctl rm 4f3a92c10b7e --recipient b@example.net    the other recipients keep it")]
pub struct Rm {
    /// The messages
    #[arg(required = true, value_name = "ID", value_parser = id)]
    pub ids: Vec<String>,
    /// Delete for this recipient only; may be repeated
    #[arg(long = "recipient", value_name = "ADDRESS", value_parser = address)]
    pub recipients: Vec<String>,
}

/// Arguments of `hold`.
#[derive(Args, Debug)]
#[command(after_help = "\
A held message is a copy of class held, with the original's envelope, body and history. It is kept
until `unhold`, whatever becomes of the original. Holding again what is held changes nothing. A
message that was deleted or is no longer kept cannot be held: exit code 3.

Examples:
  quarctl hold 4f3a92c10b7e
  quarctl ls --class held
  quarctl hold --json 4f3a92c10b7e | jq -r .[0].id    the held message's id")]
pub struct Hold {
    /// The messages
    #[arg(required = true, value_name = "ID", value_parser = id)]
    pub ids: Vec<String>,
}

/// Arguments of `unhold`.
#[derive(Args, Debug)]
#[command(after_help = "\
Deletes the held copy on all nodes; the original, if it is still kept, stays as it is.

Examples:
  quarctl unhold 77ab01c2d3e4                        the held message
  quarctl unhold spam-20261123-081512-4f3a92c1...    its original; the whole id when that is gone")]
pub struct Unhold {
    /// The held messages, or their originals
    #[arg(required = true, value_name = "ID", value_parser = id)]
    pub ids: Vec<String>,
}

/// Arguments of `brake`.
#[derive(Args, Debug)]
#[command(after_help = "\
When more deletions come within a minute than delete.brake_per_minute says (1000), the further ones
wait, on the node that was asked, until somebody has looked. None of them is done meanwhile, and a
restart of the daemon drops them. Exit code 4 while any wait.

Examples:
  quarctl brake            what waits
  quarctl brake confirm    deletes it all
  quarctl brake discard    keeps it all")]
pub struct Brake {
    /// What to do
    #[arg(value_enum, default_value_t = BrakeWhat::Show, value_name = "WHAT")]
    pub what: BrakeWhat,
}

/// What becomes of deletions that wait.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrakeWhat {
    /// Show them
    Show,
    /// Do them
    Confirm,
    /// Drop them
    Discard,
}
