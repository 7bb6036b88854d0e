//! Reading records and bodies back, each verified again on every read.
//! Never serves bytes that do not hash to the id they were asked for by.

use crate::codec::CodedBody;
use crate::error::ReadError;
use crate::fold::MessageState;
use crate::layout::{self, BodyPlace};
use crate::recent::Records;
use crate::segment::{BlockError, Segment, SegmentName};
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::hold::Hold;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::{Kind, Record};
use quar_index::{Index, Tree};
use std::io;
use std::sync::Arc;

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The member that caught it.
    pub author: MemberId,
    /// What its arrival says.
    pub arrival: Arrival,
    /// Its actions, folded; of a held message with the releases that it had before it was held.
    pub state: MessageState,
    /// What it holds, for a held message.
    pub hold: Option<Hold>,
    /// Whether its body is on this node.
    pub has_body: bool,
}

/// A place that the index names, and its segment if that can be opened.
type Found<P> = (P, Option<Arc<Segment>>);

impl Store {
    /// A message that may be shown.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] for one that never came, was deleted or is below its floor.
    pub fn message(&self, id: MessageId) -> Result<Message, ReadError> {
        self.message_among(&mut Records::new(self), id)
    }

    /// As [`Self::message`], for whoever reads many.
    pub(crate) fn message_among(
        &self,
        records: &mut Records<'_>,
        id: MessageId,
    ) -> Result<Message, ReadError> {
        let record = self.arrival_record(records, id)?;
        let arrival = self.decode_arrival(id, &record)?;
        let has_body = self.is_body_here(id.bucket, &arrival.body())?;
        let mut state = self.state_among(records, id)?;
        let hold = Hold::decode(&record).ok().flatten();
        if let Some(hold) = &hold {
            state.releases.splice(..0, MessageState::fold(hold.actions.clone()).releases);
        }
        Ok(Message { id, author: record.head().author, arrival, state, hold, has_body })
    }

    /// A message's bytes, exactly as they came in.
    ///
    /// # Errors
    /// [`ReadError::BodyMissing`] while the body is not here; [`ReadError::Damaged`] when it is
    /// and cannot be served: from then on it counts as missing, and the caller fetches it from a
    /// peer.
    pub fn body(&self, id: MessageId) -> Result<Vec<u8>, ReadError> {
        let record = self.arrival_record(&mut Records::new(self), id)?;
        let arrival = self.decode_arrival(id, &record)?;
        Ok(self.verified_body(id, &arrival)?.1)
    }

    /// A message's body, coded and plain.
    pub(crate) fn verified_body(
        &self,
        id: MessageId,
        arrival: &Arrival,
    ) -> Result<(CodedBody, Vec<u8>), ReadError> {
        match self.coded_body(id.bucket, arrival.body())? {
            Ok(Some(coded)) => match coded.decode(&self.settings.id_key) {
                Ok(plain) => return Ok((coded, plain)),
                // Half of the id is the same: the record names a body that is another's.
                Err(_) if self.plain_of(&layout::body_key(&coded.id), &coded).is_some() => {
                    return Err(ReadError::BodyMissing(id));
                }
                Err(_) => {}
            },
            Ok(None) => return Err(ReadError::BodyMissing(id)),
            Err(BlockError::Io(error)) => return Err(error.into()),
            Err(BlockError::Damaged) => {}
        }
        self.want_again(id)?;
        Err(ReadError::Damaged { what: "the body", message: id })
    }

    /// A record by its place in the order; `None` when it is not here.
    ///
    /// # Errors
    /// [`ReadError`] when it is here and cannot be read.
    pub fn record(&self, bucket: Bucket, key: &RecordKey) -> Result<Option<Record>, ReadError> {
        Records::new(self).get(bucket, key)
    }

    /// A record and, for a visible arrival, its coded body: what a peer is sent.
    ///
    /// A body that is missing or damaged is left out; the peer asks elsewhere.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn item(
        &self,
        bucket: Bucket,
        key: &RecordKey,
    ) -> Result<Option<(Record, Option<CodedBody>)>, ReadError> {
        let Some(record) = self.record(bucket, key)? else {
            return Ok(None);
        };
        if record.head().kind != Kind::ARRIVAL {
            return Ok(Some((record, None)));
        }
        let id = MessageId { bucket, key: *key };
        let arrival = self.decode_arrival(id, &record)?;
        let body = self.coded_body(bucket, arrival.body())?.ok().flatten();
        // Whoever made the record may have lied about its body: no peer takes the two together then.
        let body = body.filter(|body| u64::from(body.raw_bytes) == arrival.body_bytes);
        Ok(Some((record, body.map(|body| self.for_wire(body)))))
    }

    /// A coded body that is here, verified against its id; `None` when it is not, or is damaged.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read.
    pub fn body_for_peer(
        &self,
        bucket: Bucket,
        id: BodyId,
    ) -> Result<Option<CodedBody>, ReadError> {
        match self.coded_body(bucket, id)? {
            Ok(Some(body)) if body.decode(&self.settings.id_key).is_ok() => {
                Ok(Some(self.for_wire(body)))
            }
            Err(BlockError::Io(error)) => Err(error.into()),
            Ok(_) | Err(BlockError::Damaged) => Ok(None),
        }
    }

    pub(crate) fn for_wire(&self, body: CodedBody) -> CodedBody {
        body.for_wire(self.dictionaries.current())
    }

    pub(crate) fn arrival_record(
        &self,
        records: &mut Records<'_>,
        id: MessageId,
    ) -> Result<Record, ReadError> {
        let is_visible = self.state().is_visible(id);
        let record = if is_visible { records.get(id.bucket, &id.key)? } else { None };
        record.filter(|record| record.head().kind == Kind::ARRIVAL).ok_or(ReadError::NotFound(id))
    }

    pub(crate) fn decode_arrival(
        &self,
        message: MessageId,
        record: &Record,
    ) -> Result<Arrival, ReadError> {
        let damaged = |_| ReadError::Damaged { what: "the arrival", message };
        Arrival::decode(record.payload()).map_err(damaged)
    }

    fn coded_body(
        &self,
        bucket: Bucket,
        id: BodyId,
    ) -> Result<Result<Option<CodedBody>, BlockError>, ReadError> {
        let found = self.find_place(bucket, &layout::body_key(&id), |value| {
            BodyPlace::decode(value).map(|place| (place, place.block.segment))
        })?;
        Ok(match found {
            None => Ok(None),
            Some((_, None)) => Err(BlockError::Damaged),
            Some((place, Some(segment))) => segment.body(&place.entry(id)).map(Some),
        })
    }

    /// The place that the index names for a key, and its segment; no segment when its file is gone
    /// or its header damaged. A segment that was written anew meanwhile is looked up once more.
    pub(crate) fn find_place<P: PartialEq>(
        &self,
        bucket: Bucket,
        key: &[u8],
        decode: impl Fn(&[u8]) -> Option<(P, u32)>,
    ) -> Result<Option<Found<P>>, ReadError> {
        let mut last = None;
        loop {
            let value = self.index.get(Tree::Bucket(bucket), key)?;
            let Some((place, number)) = value.and_then(|value| decode(&value)) else {
                return Ok(None);
            };
            let segment = self.segment(SegmentName { bucket, number })?;
            if segment.is_some() || last.as_ref() == Some(&place) {
                return Ok(Some((place, segment)));
            }
            last = Some(place);
        }
    }

    /// An open segment; `None` when its file is gone or its header is damaged.
    pub(crate) fn segment(&self, name: SegmentName) -> Result<Option<Arc<Segment>>, io::Error> {
        self.segments.get(name)
    }
}
