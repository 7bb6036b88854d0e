//! The one door: every message, record and body is checked here before it may wait for a commit.
//! Never makes anything durable; nothing may be acknowledged on a ticket alone.
//!
//! ```text
//! mail (LMTP, HTTP, put, import) ─┐
//! own actions (delete, release)  ─┼─► checked, given a ticket ─► pending ─► commit
//! records and bodies of peers    ─┘
//! ```

use crate::codec::{CodecError, CodedBody};
use crate::dictionary::{Dictionary, DictionaryError, DictionaryId};
use crate::error::Refusal;
use crate::store::Store;
use quar_base::action::Action;
use quar_base::arrival::{Arrival, Envelope, Headers};
use quar_base::class::Class;
use quar_base::hold::Hold;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, MessageId};
use quar_base::limits::{MESSAGE_BYTES_MAX, STAMP_AHEAD_MS_MAX};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::time::{DAY_SECONDS, UnixMillis};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Names one admitted item until its outcome is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// A message as an intake hands it over.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Where it is filed.
    pub class: Class,
    /// When it came in.
    pub received: UnixMillis,
    /// Envelope as received.
    pub envelope: Envelope,
    /// Header digest.
    pub headers: Headers,
    /// The bytes, coded by [`Store::encode_body`].
    pub body: CodedBody,
    /// Spam score in thousandths.
    pub score_milli: i32,
    /// Why it was put aside.
    pub reason: String,
    /// How it came here.
    pub origin: Origin,
}

/// How a message came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// This node caught it.
    Caught,
    /// Somebody imports it: its record says nothing of who or when, so that importing one tree on
    /// several nodes makes one copy.
    Imported,
}

/// An item that waits for its commit.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Under which the commit reports.
    pub ticket: Ticket,
    /// The message that it starts or is about; `None` for a body alone.
    pub message: Option<MessageId>,
}

/// A checked item. Made in this module only.
pub(crate) struct Submission {
    pub(crate) ticket: Ticket,
    pub(crate) item: Item,
}

/// Where an arrival comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// It came in here, with its body.
    Own,
    /// It was held here, with its body: the record is the same wherever it is made.
    Held,
    /// A peer has it.
    Peer {
        /// Whether the peer sent its body too.
        has_body: bool,
    },
}

pub(crate) enum Item {
    Arrival {
        record: Record,
        arrival: Box<Arrival>,
        body: Option<CodedBody>,
        source: Source,
    },
    Action {
        record: Record,
    },
    Body {
        bucket: Bucket,
        body: CodedBody,
    },
    /// What a crash may have left in the page cache only: written again wherever it lies now.
    Again {
        bucket: Bucket,
        records: Vec<Record>,
        bodies: Vec<CodedBody>,
    },
}

impl Item {
    pub(crate) fn bucket(&self) -> Bucket {
        match self {
            Self::Arrival { record, .. } | Self::Action { record } => record.head().bucket,
            Self::Body { bucket, .. } | Self::Again { bucket, .. } => *bucket,
        }
    }
}

impl Store {
    /// Hashes and codes a body: the work of taking a message that needs no lock. Now and then,
    /// which [`Self::is_about_to_train`] tells, that trains a dictionary as well.
    ///
    /// *Limits*: [`MESSAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// [`Refusal::TooLarge`].
    pub fn encode_body(&self, body: &[u8]) -> Result<CodedBody, Refusal> {
        let dictionary = self.dictionaries.current();
        let coded =
            CodedBody::encode(body, dictionary, &self.settings.id_key).map_err(too_large)?;
        self.dictionaries.learn_own(coded.id, body);
        // A thread that commits has its turn now, and not when this one's slice is over: by then all
        // writers would be waiting for it.
        std::thread::yield_now();
        Ok(coded)
    }

    /// Whether coding the next body may take some 100 ms more than its length says.
    #[must_use]
    pub fn is_about_to_train(&self) -> bool {
        self.dictionaries.is_about_to_train()
    }

    /// The dictionary of a peer, for the bodies that come with it.
    ///
    /// *Limits*: [`quar_base::limits::DICTIONARY_BYTES_MAX`].
    ///
    /// # Errors
    /// [`DictionaryError`] when the bytes are too many or do not hash to the id.
    pub fn dictionary(
        &self,
        id: DictionaryId,
        generation: u32,
        bytes: &Arc<[u8]>,
    ) -> Result<Arc<Dictionary>, DictionaryError> {
        self.dictionaries.take(id, generation, bytes)
    }

    /// Takes a message that came in here.
    ///
    /// # Errors
    /// [`Refusal`], and then nothing was changed.
    pub fn admit_mail(&self, mail: Mail) -> Result<Admitted, Refusal> {
        self.check_open_for_mail()?;
        let body = mail.body;
        let (author, node_number) = match mail.origin {
            Origin::Caught => (self.settings.member, self.settings.node_number),
            Origin::Imported => (MemberId::IMPORT, 0),
        };
        let arrival = Arrival {
            node_number,
            body_id: body.id.0,
            body_bytes: u64::from(body.raw_bytes),
            envelope: mail.envelope,
            headers: mail.headers,
            score_milli: mail.score_milli,
            reason: mail.reason,
        };
        let day = mail.received.day();
        let head = Head {
            kind: Kind::ARRIVAL,
            bucket: Bucket { class: mail.class, day },
            second: mail.received.second_of(day),
            author,
            action: None,
        };
        let record = Record::unsigned(head, &arrival.encode()?)?;
        self.check_floor(record.head().bucket)?;
        let arrival = Box::new(arrival);
        Ok(self.submit(Item::Arrival { record, arrival, body: Some(body), source: Source::Own }))
    }

    /// Makes, signs and takes an action of this node.
    ///
    /// # Errors
    /// [`Refusal`], and then nothing was changed.
    pub fn admit_action(
        &self,
        message: MessageId,
        action: &Action,
        now: UnixMillis,
    ) -> Result<(Admitted, Record), Refusal> {
        self.check_open_for_records()?;
        self.check_floor(message.bucket)?;
        let signing = &self.settings.signing;
        let head = Head {
            kind: action.kind(),
            bucket: message.bucket,
            second: now.second_of(message.bucket.day),
            author: self.settings.member,
            action: Some(ActionHead { key_id: signing.public().key_id(), message: message.key }),
        };
        let record = Record::signed(head, &action.encode()?, |text| signing.sign(text))?;
        Ok((self.submit(Item::Action { record: record.clone() }), record))
    }

    /// Takes a record that a peer offers, with its body if it came along.
    ///
    /// The body is decoded and its id checked against the record's. Where there is no room for it,
    /// the record is taken without. *Limits*: those of [`Record::parse`] and [`CodedBody::decode`].
    ///
    /// # Errors
    /// [`Refusal`], and then nothing was changed; [`Refusal::is_offence`] tells what no honest
    /// peer sends.
    pub fn admit_record(
        &self,
        record: Record,
        body: Option<CodedBody>,
        now: UnixMillis,
    ) -> Result<Admitted, Refusal> {
        self.check_open_for_records()?;
        let bucket = record.head().bucket;
        self.check_floor(bucket)?;
        let ahead = record.key().instant(bucket.day) - now;
        if ahead.0 > STAMP_AHEAD_MS_MAX {
            return Err(Refusal::Ahead(ahead.0));
        }
        if record.head().kind == Kind::ARRIVAL {
            return self.admit_arrival(record, body);
        }
        if body.is_some() {
            return Err(Refusal::Invalid("an action has no body".into()));
        }
        self.check_signature(&record)?;
        Action::decode(&record)?;
        Ok(self.submit(Item::Action { record }))
    }

    /// Takes a body that a record here wants.
    ///
    /// # Errors
    /// [`Refusal::UnwantedBody`] when no record does; [`Refusal::WrongBody`] when it does not decode to its id.
    pub fn admit_body(&self, bucket: Bucket, body: CodedBody) -> Result<Admitted, Refusal> {
        self.check_open_for_mail()?;
        self.check_floor(bucket)?;
        let is_wanted =
            self.state().buckets.get(&bucket).is_some_and(|held| held.wanted.contains(&body.id));
        if !is_wanted {
            return Err(Refusal::UnwantedBody(body.id));
        }
        self.check_body(&body)?;
        Ok(self.submit(Item::Body { bucket, body }))
    }

    fn admit_arrival(&self, record: Record, body: Option<CodedBody>) -> Result<Admitted, Refusal> {
        let head = record.head();
        if u64::from(head.second) >= DAY_SECONDS {
            return Err(Refusal::Invalid("an arrival lies outside of its day".into()));
        }
        self.check_author(head.author)?;
        let arrival = Box::new(Arrival::decode(record.payload())?);
        Hold::decode(&record)?;
        if let Some(body) = &body {
            if body.id != arrival.body() || u64::from(body.raw_bytes) != arrival.body_bytes {
                return Err(Refusal::WrongBody);
            }
            self.check_body(body)?;
        }
        let source = Source::Peer { has_body: body.is_some() };
        let body = body.filter(|_| self.has_room_for_mail());
        Ok(self.submit(Item::Arrival { record, arrival, body, source }))
    }

    fn check_body(&self, body: &CodedBody) -> Result<(), Refusal> {
        let plain = body.decode(&self.settings.id_key).map_err(wrong_body)?;
        self.dictionaries.learn(body.id, &plain);
        Ok(())
    }

    fn check_author(&self, author: MemberId) -> Result<(), Refusal> {
        let is_known = author == MemberId::IMPORT || self.roster().keys_of(author).next().is_some();
        if is_known { Ok(()) } else { Err(Refusal::UnknownAuthor { author, key: None }) }
    }

    fn check_signature(&self, record: &Record) -> Result<(), Refusal> {
        let author = record.head().author;
        let action = record.head().action.ok_or_else(|| Refusal::Invalid("unsigned".into()))?;
        let roster = self.roster();
        let key = roster.keys_of(author).find(|key| key.key_id() == action.key_id);
        let key = key.ok_or(Refusal::UnknownAuthor { author, key: Some(action.key_id) })?;
        let (signature, text) = record.signature().expect("an action's envelope has a signature");
        if key.verifies(&text, &signature) { Ok(()) } else { Err(Refusal::Forged(author)) }
    }

    pub(crate) fn submit(&self, item: Item) -> Admitted {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let message = match &item {
            Item::Arrival { record, .. } | Item::Action { record } => Some(record.message()),
            Item::Body { .. } | Item::Again { .. } => None,
        };
        self.pending().push(Submission { ticket, item });
        Admitted { ticket, message }
    }

    pub(crate) fn check_floor(&self, bucket: Bucket) -> Result<(), Refusal> {
        if self.state().floors.is_below(bucket) {
            return Err(Refusal::BelowFloor { class: bucket.class, day: bucket.day });
        }
        Ok(())
    }
}

fn too_large(error: CodecError) -> Refusal {
    match error {
        CodecError::TooLarge(bytes) => Refusal::TooLarge { bytes, limit: MESSAGE_BYTES_MAX as u64 },
        CodecError::Undecodable | CodecError::WrongId => Refusal::WrongBody,
    }
}

fn wrong_body(error: CodecError) -> Refusal {
    too_large(error)
}
