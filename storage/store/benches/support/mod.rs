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
    CodedBody, EncryptionKey, IdKey, IndexHome, Mail, OpenReport, Opening, Origin, RealDisk,
    Retention, Settings, SledHome, Store,
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

/// A mail around a body, with what an intake would know of it: addresses and header fields.
#[allow(dead_code)]
pub fn real_mail(plain: &[u8], body: CodedBody, received: UnixMillis, number: usize) -> Mail {
    let field = |name| header(plain, name);
    let address = |text: &str| match text.rsplit_once('<') {
        Some((_, rest)) => rest.trim_end_matches('>').to_owned(),
        None => text.to_owned(),
    };
    let envelope = Envelope {
        sender: address(&field("from")).chars().take(200).collect(),
        recipients: vec![address(&field("to")).chars().take(200).collect()],
        client_address: format!("192.0.2.{}", number % 250),
        helo: format!("mx{}.example.org", number % 40),
        queue_id: format!("4dF{number:08X}z"),
        ..Envelope::default()
    };
    let headers = Headers {
        from: field("from"),
        to: field("to"),
        subject: field("subject"),
        date: field("date"),
        message_id: field("message-id"),
    };
    Mail { received, envelope, headers, score_milli: 6500, reason: "spam".into(), ..mail(body) }
}

/// A header field, its first 512 bytes or less.
fn header(plain: &[u8], name: &str) -> String {
    let head = plain.split(|byte| *byte == b'\n').take_while(|line| !matches!(line, [] | [b'\r']));
    let head: Vec<_> = head.map(String::from_utf8_lossy).collect();
    let is_named = |line: &str| {
        line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case(name))
    };
    let Some(at) = head.iter().position(|line| is_named(line)) else {
        return String::new();
    };
    let more = head[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t']));
    let value = head[at][name.len() + 1..].trim().to_owned();
    let value = more.fold(value, |value, line| value + " " + line.trim());
    let end = (0..=value.len().min(512)).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
    value[..end].to_owned()
}

/// Bytes of all files below a directory, as their lengths say.
#[allow(dead_code)]
pub fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("the directory can be read").flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

/// A store in a directory, empty or not, on the day of [`NOW`].
pub fn open(directory: &Path) -> Store {
    open_with(directory, Retention::default()).0
}

/// As [`open`], and what opening found.
pub fn open_with(directory: &Path, retention: Retention) -> (Store, OpenReport) {
    open_in(directory, retention, &mut SledHome(directory.join("index")))
}

/// As [`open_with`], with its index in a home.
pub fn open_in(
    directory: &Path,
    retention: Retention,
    index: &mut dyn IndexHome,
) -> (Store, OpenReport) {
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
        retention,
        min_free_bytes: 0,
        reserve_bytes: 0,
    };
    let opening = Opening {
        settings,
        disk: Arc::new(RealDisk::new(directory)),
        index,
        roster: Arc::new(roster),
        now: NOW,
        seed: [1; 32],
        progress: &mut |_| {},
    };
    Store::open(opening).expect("the store can be opened")
}
