//! What the benches of the store share: real mail in a fixed order, and a store on a real disk.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::rng::Rng;
use quar_base::roster::{Member, Roster};
use quar_base::signing::SigningKey;
use quar_base::time::UnixMillis;
use quar_store::{
    CodedBody, EncryptionKey, IdKey, Mail, Opening, Origin, RealDisk, Retention, Settings,
    SledHome, Store,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// 2026-11-23 08:00:00 UTC.
pub const NOW: UnixMillis = UnixMillis(1_795_420_800_000);

/// Bodies: of `.eml` files below a directory in a shuffled order that is the same in every run, or
/// generated ones. None comes twice: one used again has one more header line.
pub fn bodies(count: usize, corpus: Option<&Path>) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    if let Some(directory) = corpus {
        collect(directory, &mut files);
        files.sort();
        let mut rng = Rng::from_seed([42; 32]);
        for at in (1..files.len()).rev() {
            files.swap(at, rng.below(at as u64 + 1) as usize);
        }
    }
    let body = |number: usize| match files.get(number % files.len().max(1)) {
        Some(path) => {
            let body = std::fs::read(path).expect("the corpus can be read");
            match number / files.len() {
                0 => body,
                round => [format!("X-Round: {round}\r\n").as_bytes(), &body].concat(),
            }
        }
        None => format!("Subject: mail {number}\r\n\r\n{}", "some text ".repeat(number % 900))
            .into_bytes(),
    };
    (0..count).map(body).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the corpus can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            files.push(path);
        }
    }
}

/// A mail around a body.
pub fn mail(body: CodedBody) -> Mail {
    Mail {
        class: Class::SPAM,
        received: NOW,
        envelope: Envelope { recipients: vec!["user@example.net".into()], ..Envelope::default() },
        headers: Headers::default(),
        body,
        score_milli: 0,
        reason: String::new(),
        origin: Origin::Caught,
    }
}

/// An empty store in a directory.
pub fn open(directory: &Path) -> Store {
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
