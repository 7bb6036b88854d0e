//! Where a command's questions go: to the running daemon, or to the store of a stopped node.
//! Never to a store that a daemon has open.

mod daemon;
mod offline;

use crate::arguments::Arguments;
use crate::output::Output;
use anyhow::{Context, bail};
pub use daemon::Daemon;
pub use offline::Offline;
use quar_base::key::{Bucket, MessageId};
use quar_store::{Query, UsageBy};
use quard::api::{
    BlocksReply, BrakeReply, BrakeStatus, BucketsReply, CheckReply, DayReply, DeleteReply,
    ErasureReply, HoldReply, MessageDetail, MessagePage, NodeStatus, PlacesReply, PutReply,
    ReleaseReply, ReleaseRequest, StraysReply, UnholdReply, UsageReply,
};
use quard::config::Paths;
use quard::daemon::handle::Arrived;
use quard::daemon::opening::IndexStart;
use quard::intake::Mail;
use std::io;
use std::sync::Arc;

/// What a command does to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It only looks.
    Looked,
    /// It takes something in.
    Stored,
    /// It deletes.
    Deleted,
}

/// What answers.
pub enum Backend {
    /// The daemon, through its control socket.
    Daemon(Daemon),
    /// The store itself, under the lock that the daemon would hold.
    Offline(Arc<Offline>),
}

impl Backend {
    /// The daemon if one answers, else the store.
    ///
    /// # Errors
    /// When neither can be had, with what to do about it.
    pub fn open(arguments: &Arguments, output: &Output) -> anyhow::Result<Self> {
        let paths = Paths::under(arguments.root.as_deref());
        if arguments.offline {
            return Ok(Self::Offline(Arc::new(Offline::open(&paths, IndexStart::AsItIs)?)));
        }
        let socket = arguments.socket.clone().unwrap_or_else(|| paths.control_socket());
        let error = match Daemon::connect(&socket) {
            Ok(daemon) => return Ok(Self::Daemon(daemon)),
            Err(error) => error,
        };
        if arguments.socket.is_some() || !is_nobody_there(&error) {
            return Err(error);
        }
        if !paths.data_dir().exists() {
            let data = paths.data_dir();
            return Err(
                error.context(format!("no daemon runs, and {} is not there", data.display()))
            );
        }
        let offline = Offline::open(&paths, IndexStart::AsItIs).with_context(|| {
            let socket = socket.display();
            format!("no daemon answers at {socket}, and the store cannot be opened either")
        })?;
        output.remark("no daemon runs here: working on the store directly");
        Ok(Self::Offline(Arc::new(offline)))
    }

    /// The daemon, for what only a running node can do.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn running(arguments: &Arguments) -> anyhow::Result<Daemon> {
        if arguments.offline {
            bail!("a stopped node cannot do this: it needs the daemon");
        }
        let paths = Paths::under(arguments.root.as_deref());
        let socket = arguments.socket.clone().unwrap_or_else(|| paths.control_socket());
        Daemon::connect(&socket)
    }

    /// Another way to the same place, for another thread.
    ///
    /// # Errors
    /// When the daemon takes no more connections.
    pub fn another(&self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Daemon(daemon) => Self::Daemon(daemon.another()?),
            Self::Offline(offline) => Self::Offline(offline.clone()),
        })
    }

    /// Stores a message.
    ///
    /// *Durable when* it returns.
    ///
    /// # Errors
    /// [`crate::failure::Refused`], or the connection's end.
    pub fn put(&mut self, mail: Mail, arrived: Arrived) -> anyhow::Result<PutReply> {
        match self {
            Self::Daemon(daemon) => daemon.put(mail, arrived),
            Self::Offline(offline) => offline.put(mail, arrived),
        }
    }

    /// One page of a listing.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn list(&mut self, query: &Query) -> anyhow::Result<MessagePage> {
        match self {
            Self::Daemon(daemon) => daemon.list(query),
            Self::Offline(offline) => offline.list(query),
        }
    }

    /// One page of the messages on too few disks.
    ///
    /// # Errors
    /// As [`Self::put`]; a stopped node does not know what its peers have.
    pub fn list_under_replicated(&mut self, query: &Query) -> anyhow::Result<MessagePage> {
        match self {
            Self::Daemon(daemon) => daemon.list_under_replicated(query),
            Self::Offline(_) => bail!("a stopped node does not know what its peers have on disk"),
        }
    }

    /// Everything about a message but its body.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn show(&mut self, id: &str) -> anyhow::Result<MessageDetail> {
        match self {
            Self::Daemon(daemon) => daemon.show(id),
            Self::Offline(offline) => offline.show(id),
        }
    }

    /// A message's bytes.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn body(&mut self, id: &str) -> anyhow::Result<bytes::Bytes> {
        match self {
            Self::Daemon(daemon) => daemon.body(id),
            Self::Offline(offline) => offline.body(id),
        }
    }

    /// Deletes a message; for these recipients, or for all when there are none.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn delete(&mut self, id: &str, recipients: &[String]) -> anyhow::Result<DeleteReply> {
        match self {
            Self::Daemon(daemon) => daemon.delete(id, recipients),
            Self::Offline(offline) => offline.delete(id, recipients),
        }
    }

    /// Holds a message.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn hold(&mut self, id: &str) -> anyhow::Result<HoldReply> {
        match self {
            Self::Daemon(daemon) => daemon.post(&format!("/v1/messages/{id}/hold"), &()),
            Self::Offline(offline) => offline.hold(id),
        }
    }

    /// Deletes the held copies of a message, named by its own id or by one of theirs.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn unhold(&mut self, id: &str) -> anyhow::Result<UnholdReply> {
        match self {
            Self::Daemon(daemon) => daemon.unhold(id),
            Self::Offline(offline) => offline.unhold(id),
        }
    }

    /// A proof that a message is here: its bytes.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn prove(&mut self, id: &str) -> anyhow::Result<bytes::Bytes> {
        match self {
            Self::Daemon(daemon) => daemon.bytes(&format!("/v1/messages/{id}/proof")),
            Self::Offline(offline) => offline.prove(id),
        }
    }

    /// What the messages take up that a query means, its page aside.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn usage(&mut self, query: &Query, by: UsageBy) -> anyhow::Result<UsageReply> {
        match self {
            Self::Daemon(daemon) => daemon.usage(query, by),
            Self::Offline(offline) => offline.usage(query, by),
        }
    }

    /// The days that are on disk.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn buckets(&mut self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Daemon(daemon) => Ok(daemon.get::<BucketsReply>("/v1/store/buckets")?.buckets),
            Self::Offline(offline) => Ok(offline.buckets()),
        }
    }

    /// One day's files.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn day(&mut self, bucket: &str) -> anyhow::Result<DayReply> {
        match self {
            Self::Daemon(daemon) => daemon.get(&format!("/v1/store/day?bucket={bucket}")),
            Self::Offline(offline) => offline.day(bucket),
        }
    }

    /// The blocks of a segment.
    ///
    /// # Errors
    /// As [`Self::put`]; when there is no such segment.
    pub fn blocks(&mut self, bucket: Bucket, number: u32) -> anyhow::Result<BlocksReply> {
        match self {
            Self::Daemon(daemon) => {
                daemon.get(&format!("/v1/store/blocks?bucket={bucket}&segment={number}"))
            }
            Self::Offline(offline) => offline.blocks(bucket, number),
        }
    }

    /// Where a message's items lie.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn places(&mut self, id: &str) -> anyhow::Result<PlacesReply> {
        match self {
            Self::Daemon(daemon) => daemon.get(&format!("/v1/store/places/{id}")),
            Self::Offline(offline) => offline.places(id),
        }
    }

    /// Checks one day on disk.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn check(&mut self, bucket: &str) -> anyhow::Result<CheckReply> {
        match self {
            Self::Daemon(daemon) => daemon.get(&format!("/v1/store/check?bucket={bucket}")),
            Self::Offline(offline) => offline.check(bucket),
        }
    }

    /// Files among the segments that the store does not use.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn strays(&mut self) -> anyhow::Result<Vec<String>> {
        let StraysReply { strays } = match self {
            Self::Daemon(daemon) => daemon.get("/v1/store/strays")?,
            Self::Offline(offline) => offline.strays()?,
        };
        Ok(strays)
    }

    /// What is left of a deleted message.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn erasure_check(&mut self, id: MessageId) -> anyhow::Result<ErasureReply> {
        match self {
            Self::Daemon(daemon) => daemon.get(&format!("/v1/store/erased/{id}")),
            Self::Offline(offline) => offline.erasure_check(id),
        }
    }

    /// Ends the work on a stopped node's store: after a command that deletes, what was deleted leaves
    /// its files. A command that only looks changes no file here.
    ///
    /// # Errors
    /// When that fails; the daemon then does it.
    pub fn finish(self, work: Work) -> anyhow::Result<()> {
        match self {
            Self::Daemon(_) => Ok(()),
            Self::Offline(offline) => offline.finish(work),
        }
    }
}

impl Daemon {
    /// Hands a message to the mail server.
    ///
    /// # Errors
    /// As [`Backend::put`].
    pub fn release(&mut self, id: &str, request: &ReleaseRequest) -> anyhow::Result<ReleaseReply> {
        self.post(&format!("/v1/messages/{id}/release"), request)
    }

    /// Deletions that wait.
    ///
    /// # Errors
    /// As [`Backend::put`].
    pub fn brake(&mut self) -> anyhow::Result<BrakeStatus> {
        self.get("/v1/brake")
    }

    /// Ends their wait: `confirm` or `discard`.
    ///
    /// # Errors
    /// As [`Backend::put`].
    pub fn end_brake(&mut self, how: &str) -> anyhow::Result<BrakeReply> {
        self.post(&format!("/v1/brake/{how}"), &())
    }

    /// The node's state.
    ///
    /// # Errors
    /// As [`Backend::put`].
    pub fn status(&mut self) -> anyhow::Result<NodeStatus> {
        self.get("/v1/status")
    }
}

/// Whether an attempt to connect found nobody, as against somebody who refused.
fn is_nobody_there(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|io| {
        matches!(io.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    })
}
