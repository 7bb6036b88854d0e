//! The command line: commands, options, and help with examples for each.
//! Never acts.

mod act;
mod disk;
mod export;
mod filters;
mod proof;
mod usage;

pub use act::{Brake, BrakeWhat, Hold, Release, Rm, Unhold};
pub use disk::{ErasureCheck, Fsck, Inspect, InspectWhat, Repair};
pub use export::{Export, ExportFormat};
pub use filters::Filters;
pub use proof::{Prove, VerifyProof};
pub use usage::Du;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use quar_base::class::Class;
use quar_base::key::MessageId;
use quard::intake::lmtp::address::is_mailbox;
use std::path::PathBuf;

/// Looks after a quarantine: lists, opens, releases and deletes messages, on any node for all.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "\
A message is named by its id, or by the first digits of its id's last part as `ls` shows them.
Without a running daemon, all but release, brake and status work on the store directly, which is opened as
the daemon opens it at its start (`fsck --help`); what was deleted is erased after rm and unhold only.
repair needs a stopped node.
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 done with warnings."
)]
pub struct Arguments {
    /// Directory below which all paths lie, instead of /
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Control socket of the daemon [default: run/quard/control.sock below the root]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "offline")]
    pub socket: Option<PathBuf>,
    /// Open the store of a stopped node, and never ask a daemon
    #[arg(long, global = true)]
    pub offline: bool,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a cluster: authority, keys, certificates and roster
    Init(Init),
    /// Store one message
    Put(Put),
    /// Store a directory of .eml files, an mbox or a maildir
    Import(Import),
    /// List messages, newest first
    Ls(Ls),
    /// Show everything about one message but its body
    Show(One),
    /// Write one message out, byte for byte
    Cat(Cat),
    /// Write messages out to a directory, an mbox or a maildir
    Export(Export),
    /// Hand a message to the mail server again
    Release(Release),
    /// Delete messages, on all nodes
    Rm(Rm),
    /// Keep a copy of messages until it is let go
    Hold(Hold),
    /// Let go what is held
    Unhold(Unhold),
    /// Show deletions that wait as there were too many, do them or drop them
    Brake(Brake),
    /// Tell how this node and its peers are
    Status(Status),
    /// Tell what messages take up: by class, day or sender's domain
    Du(Du),
    /// Tell what lies on disk: days, segments, blocks, where a message's items are
    Inspect(Inspect),
    /// Check everything on disk: checksums, body ids, index, tables, trie
    Fsck(Fsck),
    /// Build the index of a stopped node anew, and list what peers must give
    Repair(Repair),
    /// Tell whether a deleted message has left this node's files
    ErasureCheck(ErasureCheck),
    /// Prove that this node holds a message, as it stands now
    Prove(Prove),
    /// Check a proof, with the certificate of the cluster's authority and no node
    VerifyProof(VerifyProof),
    /// Print a script that completes quarctl's commands in a shell
    Completions(Completions),
}

/// Arguments of `init`.
#[derive(Args, Debug)]
#[command(after_help = "\
FILE lists the members:
  [[member]]
  name = \"mx1\"
  node_number = 1
  addresses = [\"mx1.example:1027\"]
  location = \"Cape Town\"

Examples:
  quarctl init --static cluster.toml --out /srv/quard-cluster
      then copy /srv/quard-cluster/mx1/* to / of mx1, and so on; keep authority/ safe and offline
  quarctl init --static cluster.toml --out /srv/quard-cluster --extend
      after cluster.toml was changed: the next roster, and files for new members")]
pub struct Init {
    /// File that lists the members
    #[arg(long = "static", value_name = "FILE")]
    pub plan: PathBuf,
    /// Directory for authority/ and one directory for each member
    #[arg(long, value_name = "DIR", default_value = "quard-cluster")]
    pub out: PathBuf,
    /// Change the members of the cluster that was made there
    #[arg(long)]
    pub extend: bool,
}

/// What comes with a message.
#[derive(Args, Debug, Clone)]
pub struct Cover {
    /// Class: spam, nonspam, virus, policy or archive
    #[arg(long, default_value = "spam", value_parser = class)]
    pub class: Class,
    /// Envelope sender; "" for the null sender
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    pub sender: Option<String>,
    /// Envelope recipient; may be repeated
    #[arg(long = "recipient", value_name = "ADDRESS", value_parser = address)]
    pub recipients: Vec<String>,
    /// Why it is put aside
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Arguments of `put`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl put mail.eml --class virus --sender a@example.org --recipient b@example.net
  quarctl put --recipient b@example.net < mail.eml")]
pub struct Put {
    /// The message; - for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
    /// What comes with it
    #[command(flatten)]
    pub cover: Cover,
    /// The mail server's id of the message
    #[arg(long, value_name = "ID", default_value = "")]
    pub queue_id: String,
    /// Address of the SMTP client that sent it
    #[arg(long, value_name = "IP", default_value = "")]
    pub client_address: String,
    /// What that client called itself
    #[arg(long, value_name = "NAME", default_value = "")]
    pub helo: String,
    /// Spam score
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_parser = score)]
    pub score: f64,
}

/// Arguments of `import`.
#[derive(Args, Debug)]
#[command(after_help = "\
A message is filed under the time at which its file was changed last; one of an mbox under the date
of its From line. Importing one tree again, or on several nodes, stores each message once: an import
that was interrupted goes on when it is started again. Messages older than their class is kept are
listed and left out; --class archive keeps them longer.

With --format auto, a directory with cur/ and new/ is a maildir; of other directories and those
below, *.eml and *.mbox are taken, all else is counted as skipped; a single file is an mbox if it
begins with \"From \". An mbox is read as mboxrd: of \">From \", \">>From \" ... one > is taken
away.

Examples:
  quarctl import /var/spool/old-quarantine --format eml --class spam
  quarctl import ~/Maildir --class nonspam --recipient me@example.org
  quarctl import spam-2025.mbox --class archive")]
pub struct Import {
    /// Directory or file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// What PATH is
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// What comes with each message
    #[command(flatten)]
    pub cover: Cover,
}

/// What is imported.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Look
    Auto,
    /// Every file is a message
    Eml,
    /// Every file is an mbox
    Mbox,
    /// A maildir, folders included
    Maildir,
}

/// Arguments of `ls`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl ls --day 2026-11-23 --class virus
  quarctl ls --recipient @example.net --subject 'invoice overdue' --all
  quarctl ls --under-replicated                     on fewer disks than sync.copies asks for
  quarctl ls --json --limit 1000 | jq -r '.messages[].id'")]
pub struct Ls {
    /// Which messages
    #[command(flatten)]
    pub filters: Filters,
    /// Only messages older than this one: the next page
    #[arg(long, value_name = "ID")]
    pub before: Option<MessageId>,
    /// Most messages to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// List all messages, whatever --limit says
    #[arg(long)]
    pub all: bool,
    /// Print whole ids
    #[arg(long)]
    pub long: bool,
    /// List only what fewer members have confirmed on disk than should have it
    #[arg(long)]
    pub under_replicated: bool,
}

/// Arguments of commands that take one message.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl show 4f3a92c10b7e
  quarctl show --json spam-20261123-081512-4f3a...")]
pub struct One {
    /// The message
    #[arg(value_parser = id)]
    pub id: String,
}

/// Arguments of `cat`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl cat 4f3a92c10b7e | less
  quarctl cat 4f3a92c10b7e -o mail.eml")]
pub struct Cat {
    /// The message
    #[arg(value_parser = id)]
    pub id: String,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quarctl status                  exit code 4 when there are warnings, 1 when nothing is taken
  quarctl status --cluster        and all members, as this node sees them
  quarctl status --json | jq .warnings")]
pub struct Status {
    /// Show all members
    #[arg(long)]
    pub cluster: bool,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  quarctl completions bash > /etc/bash_completion.d/quarctl")]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

fn class(text: &str) -> Result<Class, String> {
    let class: Class = text.parse().map_err(|_| unknown_class())?;
    let takes_mail = class != Class::HELD && Class::known().any(|known| known == class);
    takes_mail.then_some(class).ok_or_else(unknown_class)
}

fn unknown_class() -> String {
    "mail goes to spam, nonspam, virus, policy or archive".to_owned()
}

fn address(text: &str) -> Result<String, String> {
    let is_address = is_mailbox(text);
    is_address.then(|| text.to_owned()).ok_or_else(|| "not a mail address".to_owned())
}

fn sender(text: &str) -> Result<String, String> {
    if matches!(text, "" | "<>") {
        return Ok(String::new());
    }
    address(text)
}

fn score(text: &str) -> Result<f64, String> {
    let score = text.parse().ok().filter(|score: &f64| score.abs() <= 1e6);
    score.ok_or_else(|| "not a score".to_owned())
}

fn id(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || text.len() > 120 || !text.bytes().all(is_plain) {
        return Err("not a message id, nor the start of one".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Command};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(help.contains("Example"), "{} has none", command.get_name());
        }
    }

    #[test]
    fn refuses_what_can_be_seen_to_be_wrong() {
        for line in [
            "put --class held",
            "put --class ham",
            "put --recipient a,b@example.org",
            "put --score much",
            "ls --day yesterday",
            "ls --day 2026-11-23 --from 2026-11-22",
            "ls --limit 0",
            "export /tmp/x",
            "export /tmp/x --format zip",
            "show a@example.org",
            "show",
            "rm",
            "rm x --recipient",
            "release x --to nobody@",
            "init",
            "--offline --socket /tmp/s ls",
        ] {
            let words = std::iter::once("quarctl").chain(line.split(' '));
            let error = Arguments::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn takes_global_options_anywhere_and_ids_in_any_case() {
        let words = ["quarctl", "show", "4F3A", "--json", "--root", "/x"];
        let arguments = Arguments::try_parse_from(words).unwrap();
        assert!(arguments.json);
        assert!(matches!(arguments.command, Command::Show(one) if one.id == "4f3a"));
    }
}
