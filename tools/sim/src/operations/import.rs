//! Importing one tree of mail on several machines.
//! Never says who imports, or when: it has to be one copy.

use super::put;
use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::time::UnixMillis;

/// Longest age of an imported mail, in milliseconds.
const AGE_MS_MAX: u64 = 3 * 86_400_000;

/// Imports a few mails on two or three machines.
pub fn import(cluster: &mut Cluster, chance: &mut Chance) {
    let mails: Vec<(usize, UnixMillis)> = (0..=chance.below(3))
        .map(|_| {
            let at = UnixMillis(cluster.now.0 - chance.below(AGE_MS_MAX));
            (put::new_mail(cluster, chance), at)
        })
        .collect();
    for _ in 0..chance.between(2, 3) {
        let Some(at) = chance.pick(&cluster.awake()) else { return };
        cluster.counts.operation("import of one tree");
        for (mail, received) in &mails {
            put::hand_in(cluster, at, *mail, Some(*received));
        }
        cluster.run(chance.below(300));
    }
}
