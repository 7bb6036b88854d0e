//! Bodies that arrivals here need and that are not here.
//! Never knows where a body could come from.

use quar_base::ids::BodyId;
use quar_base::key::RecordKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// *Holds*: both maps say the same. Several arrivals of a day may need one body, which stays
/// wanted until it comes or the last of them goes.
#[derive(Default)]
pub(crate) struct Wanted {
    by_body: BTreeMap<BodyId, BTreeSet<RecordKey>>,
    by_arrival: HashMap<RecordKey, BodyId>,
}

impl Wanted {
    pub(crate) fn insert(&mut self, body: BodyId, arrival: RecordKey) {
        self.by_body.entry(body).or_default().insert(arrival);
        self.by_arrival.insert(arrival, body);
    }

    /// The body is here; returns the arrivals that needed it.
    pub(crate) fn take_body(&mut self, body: &BodyId) -> BTreeSet<RecordKey> {
        let arrivals = self.by_body.remove(body).unwrap_or_default();
        for arrival in &arrivals {
            self.by_arrival.remove(arrival);
        }
        arrivals
    }

    /// The arrival is gone; returns the body that it needed.
    pub(crate) fn take_arrival(&mut self, arrival: &RecordKey) -> Option<BodyId> {
        let body = self.by_arrival.remove(arrival)?;
        if let Some(arrivals) = self.by_body.get_mut(&body) {
            arrivals.remove(arrival);
            if arrivals.is_empty() {
                self.by_body.remove(&body);
            }
        }
        Some(body)
    }

    pub(crate) fn contains(&self, body: &BodyId) -> bool {
        self.by_body.contains_key(body)
    }

    /// The bodies, each once.
    pub(crate) fn bodies(&self) -> impl ExactSizeIterator<Item = &BodyId> {
        self.by_body.keys()
    }
}
