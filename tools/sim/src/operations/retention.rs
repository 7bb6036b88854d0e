//! The retention is shortened and raised: on every machine, each of which is started again for it.
//! Never of held messages.

use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::class::Class;
use quar_store::Retention;

/// Days that the classes keep at the start of a life.
#[must_use]
pub fn at_first() -> Retention {
    let days = [(Class::SPAM, 3), (Class::VIRUS, 1), (Class::NONSPAM, 6)];
    Retention(days.map(|(class, days)| (class, Some(days))).into())
}

/// Changes it for one class.
pub fn change(cluster: &mut Cluster, chance: &mut Chance) {
    let class = chance.pick(&[Class::SPAM, Class::VIRUS, Class::NONSPAM]).expect("there are three");
    let days = 1 + chance.below(6) as u32;
    let before = cluster.machines[0].kept_days(class).unwrap_or(0);
    let name = if days < before { "retention shortened" } else { "retention raised" };
    cluster.counts.operation(name);
    cluster.note(format_args!("{class} is kept for {days} days from now on"));
    for machine in &mut cluster.machines {
        machine.retention.0.insert(class, Some(days));
    }
    for at in cluster.awake() {
        cluster.stop(at);
        cluster.start(at);
        cluster.run(chance.below(300));
    }
}
