//! The order in which bodies compress best: each next to those that it shares most text with.
//! Never changes a body, and never holds one: only hashes of short runs of its bytes.
//!
//! ```text
//! body  ─► every run of 16 bytes is hashed; one hash in 32 is kept: its marks
//! group ─► takes, one after the other, the body that has most marks in common with all that is in
//!          it, by the root of its size, as long as one fits; the next group begins with what comes first
//! ```
//! Measured beside other orders in docs/decisions/0004.

use super::write::{GROUP_BODIES_MAX, GROUP_BYTES};

/// Bytes of a run.
const RUN_BYTES: usize = 16;
/// One run in `1 << RUN_SHIFT` is kept, by its hash, so that the same text gives the same marks anywhere.
const RUN_SHIFT: u32 = 5;
/// Marks of one body that are kept.
const MARKS_MAX: usize = 4096;
/// A mark that more bodies have is in all of them, and tells none from another.
const SHARERS_MAX: usize = 200;
/// Bodies near an open group that are compared: of many short ones all are near.
const NEAR_MAX: usize = 8192;
/// Added to a body's size, lest the shortest always come first.
const SIZE_BASE: f64 = 200.0;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is remembered of bodies, in order.
#[derive(Default)]
pub(super) struct Sketches {
    /// Mark and body.
    marks: Vec<(u64, u32)>,
    sizes: Vec<usize>,
}

impl Sketches {
    pub(super) fn add(&mut self, body: &[u8]) {
        let number = u32::try_from(self.sizes.len()).expect("bodies in memory are fewer");
        self.marks.extend(marks(body).take(MARKS_MAX).map(|mark| (mark, number)));
        self.sizes.push(body.len());
    }

    /// Positions of the bodies in the order that suits compression.
    pub(super) fn into_order(mut self) -> Vec<usize> {
        self.marks.sort_unstable();
        self.marks.dedup();
        let shared = Shared::of(&self.marks, self.sizes.len());
        drop(self.marks);
        Groups::new(shared, &self.sizes).into_order()
    }
}

/// Hashes of the runs that are kept.
fn marks(body: &[u8]) -> impl Iterator<Item = u64> {
    // The hash of a run is a polynomial of its bytes: the next one comes from it in two steps.
    let leaving = MULTIPLIER.wrapping_pow(RUN_BYTES as u32);
    let mut hash = 0u64;
    let mut hash_to = move |at: usize| {
        hash = hash.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(body[at]) + 1);
        if let Some(gone) = at.checked_sub(RUN_BYTES) {
            hash = hash.wrapping_sub(leaving.wrapping_mul(u64::from(body[gone]) + 1));
        }
        let mixed = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 32)
    };
    (0..body.len()).filter_map(move |at| {
        let mark = hash_to(at);
        (at + 1 >= RUN_BYTES && mark.leading_zeros() >= RUN_SHIFT).then_some(mark)
    })
}

/// Marks that at least two bodies have.
struct Shared {
    /// Bodies of each mark.
    sharers: Vec<Vec<u32>>,
    /// Marks of each body.
    marks_of: Vec<Vec<u32>>,
}

impl Shared {
    fn of(marks: &[(u64, u32)], bodies: usize) -> Self {
        let mut shared = Self { sharers: Vec::new(), marks_of: vec![Vec::new(); bodies] };
        for run in marks.chunk_by(|one, other| one.0 == other.0) {
            if !(2..=SHARERS_MAX).contains(&run.len()) {
                continue;
            }
            let number = u32::try_from(shared.sharers.len()).expect("marks in memory are fewer");
            shared.sharers.push(run.iter().map(|(_, body)| *body).collect());
            run.iter().for_each(|(_, body)| shared.marks_of[*body as usize].push(number));
        }
        shared
    }
}

/// Groups that grow one after the other.
struct Groups<'a> {
    shared: Shared,
    sizes: &'a [usize],
    is_taken: Vec<bool>,
    /// Marks that each body has in common with the open group.
    common: Vec<u32>,
    /// Bodies that have any, as many as are compared.
    near: Vec<usize>,
    /// Bodies that have any and are not among those.
    far: Vec<usize>,
    /// What each body's marks are worth, by its size.
    worth: Vec<f64>,
    /// The group that has a mark, the last one if several do.
    group_of: Vec<u32>,
    group: u32,
    bytes: usize,
    count: usize,
}

impl<'a> Groups<'a> {
    fn new(shared: Shared, sizes: &'a [usize]) -> Self {
        let group_of = vec![u32::MAX; shared.sharers.len()];
        let (is_taken, common) = (vec![false; sizes.len()], vec![0; sizes.len()]);
        let (near, far) = (Vec::new(), Vec::new());
        let worth = sizes.iter().map(|size| 1.0 / (*size as f64 + SIZE_BASE).sqrt()).collect();
        let (group, bytes, count) = (0, 0, 0);
        Self { shared, sizes, is_taken, common, near, far, worth, group_of, group, bytes, count }
    }

    fn into_order(mut self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.sizes.len());
        let mut unseen = 0..self.sizes.len();
        let mut next = unseen.next();
        while let Some(body) = next {
            if !self.fits(body) {
                self.begin();
            }
            self.take(body);
            order.push(body);
            next = self.nearest().or_else(|| unseen.find(|other| !self.is_taken[*other]));
        }
        order
    }

    fn fits(&self, body: usize) -> bool {
        let has_room =
            self.bytes + self.sizes[body] <= GROUP_BYTES && self.count < GROUP_BODIES_MAX;
        self.count == 0 || has_room
    }

    /// Begins another group: what the last one has counts no more.
    fn begin(&mut self) {
        for body in self.near.drain(..).chain(self.far.drain(..)) {
            self.common[body] = 0;
        }
        self.group += 1;
        (self.bytes, self.count) = (0, 0);
    }

    fn take(&mut self, body: usize) {
        self.is_taken[body] = true;
        self.bytes += self.sizes[body];
        self.count += 1;
        for mark in std::mem::take(&mut self.shared.marks_of[body]) {
            let group_of = &mut self.group_of[mark as usize];
            if std::mem::replace(group_of, self.group) == self.group {
                continue;
            }
            let sharers = &mut self.shared.sharers[mark as usize];
            sharers.retain(|other| !self.is_taken[*other as usize]);
            for other in sharers.iter().map(|other| *other as usize) {
                if self.common[other] == 0 {
                    self.far.push(other);
                }
                self.common[other] += 1;
            }
        }
        self.near.retain(|other| !self.is_taken[*other]);
        while self.near.len() < NEAR_MAX
            && let Some(other) = self.far.pop()
        {
            self.near.extend((!self.is_taken[other]).then_some(other));
        }
    }

    /// The body that shares the most with the open group by the root of its size: of those that fit, if
    /// any does.
    fn nearest(&self) -> Option<usize> {
        let share = |body: usize| f64::from(self.common[body]) * self.worth[body];
        let order =
            |one: &usize, other: &usize| share(*one).total_cmp(&share(*other)).then(other.cmp(one));
        let fitting = self.near.iter().copied().filter(|body| self.fits(*body)).max_by(order);
        fitting.or_else(|| self.near.iter().copied().max_by(order))
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::GROUP_BYTES;
    use super::{SHARERS_MAX, Shared, Sketches};
    use proptest::prelude::{prop_assert_eq, proptest};

    fn order(bodies: &[String]) -> Vec<usize> {
        let mut sketches = Sketches::default();
        bodies.iter().for_each(|body| sketches.add(body.as_bytes()));
        sketches.into_order()
    }

    /// A text like no other of another seed.
    fn text(seed: u64, lines: u64) -> String {
        let line = |line: u64| {
            let word = (line + seed * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("{line} {word:016x}\r\n")
        };
        (0..lines).map(line).collect()
    }

    #[test]
    fn bodies_with_text_in_common_come_together() {
        let newsletter = |n: u64| text(1, 60) + &text(10 + n, 9);
        let receipt = |n: u64| text(2, 60) + &text(20 + n, 9);
        let bodies = [newsletter(1), receipt(1), newsletter(2), receipt(2), newsletter(3)];
        assert_eq!(order(&bodies), [0, 2, 4, 1, 3]);
    }

    #[test]
    fn a_text_that_everybody_has_joins_nobody() {
        let mut sketches = Sketches::default();
        (0..=SHARERS_MAX).for_each(|_| sketches.add(text(1, 60).as_bytes()));
        sketches.marks.sort_unstable();
        assert!(!sketches.marks.is_empty());
        assert!(Shared::of(&sketches.marks, SHARERS_MAX + 1).sharers.is_empty());
        assert_eq!(order(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_body_that_fits_comes_before_a_nearer_one_that_does_not() {
        let long = text(1, 30_000);
        assert!((GROUP_BYTES / 2..GROUP_BYTES).contains(&long.len()));
        let bodies = [long.clone(), text(2, 400), long + "end", text(1, 90) + &text(2, 300)];
        assert_eq!(order(&bodies), [0, 3, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_body_is_there_once(bodies: Vec<String>, repeat in 1usize..4) {
            let bodies: Vec<String> = std::iter::repeat_n(bodies, repeat).flatten().collect();
            let mut found = order(&bodies);
            found.sort_unstable();
            prop_assert_eq!(found, (0..bodies.len()).collect::<Vec<_>>());
        }
    }
}
