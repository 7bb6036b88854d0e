//! The dictionaries that one side of a connection has sent: both sides remember the same few.
//! Never tells whether a dictionary's id is right: the store that uses it does.

use crate::codec::{Malformed, Reader, put_varint};
use crate::event::Dictionary;
use crate::limits;
use quar_base::limits::DICTIONARY_BYTES_MAX;
use std::collections::VecDeque;

/// The newest last.
#[derive(Default)]
pub(crate) struct Dictionaries(VecDeque<Dictionary>);

impl Dictionaries {
    pub(crate) fn get(&self, id: &[u8; 16]) -> Option<&Dictionary> {
        self.0.iter().find(|dictionary| dictionary.id == *id)
    }

    /// Remembers one more, and forgets the oldest beyond the limit.
    pub(crate) fn add(&mut self, dictionary: Dictionary) {
        self.0.push_back(dictionary);
        if self.0.len() > limits::DICTIONARIES {
            self.0.pop_front();
        }
    }
}

impl Dictionary {
    /// A dictionary frame: id, generation, length and bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.id.to_vec();
        out.extend_from_slice(&self.generation.to_le_bytes());
        put_varint(&mut out, self.bytes.len() as u64);
        out.extend_from_slice(&self.bytes);
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let id = fields.array()?;
        let generation = fields.u32()?;
        let length = fields.count(1)?;
        if length > DICTIONARY_BYTES_MAX {
            return Err(Malformed);
        }
        let bytes = fields.bytes(length)?.into();
        fields.end()?;
        Ok(Self { id, generation, bytes })
    }
}
