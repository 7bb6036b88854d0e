//! Dictionaries: text that many mails share, against which small bodies are coded.
//! Never holds a line that only one mail had.
//!
//! ```text
//! bodies, caught here or elsewhere ─► samples ─► shared lines ─► current: what codes new bodies
//! segments, peers ─► loaded: the few used last, each read once
//! ```
//! A segment holds every dictionary that its bodies need (docs/formats.md, "Dictionary").

mod train;

use crate::seal::IdKey;
use crate::segment::SegmentName;
use quar_base::ids::BodyId;
use quar_base::limits::DICTIONARY_BYTES_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use train::Samples;
use zstd::zstd_safe::{CDict, DDict};

/// Keyed hash of a dictionary's bytes.
pub type DictionaryId = [u8; 16];

/// Dictionaries kept in memory: at most so many, the last used longest.
const LOADED_MAX: usize = 32;

/// One dictionary.
pub struct Dictionary {
    id: DictionaryId,
    generation: u32,
    bytes: Arc<[u8]>,
    level: i32,
    encoder: OnceLock<Option<CDict<'static>>>,
    decoder: OnceLock<Option<DDict<'static>>>,
}

impl Dictionary {
    pub(crate) fn new(id: DictionaryId, generation: u32, bytes: Arc<[u8]>, level: i32) -> Self {
        let (encoder, decoder) = (OnceLock::new(), OnceLock::new());
        Self { id, generation, bytes, level, encoder, decoder }
    }

    /// Keyed hash of the bytes.
    #[must_use]
    pub fn id(&self) -> DictionaryId {
        self.id
    }

    /// Counts trainings in the cluster: nodes use the latest that they know. 0 when it was read
    /// from a segment, which does not say.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What the dictionary is made of.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// `None` when the library cannot use the bytes, or cannot allocate.
    pub(crate) fn encoder(&self) -> Option<&CDict<'static>> {
        self.encoder.get_or_init(|| CDict::try_create(&self.bytes, self.level)).as_ref()
    }

    /// `None` when the library cannot use the bytes, or cannot allocate.
    pub(crate) fn decoder(&self) -> Option<&DDict<'static>> {
        self.decoder.get_or_init(|| DDict::try_create(&self.bytes)).as_ref()
    }
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Dictionary {}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dictionary of {} bytes", self.bytes.len())
    }
}

/// Bytes that are no dictionary of the stated id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dictionary is longer than {DICTIONARY_BYTES_MAX} bytes, or does not hash to its id")]
pub struct DictionaryError;

/// All dictionaries that a store works with.
pub(crate) struct Dictionaries {
    key: IdKey,
    level: i32,
    current: RwLock<Option<Arc<Dictionary>>>,
    samples: Mutex<Samples>,
    /// The newest last; those of a segment with their place.
    loaded: Mutex<VecDeque<Loaded>>,
}

struct Loaded {
    place: Option<(SegmentName, u32)>,
    dictionary: Arc<Dictionary>,
}

const PROOF: &str = "no holder of this lock panics";

impl Dictionaries {
    /// Of the node of this number, in a cluster with this key of body ids; bodies are coded at a
    /// level of zstd.
    pub(crate) fn new(key: IdKey, node_number: u16, level: i32) -> Self {
        Self {
            key,
            level,
            current: RwLock::new(None),
            samples: Mutex::new(Samples::of(node_number)),
            loaded: Mutex::new(VecDeque::new()),
        }
    }

    /// What a new body is coded with.
    pub(crate) fn current(&self) -> Option<Arc<Dictionary>> {
        self.current.read().expect(PROOF).clone()
    }

    /// Learns from a body that another node caught.
    pub(crate) fn learn(&self, id: BodyId, body: &[u8]) {
        self.samples().add(id, body);
    }

    /// Whether [`Self::learn_own`] may train with the next body.
    pub(crate) fn is_about_to_train(&self) -> bool {
        self.samples().is_almost_time()
    }

    /// Learns from a body that this node catches; now and then that makes a new dictionary, which
    /// takes some 100 ms.
    pub(crate) fn learn_own(&self, id: BodyId, body: &[u8]) {
        let gathered = {
            let mut samples = self.samples();
            samples.add(id, body);
            samples.take()
        };
        if let Some((generation, samples)) = gathered
            && let Some(bytes) = train::train(&samples)
        {
            let dictionary = self.keep(None, self.make(generation, bytes.into()));
            tracing::debug!(generation, bytes = dictionary.bytes.len(), "trained a dictionary");
            self.adopt(&dictionary);
        }
    }

    /// Codes with this dictionary from now on, unless a later one is known. Of one generation all
    /// nodes choose the same.
    fn adopt(&self, dictionary: &Arc<Dictionary>) {
        let mut current = self.current.write().expect(PROOF);
        let rank = |known: &Arc<Dictionary>| (known.generation, known.id);
        if current.as_ref().is_none_or(|current| rank(current) < rank(dictionary)) {
            *current = Some(dictionary.clone());
            self.samples().skip_to(dictionary.generation);
        }
    }

    /// The dictionary of a peer.
    pub(crate) fn take(
        &self,
        id: DictionaryId,
        generation: u32,
        bytes: &Arc<[u8]>,
    ) -> Result<Arc<Dictionary>, DictionaryError> {
        if let Some(known) = self.find(|loaded| loaded.dictionary.id == id) {
            return Ok(known);
        }
        if bytes.len() > DICTIONARY_BYTES_MAX {
            return Err(DictionaryError);
        }
        let dictionary = self.make(generation, bytes.clone());
        if dictionary.id != id {
            return Err(DictionaryError);
        }
        let dictionary = self.keep(None, dictionary);
        self.adopt(&dictionary);
        Ok(dictionary)
    }

    /// The dictionary at a place in a segment, if it is in memory.
    pub(crate) fn at(&self, place: (SegmentName, u32)) -> Option<Arc<Dictionary>> {
        self.find(|loaded| loaded.place == Some(place))
    }

    /// Keeps the dictionary that was read at a place.
    pub(crate) fn keep_at(&self, place: (SegmentName, u32), bytes: Vec<u8>) -> Arc<Dictionary> {
        let dictionary = self.make(0, bytes.into());
        self.keep(Some(place), dictionary)
    }

    fn make(&self, generation: u32, bytes: Arc<[u8]>) -> Dictionary {
        let id = self.key.digest("dictionary", &bytes);
        Dictionary::new(id, generation, bytes, self.level)
    }

    fn find(&self, wanted: impl Fn(&Loaded) -> bool) -> Option<Arc<Dictionary>> {
        let mut loaded = self.loaded();
        let at = loaded.iter().position(wanted)?;
        let found = loaded.remove(at)?;
        let dictionary = found.dictionary.clone();
        loaded.push_back(found);
        Some(dictionary)
    }

    fn keep(&self, place: Option<(SegmentName, u32)>, dictionary: Dictionary) -> Arc<Dictionary> {
        let mut loaded = self.loaded();
        let same = loaded.iter().find(|known| known.dictionary.id == dictionary.id);
        let dictionary = same.map_or_else(|| Arc::new(dictionary), |same| same.dictionary.clone());
        loaded.push_back(Loaded { place, dictionary: dictionary.clone() });
        if loaded.len() > LOADED_MAX {
            loaded.pop_front();
        }
        dictionary
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().expect(PROOF)
    }

    fn loaded(&self) -> MutexGuard<'_, VecDeque<Loaded>> {
        self.loaded.lock().expect(PROOF)
    }
}
