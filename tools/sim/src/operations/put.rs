//! A mail server hands mail in, and hands it in again when it heard no answer.
//! Never two mails alike: each has its number for a queue id.

use super::{Waiter, some_machine};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::ledger;
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::time::UnixMillis;
use quar_node::Request;
use quar_store::{Mail, Origin};

/// A class that this version does not name.
pub const UNKNOWN_CLASS: Class = Class(77);

/// Puts a new mail on some machine.
pub fn put(cluster: &mut Cluster, chance: &mut Chance) {
    let Some(at) = some_machine(cluster, chance) else { return };
    cluster.counts.operation("put");
    let mail = new_mail(cluster, chance);
    hand_in(cluster, at, mail, None);
}

/// Puts a mail again that came in before, often on the same machine.
pub fn again(cluster: &mut Cluster, chance: &mut Chance) {
    let Some(at) = some_machine(cluster, chance) else { return };
    let last = cluster.ledger.mails.len();
    if last == 0 {
        return;
    }
    cluster.counts.operation("put again");
    let mail = last - 1 - chance.index(last.min(12));
    hand_in(cluster, at, mail, None);
}

/// A mail that nobody had before; its body may be one that another had.
pub fn new_mail(cluster: &mut Cluster, chance: &mut Chance) -> usize {
    let class = match chance.below(20) {
        0..=10 => Class::SPAM,
        11..=13 => Class::VIRUS,
        14..=16 => Class::NONSPAM,
        17 => Class::ARCHIVE,
        _ => UNKNOWN_CLASS,
    };
    let mails = &cluster.ledger.mails;
    let bytes = match chance.pick(&(0..mails.len()).collect::<Vec<_>>()) {
        Some(other) if chance.percent(15) => mails[other].bytes.clone(),
        _ => bytes(mails.len(), chance).into(),
    };
    let recipients = 1 + chance.index(4);
    cluster.ledger.mails.push(ledger::Mail { class, bytes, recipients });
    cluster.ledger.mails.len() - 1
}

fn bytes(number: usize, chance: &mut Chance) -> Vec<u8> {
    let words = ["offer", "invoice", "meeting", "parcel", "account", "password", "thanks"];
    let mut text = format!("From: sender{number}@example.org\r\nSubject: mail {number}\r\n\r\n");
    for _ in 0..chance.below(60) {
        text.push_str(words[chance.index(words.len())]);
        text.push(if chance.percent(10) { '\n' } else { ' ' });
    }
    let mut bytes = text.into_bytes();
    let noise = match chance.below(400) {
        0 => 600 << 10,
        1..=20 => chance.below(30_000),
        21..=120 => chance.below(2_000),
        _ => 0,
    };
    for _ in 0..noise.div_ceil(64) {
        bytes.extend(chance.bytes::<64>());
    }
    bytes
}

/// Hands a mail in; with a time for an import.
pub fn hand_in(cluster: &mut Cluster, at: usize, number: usize, imported: Option<UnixMillis>) {
    let is_again = !cluster.handed_in.insert(number);
    let ledger::Mail { class, bytes, recipients } = cluster.ledger.mails[number].clone();
    let machine = &cluster.machines[at];
    let clock = machine.clock(cluster.now);
    let Some(store) = machine.store() else { return };
    let body = match store.encode_body(&bytes) {
        Ok(body) => body,
        Err(refusal) => return cluster.fail("mail is coded", refusal.to_string()),
    };
    let mail = Mail {
        class,
        received: imported.unwrap_or(clock),
        envelope: Envelope {
            sender: "sender@example.org".into(),
            recipients: (0..recipients).map(|n| format!("user{n}@example.net")).collect(),
            queue_id: format!("m{number}"),
            ..Envelope::default()
        },
        headers: Headers { subject: format!("mail {number}"), ..Headers::default() },
        body,
        score_milli: 9000,
        reason: "simulated".into(),
        origin: if imported.is_some() { Origin::Imported } else { Origin::Caught },
    };
    cluster.note(format_args!(
        "node{} is handed m{number}, {} bytes of {class}",
        at + 1,
        bytes.len()
    ));
    let is_import = imported.is_some();
    let waiter = Waiter::Put { mail: number, is_import, is_again: is_again || is_import };
    cluster.request(at, Request::Put(Box::new(mail)), waiter);
}
