//! What one peer offers, what of it was taken, and what to take next.
//! Never takes anything by itself, and never keeps more than the limits.

use crate::event::SetView;
use crate::frame::{Lot, prefix_of, second_of};
use crate::limits;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::{Day, UnixMillis};
use quar_merkle::Prefix;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A span's place among offers.
type SpanPlace = (Reverse<Day>, Class, Reverse<(u32, u32)>);
/// A name's.
type NamePlace = (Reverse<Day>, Class, Reverse<Prefix>);

fn span_place(bucket: Bucket, from: u32, to: u32) -> SpanPlace {
    (Reverse(bucket.day), bucket.class, Reverse((from, to)))
}

fn name_place(bucket: Bucket, name: Prefix) -> NamePlace {
    (Reverse(bucket.day), bucket.class, Reverse(name))
}

/// What one peer offers, and what of it was taken.
#[derive(Default)]
pub(crate) struct Offered {
    spans: BTreeMap<SpanPlace, u64>,
    names: BTreeSet<NamePlace>,
    pub(crate) taken: BTreeMap<u64, Taken>,
    pub(crate) next_lot: u64,
    /// Others are asked first until then.
    pub(crate) passed_over_until: UnixMillis,
}

pub(crate) struct Taken {
    pub(crate) lot: Lot,
    pub(crate) at: UnixMillis,
    /// Records of it that came.
    pub(crate) came: u64,
    /// All of it was sent, up to the batch of this number.
    pub(crate) sent_with: Option<u64>,
}

impl Taken {
    /// Records of it, as far as is known: those of a part were only guessed.
    pub(crate) fn size(&self) -> u64 {
        self.lot.count().max(self.came)
    }
}

impl Offered {
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.names.is_empty()
    }

    /// Records that are offered.
    pub(crate) fn count(&self) -> u64 {
        self.spans.values().sum::<u64>() + self.names.len() as u64
    }

    /// Records that are being sent.
    pub(crate) fn outstanding(&self) -> u64 {
        self.taken.values().map(|taken| taken.lot.count()).sum()
    }

    /// Whether one more lot may be taken, where parts have at most so many records: one is read and sent
    /// while another one is made durable.
    pub(crate) fn has_room(&self, part_keys: u64) -> bool {
        self.taken.len() < limits::LOTS_OUTSTANDING && self.outstanding() <= part_keys
    }

    /// Whether others are asked first. A clock that was set back makes it no longer.
    pub(crate) fn is_passed_over(&self, now: UnixMillis) -> bool {
        let until = self.passed_over_until;
        until > now && (until - now).0 <= limits::PASSED_OVER_MS
    }

    /// Keeps an offer, the oldest days left out beyond the limits.
    pub(crate) fn add(&mut self, lot: Lot) {
        match lot {
            Lot::Span(bucket, from, to, count) => {
                self.spans.insert(span_place(bucket, from, to), count);
                if self.spans.len() > limits::OFFERS_KEPT {
                    self.spans.pop_last();
                }
            }
            Lot::Names(bucket, names) => {
                self.names.extend(names.into_iter().map(|name| name_place(bucket, name)));
                while self.names.len() > limits::FRESH {
                    self.names.pop_last();
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, lot: &Lot) {
        match lot {
            Lot::Span(bucket, from, to, _) => {
                self.spans.remove(&span_place(*bucket, *from, *to));
            }
            Lot::Names(bucket, names) => {
                for name in names {
                    self.names.remove(&name_place(*bucket, *name));
                }
            }
        }
    }

    /// Whether anything is offered that may be in a lot of another peer, which may begin and end elsewhere.
    pub(crate) fn offers(&self, lot: &Lot) -> bool {
        match lot {
            Lot::Span(bucket, from, to, _) => {
                self.has_span_in(*bucket, *from, *to) || self.has_name_in(*bucket, *from, *to)
            }
            Lot::Names(bucket, names) => names.iter().any(|name| {
                let second = second_of(name);
                self.names.contains(&name_place(*bucket, *name))
                    || self.has_span_in(*bucket, second, second)
            }),
        }
    }

    fn has_span_in(&self, bucket: Bucket, from: u32, to: u32) -> bool {
        let mut spans = self.spans.range(span_place(bucket, to, u32::MAX)..);
        spans.next().is_some_and(|((Reverse(day), class, Reverse((_, end))), _)| {
            (*day, *class) == (bucket.day, bucket.class) && *end >= from
        })
    }

    fn has_name_in(&self, bucket: Bucket, from: u32, to: u32) -> bool {
        // Names are longer than what they begin with, and so lie behind it.
        let behind = to.checked_add(1).map(|next| name_place(bucket, prefix_of(next)));
        let first = (Reverse(bucket.day), bucket.class);
        let is_in = |place: &&NamePlace| {
            let second = second_of(&place.2.0);
            (place.0, place.1) == first && (from..=to).contains(&second)
        };
        match behind {
            Some(behind) => self.names.range(behind..).next().filter(is_in).is_some(),
            None => self.names.iter().any(|place| is_in(&place)),
        }
    }

    /// The next lot that nobody sends and that is lacking here; what is here is forgotten.
    pub(crate) fn next(&mut self, busy: &Busy, set: &dyn SetView) -> Option<Lot> {
        self.next_names(busy, set).or_else(|| self.next_span(busy, set))
    }

    fn next_names(&mut self, busy: &Busy, set: &dyn SetView) -> Option<Lot> {
        let (mut names, mut here) = (Vec::new(), Vec::new());
        let mut of: Option<(Bucket, u8)> = None;
        for place in &self.names {
            let (Reverse(day), class, Reverse(name)) = *place;
            let bucket = Bucket { class, day };
            let is_over = of.is_some_and(|(of, _)| of != bucket);
            if is_over || names.len() >= limits::LOT_NAMES || here.len() >= limits::NAMED_HERE {
                break;
            }
            // The names of a lot are all short or all whole; the others are for the next one.
            let is_other = of.is_some_and(|(_, nibbles)| nibbles != name.nibbles());
            if is_other || busy.has(bucket, &name) {
                continue;
            }
            if !set.keys_named(bucket, &name, 1).is_empty() {
                here.push(*place);
                continue;
            }
            of = Some((bucket, name.nibbles()));
            names.push(name);
        }
        for place in here {
            self.names.remove(&place);
        }
        names.sort_unstable();
        of.map(|(bucket, _)| Lot::Names(bucket, names))
    }

    fn next_span(&mut self, busy: &Busy, set: &dyn SetView) -> Option<Lot> {
        let (mut found, mut here) = (None, Vec::new());
        for (place, count) in &self.spans {
            let (Reverse(day), class, Reverse((from, to))) = *place;
            let bucket = Bucket { class, day };
            if busy.overlaps(bucket, from, to) {
                continue;
            }
            if set.keys_between(bucket, from, to, 1).is_empty() {
                found = Some(Lot::Span(bucket, from, to, *count));
                break;
            }
            here.push((bucket, from, to, *count));
            if here.len() >= limits::SPANS_HERE {
                break;
            }
        }
        for (bucket, from, to, count) in here {
            self.keep_ends(bucket, from, to, count, set);
        }
        found
    }

    /// Of a span of which some is here, what lies before and behind that is lacking all the same. What lies in
    /// between, the next comparison tells.
    fn keep_ends(&mut self, bucket: Bucket, from: u32, to: u32, count: u64, set: &dyn SetView) {
        self.spans.remove(&span_place(bucket, from, to));
        let most = limits::LOT_KEYS as usize;
        let here = set.keys_between(bucket, from, to, most + 1);
        let (Some(first), Some(last)) = (here.first(), here.last()) else { return };
        if first.second > from {
            self.add(Lot::Span(bucket, from, first.second - 1, count));
        }
        if here.len() <= most && last.second < to {
            self.add(Lot::Span(bucket, last.second + 1, to, count));
        }
    }
}

/// What peers are sending.
#[derive(Default)]
pub(crate) struct Busy {
    spans: Vec<(Bucket, u32, u32)>,
    names: BTreeSet<(Bucket, Prefix)>,
}

impl Busy {
    pub(crate) fn add(&mut self, lot: &Lot) {
        match lot {
            Lot::Span(bucket, from, to, _) => self.spans.push((*bucket, *from, *to)),
            Lot::Names(bucket, names) => {
                self.names.extend(names.iter().map(|name| (*bucket, *name)));
            }
        }
    }

    fn has(&self, bucket: Bucket, name: &Prefix) -> bool {
        let second = second_of(name);
        self.names.contains(&(bucket, *name))
            || self
                .spans
                .iter()
                .any(|(own, from, to)| *own == bucket && (*from..=*to).contains(&second))
    }

    fn overlaps(&self, bucket: Bucket, from: u32, to: u32) -> bool {
        let mut names = self.names.range((bucket, prefix_of(from))..);
        names.next().is_some_and(|(own, name)| *own == bucket && second_of(name) <= to)
            || self.spans.iter().any(|(own, other_from, other_to)| {
                *own == bucket && *other_from <= to && from <= *other_to
            })
    }
}
