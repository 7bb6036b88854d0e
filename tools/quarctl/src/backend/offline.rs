//! The store of a stopped node, opened as the daemon would open it.
//! Never without the lock on the data directory, and never as another user than its owner.

use crate::backend::Work;
use crate::failure::Refused;
use crate::progress::{self, Progress};
use anyhow::{Context, bail};
use bytes::Bytes;
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::{Bucket, MessageId};
use quar_base::limits::STAMP_AHEAD_MS_MAX;
use quar_base::time::Millis;
use quar_store::{
    HoldError, Holding, Message, OpenReport, Origin, Outcome, Query, ReadError, Refusal, Store,
    Ticket, UsageBy,
};
use quard::api::{
    BlocksReply, CheckReply, DayReply, DeleteReply, ErasureReply, HoldReply, MessageDetail,
    MessagePage, PlacesReply, PutReply, StraysReply, UnholdReply, UsageReply,
};
use quard::config::{Config, Identity, Paths};
use quard::daemon::clock::Clock;
use quard::daemon::handle::{ActError, Arrived};
use quard::daemon::opening::{IndexStart, open_store};
use quard::daemon::prove::Prover;
use quard::daemon::view;
use quard::intake::Mail;
use quard::lock::DataLock;
use quard::surface::imported::already_here;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const PROOF: &str = "no holder of this lock panics";

/// An open store.
pub struct Offline {
    store: Store,
    data: PathBuf,
    opened: OpenReport,
    prover: Prover,
    clock: Clock,
    /// Outcomes of commits that were made while others waited for theirs.
    outcomes: Mutex<HashMap<Ticket, Outcome>>,
    /// Last: the store is closed before another process may open it.
    _lock: DataLock,
}

impl Offline {
    /// Opens the store, and nobody else can until it is closed. A terminal shows how far that is.
    ///
    /// # Errors
    /// When the daemon runs, or configuration, keys or store cannot be read.
    pub fn open(paths: &Paths, index: IndexStart) -> anyhow::Result<Self> {
        let data = paths.data_dir();
        check_owner(&data)?;
        let lock = DataLock::acquire(&data)
            .context("the daemon runs, and its control socket does not answer")?;
        let config = Config::load(paths)?;
        let identity = Identity::load(paths)?;
        config.check_node(identity.this_member())?;
        let clock = Clock::start();
        let mut shown = Progress::start();
        let mut tell = |progress| shown.tell(&progress::of_opening(progress));
        let opened = open_store(paths, &config, &identity, &clock, index, &mut tell);
        shown.end();
        let (store, opened) = opened?;
        let prover = Prover::new(&identity);
        Ok(Self { store, data, opened, prover, clock, outcomes: Mutex::default(), _lock: lock })
    }

    pub(super) fn put(&self, mail: Mail, arrived: Arrived) -> anyhow::Result<PutReply> {
        let (received, origin) = match arrived {
            Arrived::Now => (self.clock.now(), Origin::Caught),
            Arrived::Imported(at) => (at, Origin::Imported),
        };
        if received > self.clock.now().plus(Millis(STAMP_AHEAD_MS_MAX)) {
            let error = "the time of the message is more than 48 h ahead of this node's clock";
            return Err(Refused::new("invalid", error).into());
        }
        if origin == Origin::Imported
            && let Some(id) = already_here(&self.store, &mail, received).map_err(unreadable)?
        {
            return Ok(put_reply(id, true));
        }
        let admitted = self.store.admit_mail(quar_store::Mail {
            class: mail.class,
            received,
            headers: view::header_digest(&mail.body),
            envelope: mail.envelope,
            body: self.store.encode_body(&mail.body).map_err(refused)?,
            score_milli: mail.score_milli,
            reason: mail.reason,
            origin,
        });
        let admitted = admitted.map_err(refused)?;
        let id = match self.outcome(admitted.ticket) {
            Outcome::Stored(_) => admitted.message,
            Outcome::AlreadyHere(id) => id.or(admitted.message),
            Outcome::WithoutBody => return Err(refused(Refusal::Full)),
            Outcome::Refused(refusal) => return Err(refused(refusal)),
        };
        let id = id.context("the store took a message and gave it no id")?;
        Ok(put_reply(id, false))
    }

    pub(super) fn list(&self, query: &Query) -> anyhow::Result<MessagePage> {
        let page = self.store.list(query).map_err(unreadable)?;
        let roster = self.store.roster();
        let messages = page.messages.iter();
        Ok(MessagePage {
            messages: messages.map(|message| view::summary(message, &roster)).collect(),
            next: page.next.map(|id| id.to_string()),
            damaged: page.damaged,
        })
    }

    pub(super) fn usage(&self, query: &Query, by: UsageBy) -> anyhow::Result<UsageReply> {
        Ok(UsageReply::new(by, self.store.usage(query, by).map_err(unreadable)?))
    }

    pub(super) fn show(&self, id: &str) -> anyhow::Result<MessageDetail> {
        let message = self.message(id)?;
        let id_key = &self.store.settings().id_key;
        Ok(view::detail(&message, &self.store.roster(), id_key))
    }

    pub(super) fn body(&self, id: &str) -> anyhow::Result<Bytes> {
        let id = self.find(id)?;
        Ok(self.store.body(id).map_err(unreadable)?.into())
    }

    /// Waits, as the daemon does, for a message that has just come.
    pub(super) fn prove(&self, text: &str) -> anyhow::Result<Bytes> {
        let id = self.named(text)?;
        loop {
            let now = self.clock.now();
            self.store.advance(now.cutoff());
            let error = match self.prover.prove(&self.store, id, now) {
                Ok(proof) => return Ok(proof.into()),
                Err(error) => error,
            };
            match error.wait(now) {
                Some(wait) => std::thread::sleep(wait),
                None => return Err(Refused::new(error.kind(), error).into()),
            }
        }
    }

    pub(super) fn delete(&self, id: &str, recipients: &[String]) -> anyhow::Result<DeleteReply> {
        let message = self.message(id)?;
        let count = message.arrival.recipient_count();
        let indices = match recipients {
            [] => (0..count).collect(),
            wanted => view::recipient_indices(&message, wanted)
                .map_err(|error| Refused::new("invalid", error))?,
        };
        let set = RecipientSet::of(count, &indices).expect("indices of stored recipients fit");
        let action = Action::Deleted(set.clone());
        let admitted = self.store.admit_action(message.id, &action, self.clock.now());
        let (admitted, _) = admitted.map_err(refused)?;
        if let Outcome::Refused(refusal) = self.outcome(admitted.ticket) {
            return Err(refused(refusal));
        }
        let mut covered = message.state.deleted.clone();
        covered.add(&set);
        let addresses = message.arrival.envelope.recipients.iter().enumerate();
        let gone = addresses.filter(|(index, _)| covered.covers(count, *index));
        Ok(DeleteReply {
            id: message.id.to_string(),
            recipients: gone.map(|(_, address)| address.clone()).collect(),
            gone: covered.is_complete(),
        })
    }

    pub(super) fn hold(&self, text: &str) -> anyhow::Result<HoldReply> {
        let id = self.named(text)?;
        let unheld = |error| match error {
            HoldError::Read(error) => unreadable(error),
            HoldError::Unfit(_) => Refused::new("invalid", error).into(),
        };
        let new = match self.store.hold(id).map_err(unheld)? {
            Holding::Here(held) => return Ok(HoldReply::new(held, id, true)),
            Holding::New(new) => new,
        };
        let held = new.id();
        let admitted = self.store.admit_hold(*new).map_err(refused)?;
        match self.outcome(admitted.ticket) {
            Outcome::Refused(refusal) => Err(refused(refusal)),
            Outcome::WithoutBody => Err(refused(Refusal::Full)),
            Outcome::Stored(_) | Outcome::AlreadyHere(_) => Ok(HoldReply::new(held, id, false)),
        }
    }

    pub(super) fn unhold(&self, text: &str) -> anyhow::Result<UnholdReply> {
        let id = self.named(text)?;
        let held = self.store.holds_of(id).map_err(unreadable)?;
        if held.is_empty() {
            return Err(Refused::new("not_found", ActError::NotHeld(id)).into());
        }
        let deleted = held.iter().map(|held| Ok(self.delete(&held.to_string(), &[])?.id));
        Ok(UnholdReply { ids: deleted.collect::<anyhow::Result<_>>()? })
    }

    pub(super) fn buckets(&self) -> Vec<String> {
        self.store.buckets().iter().map(ToString::to_string).collect()
    }

    pub(super) fn day(&self, bucket: &str) -> anyhow::Result<DayReply> {
        DayReply::of(&self.store, bucket.parse()?).map_err(unreadable)
    }

    pub(super) fn blocks(&self, bucket: Bucket, number: u32) -> anyhow::Result<BlocksReply> {
        let blocks = self.store.block_reports(bucket, number).map_err(unreadable)?;
        let error = || format!("{bucket} has no segment {number} on this node");
        let blocks = blocks.ok_or_else(|| Refused::new("not_found", error()))?;
        Ok(BlocksReply::new(blocks))
    }

    pub(super) fn places(&self, id: &str) -> anyhow::Result<PlacesReply> {
        let id = self.find(id)?;
        Ok(PlacesReply::new(id, self.store.place_reports(id).map_err(unreadable)?))
    }

    pub(super) fn check(&self, bucket: &str) -> anyhow::Result<CheckReply> {
        let bucket: Bucket = bucket.parse()?;
        let checked = self.store.check(bucket, &|_| ControlFlow::Continue(()));
        let (checked, findings) = checked.map_err(unreadable)?.unwrap_or_default();
        Ok(CheckReply::new(bucket, &checked, &findings))
    }

    pub(super) fn erasure_check(&self, id: MessageId) -> anyhow::Result<ErasureReply> {
        let remains = self.store.remains_of(id, &|_| ControlFlow::Continue(()));
        Ok(ErasureReply::new(id, remains.map_err(unreadable)?.unwrap_or_default()))
    }

    pub(super) fn strays(&self) -> anyhow::Result<StraysReply> {
        StraysReply::of(&self.store).map_err(unreadable)
    }

    /// The store itself, for what only a stopped node can do.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What opening found and did.
    pub fn opened(&self) -> &OpenReport {
        &self.opened
    }

    /// Takes deleted messages out of the files after a command that deletes, and makes durable what the
    /// index was given.
    pub(super) fn finish(&self, work: Work) -> anyhow::Result<()> {
        if work == Work::Deleted {
            for bucket in self.store.erasable() {
                let erased = self.store.erase(bucket);
                erased
                    .context("deleted, but not yet out of the files: the daemon will see to it")?;
            }
        }
        let OpenReport { rebuilt, was_index_empty, replayed_records, .. } = &self.opened;
        let is_index_as_it_was = rebuilt.is_none() && !was_index_empty && *replayed_records == 0;
        if work == Work::Looked && is_index_as_it_was {
            return Ok(());
        }
        // What opening put into the index need not be found again by the next command.
        Ok(self.store.checkpoint()?)
    }

    /// Commits what waits, this thread's and others', and gives this thread's outcome.
    fn outcome(&self, ticket: Ticket) -> Outcome {
        let mut outcomes = self.outcomes.lock().expect(PROOF);
        if let Some(outcome) = outcomes.remove(&ticket) {
            return outcome;
        }
        outcomes.extend(self.store.commit());
        outcomes.remove(&ticket).expect("a commit gives the outcome of everything that waited")
    }

    fn message(&self, id: &str) -> anyhow::Result<Message> {
        let id = self.find(id)?;
        self.store.message(id).map_err(unreadable)
    }

    /// As [`Self::find`]; a whole id also when the message is gone, since its held copy may be here.
    fn named(&self, text: &str) -> anyhow::Result<MessageId> {
        text.parse().or_else(|_| self.find(text))
    }

    fn find(&self, text: &str) -> anyhow::Result<MessageId> {
        let found = self.store.find(text, 2).map_err(unreadable)?;
        match found[..] {
            [id] => Ok(id),
            [] => {
                let error = format!(
                    "no message {text} here: it never came, was deleted, or is no longer kept"
                );
                Err(Refused::new("not_found", error).into())
            }
            _ => {
                let error = format!("{text} names more than one message; give more digits");
                Err(Refused::new("ambiguous", error).into())
            }
        }
    }
}

fn put_reply(id: MessageId, duplicate: bool) -> PutReply {
    PutReply { id: id.to_string(), duplicate }
}

/// Files that another user than the daemon's makes are files that the daemon cannot write.
fn check_owner(data: &Path) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(data);
    let metadata = metadata.with_context(|| format!("no store at {}", data.display()))?;
    let own = nix::unistd::geteuid().as_raw();
    if metadata.uid() != own {
        bail!(
            "{} belongs to user {}: to work on it while no daemon runs, be that user",
            data.display(),
            metadata.uid()
        );
    }
    Ok(())
}

fn unreadable(error: ReadError) -> anyhow::Error {
    let kind = match &error {
        ReadError::NotFound(_) => "not_found",
        ReadError::BodyMissing(_) => "body_missing",
        ReadError::Damaged { .. } => "damaged",
        ReadError::Index(_) | ReadError::Io(_) => "failed",
    };
    Refused::new(kind, error).into()
}

fn refused(refusal: Refusal) -> anyhow::Error {
    let kind = match &refusal {
        Refusal::Full => "full",
        Refusal::TooLarge { .. } => "too_large",
        Refusal::BelowFloor { .. } => "too_old",
        Refusal::Covered => "deleted",
        Refusal::Invalid(_) => "invalid",
        _ => "failed",
    };
    Refused::new(kind, refusal).into()
}

#[cfg(test)]
mod tests;
