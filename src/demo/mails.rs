//! Mail to feed: from a directory of real mail, or made from a seed.
//! Never repeats a body: a mail used again carries one more header line.

use anyhow::Context;
use bytes::Bytes;
use quar_base::rng::Rng;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One mail to feed.
#[derive(Clone, Debug)]
pub struct TestMail {
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// The bytes.
    pub body: Bytes,
}

/// Files of a corpus in a shuffled order that is the same in every run.
///
/// # Errors
/// When the directory cannot be read or holds no mail.
pub fn from_corpus(directory: &Path, count: usize) -> anyhow::Result<Vec<TestMail>> {
    let mut paths = Vec::new();
    collect(directory, &mut paths).with_context(|| format!("reading {}", directory.display()))?;
    anyhow::ensure!(!paths.is_empty(), "{} holds no .eml files", directory.display());
    paths.sort();
    let mut rng = Rng::from_seed([42; 32]);
    for at in (1..paths.len()).rev() {
        let other = usize::try_from(rng.below(at as u64 + 1)).expect("below a usize");
        paths.swap(at, other);
    }
    let read = |number: usize| -> anyhow::Result<TestMail> {
        let path = &paths[number % paths.len()];
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let round = number / paths.len();
        let body = match round {
            0 => bytes.into(),
            _ => [format!("X-Round: {round}\r\n").as_bytes(), &bytes].concat().into(),
        };
        Ok(enveloped(number, body))
    };
    (0..count).map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            paths.push(path);
        }
    }
    Ok(())
}

fn enveloped(number: usize, body: Bytes) -> TestMail {
    let recipients = (0..1 + number % 3).map(|n| format!("user{n}.{}@example.net", number % 997));
    let sender = match number % 10 {
        0 => String::new(),
        _ => format!("bulk{}@example.org", number % 211),
    };
    TestMail { sender, recipients: recipients.collect(), body }
}

const WORDS: [&str; 40] = [
    "account",
    "offer",
    "limited",
    "delivery",
    "invoice",
    "parcel",
    "winner",
    "urgent",
    "payment",
    "update",
    "security",
    "confirm",
    "bonus",
    "free",
    "shipping",
    "meeting",
    "report",
    "attached",
    "please",
    "review",
    "before",
    "friday",
    "team",
    "project",
    "schedule",
    "thanks",
    "regards",
    "click",
    "here",
    "unsubscribe",
    "newsletter",
    "discount",
    "price",
    "order",
    "customer",
    "service",
    "support",
    "password",
    "expires",
    "today",
];

/// Mails made from a seed: text, HTML and encoded attachments, near-duplicates among them.
#[must_use]
pub fn generated(count: usize) -> Vec<TestMail> {
    let mut rng = Rng::from_seed([7; 32]);
    (0..count).map(|number| enveloped(number, generate(number, &mut rng).into())).collect()
}

fn generate(number: usize, rng: &mut Rng) -> Vec<u8> {
    let campaign = rng.below(60);
    let mut mail = String::new();
    let relay = rng.below(250);
    let _ = write!(
        mail,
        "Received: from mx{relay}.example.org (192.0.2.{relay})\r\n\
         \tby filter.example.net with ESMTPS id {:08x};\r\n\
         \tMon, 23 Nov 2026 08:{:02}:{:02} +0000\r\n\
         From: \"Campaign {campaign}\" <news{campaign}@example.org>\r\n\
         To: user@example.net\r\n\
         Subject: {}\r\n\
         Message-ID: <{number}.{:016x}@example.org>\r\n\
         MIME-Version: 1.0\r\n",
        rng.below(u64::from(u32::MAX)),
        number / 60 % 60,
        number % 60,
        sentence(&mut Rng::from_seed([campaign as u8; 32]), 6),
        rng.below(u64::MAX),
    );
    let mut body_rng = Rng::from_seed([campaign as u8 ^ 0x5a; 32]);
    match number % 5 {
        0 => {
            mail.push_str("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n");
            for _ in 0..20 + rng.below(400) {
                let bytes: [u8; 57] = rng.bytes();
                mail.push_str(&data_line(&bytes));
            }
        }
        1 | 2 => {
            mail.push_str("Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n");
            for _ in 0..20 + body_rng.below(100) {
                let _ = write!(mail, "<p class=\"t\">{}</p>\r\n", sentence(&mut body_rng, 14));
            }
            let _ = write!(
                mail,
                "<a href=\"http://example.org/u/{:016x}\">x</a></body></html>\r\n",
                rng.below(u64::MAX)
            );
        }
        _ => {
            mail.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\n");
            for _ in 0..5 + rng.below(60) {
                mail.push_str(&sentence(rng, 12));
                mail.push_str("\r\n");
            }
        }
    }
    mail.into_bytes()
}

fn data_line(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut line = String::with_capacity(78);
    for chunk in bytes.chunks_exact(3) {
        let group = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        for shift in [18, 12, 6, 0] {
            line.push(char::from(DIGITS[(group >> shift) as usize & 63]));
        }
    }
    line.push_str("\r\n");
    line
}

fn sentence(rng: &mut Rng, words: usize) -> String {
    let word = |rng: &mut Rng| WORDS[rng.below(WORDS.len() as u64) as usize];
    (0..words).map(|_| word(rng)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::generated;
    use std::collections::BTreeSet;

    #[test]
    fn generated_mail_is_the_same_in_every_run_and_never_repeats_a_body() {
        let (one, two) = (generated(500), generated(500));
        assert!(
            one.iter().zip(&two).all(|(a, b)| a.body == b.body && a.recipients == b.recipients)
        );
        let bodies: BTreeSet<_> = one.iter().map(|mail| mail.body.clone()).collect();
        assert_eq!(bodies.len(), 500);
    }
}
