//! The order in which bodies compress best: each next to the one that it shares most lines with.
//! Never changes a body, and never holds one: only hashes of lines.
//!
//! A chain is followed greedily: from each body to the one not yet taken that shares the most bytes
//! of lines with it. Measured beside other orders in docs/decisions/0004.

use std::hash::{DefaultHasher, Hasher};

/// Shorter lines say nothing.
const LINE_BYTES_MIN: usize = 8;
/// Lines of one body that are looked at.
const LINES_MAX: usize = 4096;
/// A line that more bodies have is in all of them, and tells none from another.
const SHARERS_MAX: usize = 200;

/// What is remembered of bodies, in order.
#[derive(Default)]
pub(super) struct Sketches {
    /// Hash of a line, its body, its length.
    lines: Vec<(u64, u32, u16)>,
    bodies: u32,
}

impl Sketches {
    pub(super) fn add(&mut self, body: &[u8]) {
        let lines = body.split(|byte| *byte == b'\n').take(LINES_MAX);
        for line in lines.filter(|line| line.len() >= LINE_BYTES_MIN) {
            let mut hasher = DefaultHasher::new();
            hasher.write(line);
            let length = u16::try_from(line.len()).unwrap_or(u16::MAX);
            self.lines.push((hasher.finish(), self.bodies, length));
        }
        self.bodies += 1;
    }

    /// Positions of the bodies in the order that suits compression.
    pub(super) fn into_order(mut self) -> Vec<usize> {
        self.lines.sort_unstable();
        self.lines.dedup();
        let shared = Shared::of(&self.lines, self.bodies as usize);
        drop(self.lines);
        shared.chain()
    }
}

/// Lines that at least two bodies have.
struct Shared {
    /// Bodies of each line, line by line.
    sharers: Vec<Vec<u32>>,
    lengths: Vec<u16>,
    /// Lines of each body.
    lines_of: Vec<Vec<u32>>,
}

impl Shared {
    fn of(lines: &[(u64, u32, u16)], bodies: usize) -> Self {
        let mut shared =
            Self { sharers: Vec::new(), lengths: Vec::new(), lines_of: vec![Vec::new(); bodies] };
        for run in lines.chunk_by(|one, other| one.0 == other.0) {
            if !(2..=SHARERS_MAX).contains(&run.len()) {
                continue;
            }
            let number = u32::try_from(shared.sharers.len()).expect("lines in memory are fewer");
            shared.sharers.push(run.iter().map(|(_, body, _)| *body).collect());
            shared.lengths.push(run[0].2);
            run.iter().for_each(|(_, body, _)| shared.lines_of[*body as usize].push(number));
        }
        shared
    }

    fn chain(mut self) -> Vec<usize> {
        let bodies = self.lines_of.len();
        let mut is_taken = vec![false; bodies];
        let mut scores = vec![0u32; bodies];
        let mut order = Vec::with_capacity(bodies);
        let mut unseen = 0..bodies;
        let mut next = unseen.next();
        while let Some(body) = next {
            is_taken[body] = true;
            order.push(body);
            let nearest = self.nearest(body, &is_taken, &mut scores);
            next = nearest.or_else(|| unseen.find(|other| !is_taken[*other]));
        }
        order
    }

    /// The body not yet taken that shares the most with this one.
    fn nearest(&mut self, body: usize, is_taken: &[bool], scores: &mut [u32]) -> Option<usize> {
        let mut touched = Vec::new();
        for line in std::mem::take(&mut self.lines_of[body]) {
            let sharers = &mut self.sharers[line as usize];
            sharers.retain(|other| !is_taken[*other as usize]);
            for other in sharers.iter() {
                let score = &mut scores[*other as usize];
                if *score == 0 {
                    touched.push(*other as usize);
                }
                *score += u32::from(self.lengths[line as usize]);
            }
        }
        let nearest =
            touched.iter().copied().max_by_key(|other| (scores[*other], std::cmp::Reverse(*other)));
        touched.into_iter().for_each(|other| scores[other] = 0);
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::Sketches;
    use proptest::prelude::{prop_assert_eq, proptest};

    fn order(bodies: &[String]) -> Vec<usize> {
        let mut sketches = Sketches::default();
        bodies.iter().for_each(|body| sketches.add(body.as_bytes()));
        sketches.into_order()
    }

    #[test]
    fn bodies_with_lines_in_common_come_together() {
        let newsletter =
            |n: u32| format!("issue number {n}\nread in your browser\nunsubscribe here\n");
        let receipt = |n: u32| format!("receipt number {n}\nthank you for your order\n");
        let bodies = [newsletter(1), receipt(1), newsletter(2), receipt(2), newsletter(3)];
        assert_eq!(order(&bodies), [0, 2, 4, 1, 3]);
    }

    #[test]
    fn a_line_that_everybody_has_joins_nobody() {
        let bodies: Vec<String> =
            (0..500).map(|n| format!("common line\nline of {n:5}\n")).collect();
        assert_eq!(order(&bodies), (0..500).collect::<Vec<_>>());
        assert_eq!(order(&[]), Vec::<usize>::new());
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
