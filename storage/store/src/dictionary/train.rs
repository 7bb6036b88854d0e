//! Training: samples of what comes in, and the lines that they share.
//! Never remembers a sample longer than until the next training.

use quar_base::ids::BodyId;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Bytes of a trained dictionary; larger ones gain under 2% (docs/benchmarks.md, "Compression").
const TRAINED_BYTES: usize = 64 << 10;
/// First bytes of a body that are kept as its sample.
const SAMPLE_BYTES: usize = 8 << 10;
/// Different bodies in the first training, so that a day's mail soon profits, and in all later ones.
const FIRST_SAMPLES: usize = 300;
const LATER_SAMPLES: usize = 800;
/// After the second generation one body in so many is a sample.
const LATER_EVERY: u64 = 32;
/// A line is shared when so many different bodies have it.
const SHARED_BY: usize = 2;

/// Nodes that have a turn of their own to train; all further ones share the last.
const TURNS: u16 = 8;

/// Bodies gathered for the next training.
///
/// Nodes gather the same bodies and one training serves them all: each has its turn, and the next
/// one's comes so much later that it has the dictionary by then, if there is one.
pub(super) struct Samples {
    /// This node's turn, from 0 on.
    turn: usize,
    bodies: Vec<Vec<u8>>,
    ids: BTreeSet<BodyId>,
    /// Generation of the last dictionary, trained here or elsewhere.
    generation: u32,
    seen: u64,
    /// Samples that came when there were enough already.
    waited: usize,
}

impl Samples {
    /// Nothing yet, for the node of this number.
    pub(super) fn of(node_number: u16) -> Self {
        let turn = node_number.saturating_sub(1).min(TURNS - 1).into();
        let (bodies, ids) = (Vec::new(), BTreeSet::new());
        Self { turn, bodies, ids, generation: 0, seen: 0, waited: 0 }
    }

    /// Takes a body into account.
    pub(super) fn add(&mut self, id: BodyId, body: &[u8]) {
        self.seen += 1;
        let is_sampled = self.generation < 2 || self.seen.is_multiple_of(LATER_EVERY);
        if !is_sampled {
            return;
        }
        if self.bodies.len() >= self.enough() {
            self.waited += 1;
        } else if self.ids.insert(id) {
            self.bodies.push(body[..body.len().min(SAMPLE_BYTES)].to_vec());
        }
    }

    /// Whether this node may have to train once another body has come in.
    pub(super) fn is_almost_time(&self) -> bool {
        self.bodies.len() + 1 >= self.enough() && self.waited + 1 >= self.wait()
    }

    /// All samples and the generation they make, when there are enough and it is this node's turn.
    pub(super) fn take(&mut self) -> Option<(u32, Vec<Vec<u8>>)> {
        if self.bodies.len() < self.enough() || self.waited < self.wait() {
            return None;
        }
        let samples = std::mem::take(&mut self.bodies);
        self.skip_to(self.generation.saturating_add(1));
        Some((self.generation, samples))
    }

    /// A later generation is there: gathers for the one after it.
    pub(super) fn skip_to(&mut self, generation: u32) {
        if generation > self.generation {
            self.generation = generation;
            self.ids.clear();
            self.bodies.clear();
            self.waited = 0;
        }
    }

    fn enough(&self) -> usize {
        if self.generation == 0 { FIRST_SAMPLES } else { LATER_SAMPLES }
    }

    /// Samples that this node leaves to those whose turn comes before.
    fn wait(&self) -> usize {
        self.turn * self.enough()
    }
}

/// A dictionary of what the samples share; `None` when that is too little.
pub(super) fn train(samples: &[Vec<u8>]) -> Option<Vec<u8>> {
    let shared = shared_lines(samples);
    zstd::dict::from_samples(&shared, TRAINED_BYTES).ok()
}

/// The samples without the lines that fewer than [`SHARED_BY`] of them have.
fn shared_lines(samples: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    for sample in samples {
        let lines: HashSet<&[u8]> = lines(sample).collect();
        lines.into_iter().for_each(|line| *counts.entry(line).or_default() += 1);
    }
    let is_shared = |line: &&[u8]| counts.get(*line).is_some_and(|count| *count >= SHARED_BY);
    let kept = samples.iter().map(|sample| lines(sample).filter(is_shared).collect::<Vec<_>>());
    kept.map(|lines| lines.concat()).filter(|kept| !kept.is_empty()).collect()
}

fn lines(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    sample.split_inclusive(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::{FIRST_SAMPLES, LATER_EVERY, LATER_SAMPLES, Samples, shared_lines, train};
    use quar_base::ids::BodyId;

    fn id(number: usize) -> BodyId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        BodyId(id)
    }

    #[test]
    fn a_line_that_only_one_mail_has_is_in_no_dictionary() {
        let mail = |secret: &str| format!("From: x\r\n{secret}\r\nBuy now\r\n").into_bytes();
        let samples = [mail("pin 1234\r\npin 1234"), mail("pin 99")];
        let shared = shared_lines(&samples).concat();
        assert_eq!(shared, b"From: x\r\nBuy now\r\n".repeat(2));
    }

    /// Numbers of the bodies at which a node trains.
    fn trainings(samples: &mut Samples, bodies: std::ops::Range<usize>) -> Vec<usize> {
        let trains = |number: &usize| {
            samples.add(id(*number), b"x");
            samples.take().is_some()
        };
        bodies.filter(trains).collect()
    }

    #[test]
    fn a_body_that_comes_again_shares_nothing_with_itself() {
        let mut samples = Samples::of(1);
        for number in 0..FIRST_SAMPLES - 1 {
            samples.add(id(number), b"x");
            samples.add(id(number), b"x");
        }
        assert!(samples.take().is_none());
        samples.add(id(FIRST_SAMPLES), b"x");
        assert_eq!(samples.take().unwrap().1.len(), FIRST_SAMPLES);
    }

    #[test]
    fn each_node_has_its_turn_and_none_waits_for_ever() {
        for (node, turn) in [(0, 0), (1, 0), (2, 1), (3, 2), (65_535, 7)] {
            let trained = trainings(&mut Samples::of(node), 0..10_000);
            assert_eq!(trained[0], (turn + 1) * FIRST_SAMPLES - 1, "node {node}");
        }
    }

    #[test]
    fn a_node_whose_own_mail_comes_late_trains_with_the_first_of_it() {
        let mut samples = Samples::of(3);
        (0..100_000).for_each(|number| samples.add(id(number), b"x"));
        assert!(samples.is_almost_time());
        assert_eq!(samples.take().unwrap().1.len(), FIRST_SAMPLES);
    }

    #[test]
    fn whoever_has_a_later_generation_gathers_for_the_next() {
        let mut samples = Samples::of(2);
        assert_eq!(trainings(&mut samples, 0..FIRST_SAMPLES + 1), []);
        samples.skip_to(1);
        assert_eq!(trainings(&mut samples, 0..LATER_SAMPLES), []);
    }

    #[test]
    fn later_trainings_sample_sparsely() {
        let trained = trainings(&mut Samples::of(1), 0..50_000);
        let second = FIRST_SAMPLES + LATER_SAMPLES;
        let between = LATER_EVERY as usize * LATER_SAMPLES;
        assert_eq!(trained[..2], [FIRST_SAMPLES - 1, second - 1]);
        assert!(trained[2].abs_diff(second + between) <= LATER_EVERY as usize);
    }

    #[test]
    fn too_little_to_share_makes_no_dictionary() {
        assert_eq!(train(&[b"one\n".to_vec(), b"two\n".to_vec()]), None);
    }
}
