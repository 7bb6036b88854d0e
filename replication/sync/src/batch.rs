//! Batches: records and bodies as bytes.
//! Never sends a body id that a record beside it implies, and never builds a body longer than a message.
//!
//! Byte tables: docs/formats.md, "Frames".

use crate::codec::{Malformed, Reader, put_bucket, put_varint};
use crate::dictionaries::Dictionaries;
use crate::event::{CodedBody, Item};
use crate::limits;
use crate::long::Assembly;
use quar_base::ids::BodyId;
use quar_base::limits::{MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
use quar_base::record::Record;
use std::collections::VecDeque;

const ITEM_RECORD: u8 = 1;
const ITEM_WITH_BODY: u8 = 2;
const ITEM_BODY: u8 = 3;
/// Set in a body's codec when a dictionary's id follows.
const HAS_DICTIONARY: u8 = 0x80;

/// A batch: its number and its items.
pub(crate) fn encode_batch(sequence: u64, items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, sequence);
    put_varint(&mut out, items.len() as u64);
    items.iter().for_each(|item| encode_item(&mut out, item));
    out
}

/// The next items that fit one batch and `most` bytes, but at least one. One whose dictionary the peer does not
/// know begins another: the dictionary travels ahead of it.
pub(crate) fn take_batch(
    queue: &mut VecDeque<Item>,
    known: &Dictionaries,
    most: usize,
) -> Vec<Item> {
    let most = most.min(limits::BATCH_BYTES);
    let mut items = Vec::new();
    let (mut bytes, mut raw_bytes) = (0, 0);
    while let Some(item) = queue.front() {
        bytes += item.wire_bytes();
        raw_bytes += item.body().map_or(0, |body| body.raw_bytes as usize);
        let is_too_much = bytes > most
            || raw_bytes > limits::BATCH_RAW_BYTES
            || items.len() >= limits::BATCH_ITEMS;
        let needed = item.body().and_then(|body| body.dictionary.as_ref());
        let is_new = needed.is_some_and(|needed| known.get(&needed.id).is_none());
        if (is_too_much || is_new) && !items.is_empty() {
            break;
        }
        items.extend(queue.pop_front());
        if is_new {
            break;
        }
    }
    items
}

/// Adds an item to a batch. Of a long body only the length is written: its bytes went before.
fn encode_item(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Record(record, body) => {
            out.push(if body.is_some() { ITEM_WITH_BODY } else { ITEM_RECORD });
            put_varint(out, record.bytes().len() as u64);
            out.extend_from_slice(record.bytes());
            if let Some(body) = body {
                // The record names the body: its id is not sent.
                encode_body(out, body);
            }
        }
        Item::Body(bucket, body) => {
            out.push(ITEM_BODY);
            put_bucket(out, *bucket);
            out.extend_from_slice(&body.id.0);
            encode_body(out, body);
        }
    }
}

fn encode_body(out: &mut Vec<u8>, body: &CodedBody) {
    put_varint(out, body.raw_bytes.into());
    match &body.dictionary {
        Some(dictionary) => {
            out.push(body.codec | HAS_DICTIONARY);
            out.extend_from_slice(&dictionary.id);
        }
        None => out.push(body.codec),
    }
    put_varint(out, body.bytes.len() as u64);
    if body.bytes.len() <= limits::PART_BYTES {
        out.extend_from_slice(&body.bytes);
    }
}

/// A batch: its number and its items. `assembly` holds a long body that came in parts, `known` the
/// dictionaries that the peer sent.
pub(crate) fn decode_batch(
    payload: &[u8],
    assembly: &mut Assembly,
    known: &Dictionaries,
) -> Result<(u64, Vec<Item>), Malformed> {
    let mut fields = Reader(payload);
    let sequence = fields.varint()?;
    let count = fields.count(1)?;
    if count > limits::BATCH_ITEMS {
        return Err(Malformed);
    }
    let items = (0..count)
        .map(|_| decode_item(&mut fields, sequence, assembly, known))
        .collect::<Result<_, _>>()?;
    fields.end()?;
    Ok((sequence, items))
}

fn decode_item(
    fields: &mut Reader<'_>,
    sequence: u64,
    assembly: &mut Assembly,
    known: &Dictionaries,
) -> Result<Item, Malformed> {
    match fields.u8()? {
        tag @ (ITEM_RECORD | ITEM_WITH_BODY) => {
            let length = fields.count(1)?;
            if length > RECORD_BYTES_MAX {
                return Err(Malformed);
            }
            let record = Record::parse(fields.bytes(length)?.to_vec()).map_err(|_| Malformed)?;
            let body = if tag == ITEM_WITH_BODY {
                // Whoever admits the item sets the id from the record.
                Some(decode_body(fields, BodyId::default(), sequence, assembly, known)?)
            } else {
                None
            };
            Ok(Item::Record(record, body))
        }
        ITEM_BODY => {
            let bucket = fields.bucket()?;
            let id = fields.body_id()?;
            Ok(Item::Body(bucket, decode_body(fields, id, sequence, assembly, known)?))
        }
        _ => Err(Malformed),
    }
}

fn decode_body(
    fields: &mut Reader<'_>,
    id: BodyId,
    sequence: u64,
    assembly: &mut Assembly,
    known: &Dictionaries,
) -> Result<CodedBody, Malformed> {
    let raw_bytes = u32::try_from(fields.varint()?).map_err(|_| Malformed)?;
    let codec = fields.u8()?;
    let dictionary = match codec & HAS_DICTIONARY {
        0 => None,
        _ => Some(known.get(&fields.array()?).ok_or(Malformed)?.clone()),
    };
    let codec = codec & !HAS_DICTIONARY;
    let length = usize::try_from(fields.varint()?).map_err(|_| Malformed)?;
    if length > MESSAGE_BYTES_MAX || raw_bytes as usize > MESSAGE_BYTES_MAX {
        return Err(Malformed);
    }
    let bytes = if length <= limits::PART_BYTES {
        fields.bytes(length)?.into()
    } else {
        assembly.finish(sequence, length)?.into()
    };
    Ok(CodedBody { id, raw_bytes, codec, dictionary, bytes })
}
