//! The surfaces' handle on the running node: intake, actions, reads and status.
//! Never decides anything about mail; it carries questions to the node and answers back.

mod error;

pub use error::{ActError, FindError};

use crate::api::{DeleteReply, NodeStatus};
use crate::daemon::brake::Brake;
use crate::daemon::clock::Clock;
use crate::daemon::copies;
use crate::daemon::driver::Event;
use crate::daemon::prove::Prover;
use crate::daemon::release;
use crate::daemon::view;
use crate::intake;
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::RecordId;
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use quar_store::{Message, NewHold, Origin, Page, Query, ReadError, Refusal, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Between two looks at a body that must come from a peer first.
const FETCH_POLL: Duration = Duration::from_millis(20);
/// After so many polls nothing more is hoped for: five seconds.
const FETCH_POLLS: u32 = 250;
/// After so many polls another peer is asked: the one before may be slow.
const FETCH_POLLS_EACH: u32 = 25;

/// A question to the node task.
pub enum Request {
    /// Take a message.
    Put {
        /// The message, its body coded already.
        mail: Box<quar_store::Mail>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<MessageId, Refusal>>,
    },
    /// Make an action of this node, store it and push it.
    Act {
        /// The message it is about.
        message: MessageId,
        /// What it says.
        action: Action,
        /// The record's id, once it is durable here and, as far as `copies` asks, elsewhere.
        reply: oneshot::Sender<Result<quar_base::ids::RecordId, Refusal>>,
    },
    /// Store a held message and push it.
    Hold {
        /// The held message, read and coded already.
        hold: Box<NewHold>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<MessageId, Refusal>>,
    },
    /// Tell the state of this node.
    Status {
        /// Where the answer goes.
        reply: oneshot::Sender<NodeStatus>,
    },
    /// Tell what every member has confirmed.
    Holders {
        /// Where the answer goes.
        reply: oneshot::Sender<quar_node::Holders>,
    },
    /// A body that a reader asked for is not here: fetch it before everything else.
    Fetch {
        /// The message.
        message: MessageId,
        /// Whether the peers are to be asked, or only what they said is to be told.
        asks: bool,
        /// Whether every connected peer has said not to have it.
        reply: oneshot::Sender<bool>,
    },
}

/// Which recipients an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// All of them.
    All,
    /// These addresses.
    Only(Vec<String>),
}

/// When a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// This moment, here.
    Now,
    /// At this instant, somewhere: an import, whose record says nothing of who imports.
    Imported(UnixMillis),
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    store: Arc<Store>,
    events: mpsc::Sender<Event>,
    release: Arc<release::Settings>,
    beginning_releases: Arc<release::Beginning>,
    brake: Arc<Brake>,
    copies: Arc<copies::Figures>,
    prover: Arc<Prover>,
    clock: Clock,
}

impl NodeHandle {
    /// A handle on the node behind `events`.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        events: mpsc::Sender<Event>,
        release: release::Settings,
        brake: Brake,
        prover: Prover,
        clock: Clock,
    ) -> Self {
        let (release, brake, prover) = (Arc::new(release), Arc::new(brake), Arc::new(prover));
        let (beginning_releases, copies) = (Arc::default(), Arc::default());
        Self { store, events, release, beginning_releases, brake, copies, prover, clock }
    }

    pub(crate) fn beginning_releases(&self) -> &release::Beginning {
        &self.beginning_releases
    }

    pub(crate) fn prover(&self) -> &Arc<Prover> {
        &self.prover
    }

    pub(crate) fn brake(&self) -> &Brake {
        &self.brake
    }

    pub(crate) fn copy_figures(&self) -> &Arc<copies::Figures> {
        &self.copies
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn events(&self) -> &mpsc::Sender<Event> {
        &self.events
    }

    /// The store, for blocking reads.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Takes a message; the answer comes when it is durable, on as many nodes as `copies` asks.
    ///
    /// # Errors
    /// [`intake::Refusal`], and then nothing was stored.
    pub async fn put(
        &self,
        mail: intake::Mail,
        arrived: Arrived,
    ) -> Result<MessageId, intake::Refusal> {
        if mail.class == Class::HELD {
            // Held messages are made by holding one, never taken from outside.
            return Err(intake::Refusal::Class(mail.class.to_string()));
        }
        let mail = self.coded(mail, arrived).await?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Put { mail: Box::new(mail), reply };
        let stopping = intake::Refusal::ShuttingDown;
        self.events.send(Event::Request(request)).await.map_err(|_| stopping.clone())?;
        answer.await.map_err(|_| stopping)?.map_err(intake_refusal)
    }

    /// Hashes and compresses where the caller runs; what takes long on a thread of its own.
    async fn coded(
        &self,
        mail: intake::Mail,
        arrived: Arrived,
    ) -> Result<quar_store::Mail, intake::Refusal> {
        const LARGE_BYTES: usize = 256 << 10;
        let bytes = mail.body.clone();
        let body = if bytes.len() < LARGE_BYTES && !self.store.is_about_to_train() {
            self.store.encode_body(&bytes)
        } else {
            let store = self.store.clone();
            let encoded = tokio::task::spawn_blocking(move || store.encode_body(&bytes)).await;
            encoded.map_err(|_| intake::Refusal::StoreFailed)?
        };
        let (received, origin) = match arrived {
            Arrived::Now => (self.clock.now(), Origin::Caught),
            Arrived::Imported(at) => (at, Origin::Imported),
        };
        Ok(quar_store::Mail {
            class: mail.class,
            received,
            headers: view::header_digest(&mail.body),
            envelope: mail.envelope,
            body: body.map_err(intake_refusal)?,
            score_milli: mail.score_milli,
            reason: mail.reason,
            origin,
        })
    }

    /// The message that a text names: a whole id, or the start of its digest.
    ///
    /// # Errors
    /// [`FindError`].
    pub async fn find(&self, text: &str) -> Result<MessageId, FindError> {
        let (store, owned) = (self.store.clone(), text.to_owned());
        let found = blocking(move || store.find(&owned, 2)).await?;
        match found[..] {
            [id] => Ok(id),
            [] => Err(FindError::NotFound(text.to_owned())),
            _ => Err(FindError::Ambiguous(text.to_owned())),
        }
    }

    /// One page of a listing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list(&self, query: Query) -> Result<Page, ReadError> {
        let store = self.store.clone();
        blocking(move || store.list(&query)).await
    }

    /// One message without its body.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn message(&self, id: MessageId) -> Result<Message, ReadError> {
        let store = self.store.clone();
        blocking(move || store.message(id)).await
    }

    /// A message's bytes. One whose body is not here is fetched from a peer first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn body(&self, id: MessageId) -> Result<Vec<u8>, ReadError> {
        self.fetched(id, move |store| store.body(id), needs_body).await
    }

    /// What is read of a message, after its body was fetched from a peer if that was missing.
    pub(crate) async fn fetched<T: Send + 'static, E: From<ReadError> + Send + 'static>(
        &self,
        id: MessageId,
        read: impl Fn(&Store) -> Result<T, E> + Clone + Send + 'static,
        needs_body: fn(&E) -> bool,
    ) -> Result<T, E> {
        let mut polls_left = FETCH_POLLS;
        loop {
            let (store, read) = (self.store.clone(), read.clone());
            let result = blocking(move || Ok(read(&store))).await?;
            if !result.as_ref().is_err_and(needs_body) || polls_left == 0 {
                return result;
            }
            if self.fetch(id, polls_left.is_multiple_of(FETCH_POLLS_EACH)).await {
                polls_left = 0;
                continue;
            }
            tokio::time::sleep(FETCH_POLL).await;
            polls_left -= 1;
        }
    }

    /// Has a body fetched from the peers; whether all of them have said not to have it.
    async fn fetch(&self, message: MessageId, asks: bool) -> bool {
        let (reply, answer) = oneshot::channel();
        let fetch = Event::Request(Request::Fetch { message, asks, reply });
        let _ = self.events.send(fetch).await;
        answer.await.unwrap_or(false)
    }

    /// Deletes a message for some or all of its recipients.
    ///
    /// # Errors
    /// [`ActError`], and then nothing was deleted.
    pub async fn delete(&self, id: MessageId, whom: Whom) -> Result<DeleteReply, ActError> {
        let message = self.message(id).await?;
        let count = message.arrival.recipient_count();
        let indices = match &whom {
            Whom::All => (0..count).collect(),
            Whom::Only(addresses) => view::recipient_indices(&message, addresses)?,
        };
        let set = RecipientSet::of(count, &indices).expect("indices of stored recipients fit");
        self.brake.admit(id, &set, Instant::now(), self.clock.now())?;
        self.act(id, Action::Deleted(set.clone())).await?;
        let mut covered = message.state.deleted.clone();
        covered.add(&set);
        let addresses = message.arrival.envelope.recipients.iter().enumerate();
        let gone = addresses.filter(|(index, _)| covered.covers(count, *index));
        Ok(DeleteReply {
            id: id.to_string(),
            recipients: gone.map(|(_, address)| address.clone()).collect(),
            gone: covered.is_complete(),
        })
    }

    /// Hands a message to the mail server again.
    ///
    /// # Errors
    /// [`ActError`], and then nothing was handed over.
    pub async fn release(
        &self,
        id: MessageId,
        request: crate::api::ReleaseRequest,
    ) -> Result<crate::api::ReleaseReply, ActError> {
        release::release(self, &self.release, id, request).await
    }

    /// This node's name in the roster.
    #[must_use]
    pub fn name(&self) -> String {
        let me = self.store.settings().member;
        self.store.roster().member(me).map_or_else(|| me.to_string(), |known| known.name.clone())
    }

    /// Makes an action durable here and, as far as `copies` asks, elsewhere.
    pub(crate) async fn act(
        &self,
        message: MessageId,
        action: Action,
    ) -> Result<RecordId, ActError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Act { message, action, reply };
        self.events.send(Event::Request(request)).await.map_err(|_| ActError::Stopping)?;
        Ok(answer.await.map_err(|_| ActError::Stopping)??)
    }

    /// A message as a listing shows it.
    #[must_use]
    pub fn summary(&self, message: &Message) -> crate::api::MessageSummary {
        view::summary(message, &self.store.roster())
    }

    /// A message as `show` shows it.
    #[must_use]
    pub fn detail(&self, message: &Message) -> crate::api::MessageDetail {
        view::detail(message, &self.store.roster(), &self.store.settings().id_key)
    }
}

impl intake::Door for NodeHandle {
    async fn admit(&self, mail: intake::Mail) -> Result<MessageId, intake::Refusal> {
        self.put(mail, Arrived::Now).await
    }
}

/// Whether a body from a peer would help.
pub(crate) fn needs_body(error: &ReadError) -> bool {
    matches!(error, ReadError::BodyMissing(_) | ReadError::Damaged { .. })
}

/// Runs a blocking read on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let joined = tokio::task::spawn_blocking(read).await;
    joined.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}

fn intake_refusal(refusal: Refusal) -> intake::Refusal {
    match refusal {
        Refusal::Full => intake::Refusal::Full,
        Refusal::TooLarge { bytes, limit } => intake::Refusal::TooLarge { bytes, limit },
        Refusal::BelowFloor { class, day } => intake::Refusal::TooOld { class, day },
        Refusal::Invalid(why) => intake::Refusal::Invalid(why),
        Refusal::Covered => intake::Refusal::Deleted,
        ahead @ Refusal::Ahead(_) => intake::Refusal::Invalid(ahead.to_string()),
        _ => intake::Refusal::StoreFailed,
    }
}
