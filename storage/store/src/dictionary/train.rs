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

/// Bodies gathered for the next training.
#[derive(Default)]
pub(super) struct Samples {
    bodies: Vec<Vec<u8>>,
    ids: BTreeSet<BodyId>,
    /// Generation of the last dictionary, trained here or elsewhere.
    generation: u32,
    seen: u64,
}

impl Samples {
    /// Takes a body into account. Whether it is now time to train: there are enough samples, and
    /// this body was the one that made them so, or made them half as many again, or twice as many.
    /// Nodes gather the same bodies: the one that caught this body trains, and the others have their
    /// chance later if it did not; later than a training takes.
    pub(super) fn add(&mut self, id: BodyId, body: &[u8]) -> bool {
        self.seen += 1;
        let is_sampled = self.generation < 2 || self.seen.is_multiple_of(LATER_EVERY);
        if !is_sampled || self.bodies.len() >= 2 * self.enough() || !self.ids.insert(id) {
            return false;
        }
        self.bodies.push(body[..body.len().min(SAMPLE_BYTES)].to_vec());
        self.is_time_at(self.bodies.len())
    }

    /// Whether one more sample makes it time to train.
    pub(super) fn is_almost_time(&self) -> bool {
        self.is_time_at(self.bodies.len() + 1)
    }

    fn is_time_at(&self, count: usize) -> bool {
        let beyond = count.checked_sub(self.enough());
        beyond.is_some_and(|beyond| beyond.is_multiple_of(self.enough() / 2))
    }

    /// All samples and the generation they make, when there are enough.
    pub(super) fn take(&mut self) -> Option<(u32, Vec<Vec<u8>>)> {
        if self.bodies.len() < self.enough() {
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
        }
    }

    fn enough(&self) -> usize {
        if self.generation == 0 { FIRST_SAMPLES } else { LATER_SAMPLES }
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

    #[test]
    fn a_body_that_comes_again_shares_nothing_with_itself() {
        let mut samples = Samples::default();
        for number in 0..FIRST_SAMPLES - 1 {
            assert!(!samples.add(id(number), b"x"));
            assert!(!samples.add(id(number), b"x"));
        }
        assert!(samples.take().is_none());
        assert!(samples.add(id(FIRST_SAMPLES), b"x"));
        assert_eq!(samples.take().unwrap().1.len(), FIRST_SAMPLES);
    }

    #[test]
    fn when_the_one_whose_body_completed_the_samples_did_not_train_another_one_does() {
        let mut samples = Samples::default();
        let is_time: Vec<usize> =
            (0..3 * FIRST_SAMPLES).filter(|number| samples.add(id(*number), b"x")).collect();
        let expected = (0..=2).map(|half| FIRST_SAMPLES - 1 + half * FIRST_SAMPLES / 2);
        assert_eq!(is_time, expected.collect::<Vec<_>>());
    }

    #[test]
    fn later_trainings_sample_sparsely() {
        let mut samples = Samples::default();
        let is_last_sample =
            |number: &usize| samples.add(id(*number), b"x") && samples.take().is_some();
        let trained: Vec<usize> = (0..30_000).filter(is_last_sample).collect();
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
