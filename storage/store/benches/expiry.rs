//! How long a day's expiry takes: hidden, unlinked, and its index keys gone.
//! Prints one JSON line. Arguments: number of messages [5000], directory of .eml files [generated].

#![allow(missing_docs)]

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::roster::{Member, Roster};
use quar_base::signing::SigningKey;
use quar_base::time::UnixMillis;
use quar_store::{
    EncryptionKey, IdKey, Mail, Opening, Origin, Query, RealDisk, Retention, Settings, SledHome,
    Store,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const NOW: UnixMillis = UnixMillis(1_795_420_800_000);
const MESSAGES_PER_COMMIT: usize = 8;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let count = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(5000);
    let bodies = bodies(count, arguments.get(1).map(Path::new));
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = open(directory.path());
    for (number, body) in bodies.iter().enumerate() {
        store.admit_mail(mail(&store, body)).expect("the store takes mail");
        if number % MESSAGES_PER_COMMIT == MESSAGES_PER_COMMIT - 1 {
            store.commit();
        }
    }
    store.commit();
    store.checkpoint().expect("the index can be flushed");
    let later = UnixMillis(NOW.0 + 31 * 86_400_000);
    let start = Instant::now();
    store.set_today(later.day());
    let shown = store.list(&Query { limit: 1, ..Query::default() }).expect("the index can be read");
    let hidden_ms = start.elapsed().as_secs_f64() * 1000.0;
    assert!(shown.messages.is_empty(), "an expired message is shown");
    let expired = store.unlink_expired().expect("files can be unlinked");
    let unlinked_ms = start.elapsed().as_secs_f64() * 1000.0;
    store.forget_expired(&expired).expect("index keys can be removed");
    let forgotten_ms = start.elapsed().as_secs_f64() * 1000.0;
    println!(
        "{{\"bench\":\"expiry\",\"messages\":{},\"hidden_ms\":{hidden_ms:.2},\"unlinked_ms\":{unlinked_ms:.2},\"index_keys_gone_ms\":{forgotten_ms:.2}}}",
        expired.records
    );
}

fn bodies(count: usize, corpus: Option<&Path>) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    if let Some(directory) = corpus {
        collect(directory, &mut files);
        files.sort();
    }
    let body = |number: usize| match files.get(number % files.len().max(1)) {
        Some(path) => {
            let mut body = format!("X-Number: {number}\r\n").into_bytes();
            body.extend(std::fs::read(path).expect("the corpus can be read"));
            body
        }
        None => format!("Subject: mail {number}\r\n\r\n{}", "some text ".repeat(number % 900))
            .into_bytes(),
    };
    (0..count).map(body).collect()
}

fn collect(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the corpus can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            files.push(path);
        }
    }
}

fn mail(store: &Store, body: &[u8]) -> Mail {
    Mail {
        class: Class::SPAM,
        received: NOW,
        envelope: Envelope { recipients: vec!["user@example.net".into()], ..Envelope::default() },
        headers: Headers::default(),
        body: store.encode_body(body).expect("bodies of the bench are small"),
        score_milli: 0,
        reason: String::new(),
        origin: Origin::Caught,
    }
}

fn open(directory: &Path) -> Store {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .expect("a key can be made");
    let signing = SigningKey::from_pkcs8(pkcs8.as_ref()).expect("it was just made");
    let member = Member {
        id: MemberId([1; 16]),
        node_number: 1,
        name: "bench".into(),
        location: String::new(),
        addresses: vec!["127.0.0.1:1027".into()],
        public_key: signing.public(),
    };
    let roster = Roster {
        cluster: ClusterId([9; 16]),
        epoch: 1,
        members: vec![member],
        past_members: Vec::new(),
    };
    let settings = Settings {
        cluster: ClusterId([9; 16]),
        member: MemberId([1; 16]),
        node_number: 1,
        signing: Arc::new(signing),
        keys: vec![EncryptionKey::new(1, [7; 32])],
        id_key: IdKey::new([8; 32]),
        retention: Retention::default(),
        min_free_bytes: 0,
    };
    let opening = Opening {
        settings,
        disk: Arc::new(RealDisk::new(directory)),
        index: &mut SledHome(directory.join("index")),
        roster: Arc::new(roster),
        now: NOW,
        seed: [1; 32],
        progress: &mut |_| {},
    };
    Store::open(opening).expect("an empty directory can be opened").0
}
