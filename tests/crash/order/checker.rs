//! Whether every acknowledgement came after the sync of what it acknowledges.
//! Never needs to know what a block holds: a connection asks for one thing at a time.
//!
//! ```text
//! last bytes received < write of the segment < its fdatasync       < 250 (LMTP), 201 or 200 (HTTP) is sent
//!                       file made            < fsync of its directory
//!                       directory made       < fsync of the one above
//! ```
//! Where only one connection uses a segment, all writes between the request's last bytes and its answer are
//! that request's, and each must be synced. Where several do, one at the least must; and the name of each that is,
//! unless an erasure writes there too, which names its file at its end: then that of one.

use super::log::Call;
use std::path::Path;

/// Who else writes to the segments of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Nobody,
    Connections,
    Erasures,
}

#[derive(Debug, Default)]
pub struct Found {
    pub replies: usize,
    /// Those of them that answer an upload over HTTP.
    pub uploads: usize,
    /// Those of them that answer a delete over HTTP.
    pub deletes: usize,
    /// Replies during whose wait another segment was written to as well.
    pub overlapped: usize,
    pub offences: Vec<String>,
}

/// Holds every acknowledgement in `calls` against the calls before it.
pub fn check(calls: &[Call], data: &str, beside: &dyn Fn(&str) -> Beside) -> Found {
    let mut found = Found::default();
    for (at, reply) in calls.iter().enumerate().filter(|(_, call)| call.name == "send") {
        let Some(id) = acknowledged(&reply.text).or_else(|| answered(calls, at)) else { continue };
        found.replies += 1;
        found.uploads += usize::from(id.text == UPLOAD);
        found.deletes += usize::from(id.text.starts_with(DELETE));
        if let Err(offence) = check_reply(calls, at, &id, data, beside, &mut found.overlapped) {
            found.offences.push(format!("{}: {offence}", id.text));
        }
    }
    found
}

/// What a reply acknowledges.
struct Id {
    text: String,
    class: String,
    /// Empty when the reply and its request do not tell.
    day: String,
}

const UPLOAD: &str = "POST /v1/messages?";
const DELETE: &str = "DELETE /v1/messages/";

/// The message id in a final 250: `250 2.0.0 CLASS-YYYYMMDD-...`.
fn acknowledged(text: &str) -> Option<Id> {
    let text = text.split("250 2.0.0 ").nth(1)?.split("\\x0d").next()?;
    let (class, day) = bucket_of(text)?;
    Some(Id { text: text.to_owned(), class, day })
}

fn bucket_of(id: &str) -> Option<(String, String)> {
    let mut parts = id.rsplitn(4, '-');
    let (_digest, _second, day, class) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let day = format!("{}-{}-{}", day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    Some((class.to_owned(), day))
}

/// What a success over HTTP answers: the class of an upload, or the id of what is deleted, as its request says.
fn answered(calls: &[Call], at: usize) -> Option<Id> {
    let reply = &calls[at];
    let is_success = ["HTTP/1.1 201", "HTTP/1.1 200"].map(|line| reply.text.starts_with(line));
    let on_this = |call: &&Call| call.descriptor == reply.descriptor && call.path.is_empty();
    let heard = calls[..at].iter().rev().filter(on_this);
    let mut heard = heard.take_while(|call| call.name != "accept");
    let is_request =
        |text: &str| ["POST /", "DELETE /", "GET /"].iter().any(|verb| text.starts_with(verb));
    let request = &heard.find(|call| call.name == "recv" && is_request(&call.text))?.text;
    if let (true, Some(query)) = (is_success[0], request.strip_prefix(UPLOAD)) {
        let class = query.split("class=").nth(1)?.split(['&', ' ']).next()?;
        return Some(Id { text: UPLOAD.to_owned(), class: class.to_owned(), day: String::new() });
    }
    let id = request.strip_prefix(DELETE).filter(|_| is_success[1])?.split(' ').next()?;
    let (class, day) = bucket_of(id)?;
    Some(Id { text: format!("{DELETE}{id}"), class, day })
}

fn check_reply(
    calls: &[Call],
    at: usize,
    id: &Id,
    data: &str,
    beside: &dyn Fn(&str) -> Beside,
    overlapped: &mut usize,
) -> Result<(), String> {
    let reply = &calls[at];
    let on_this = |call: &&Call| call.descriptor == reply.descriptor && call.path.is_empty();
    let heard = calls[..at].iter().rev().filter(on_this);
    let heard = heard.take_while(|call| call.name != "accept");
    let heard = heard.into_iter().find(|call| call.name == "recv" && call.result > 0);
    let heard = heard.ok_or("nothing was received")?.end;

    let segments = format!("{data}/segments/");
    let bucket = format!("{segments}{}/{}", id.class, id.day);
    let between = |call: &&Call| call.begin > heard && call.end < reply.begin;
    let is_write = |call: &&Call| call.name == "write" && call.path.starts_with(&segments);
    let all = calls[..at].iter().filter(is_write).filter(between);
    let (own, others): (Vec<_>, Vec<_>) = all.partition(|call| call.path.starts_with(&bucket));
    *overlapped += usize::from(!others.is_empty());
    if own.is_empty() {
        return Err("nothing was written to its segment".into());
    }
    let is_synced = |write: &&&Call| {
        done(calls, "fdatasync", &write.path, write.end, reply.begin)
            || done(calls, "fsync", &write.path, write.end, reply.begin)
    };
    let synced: Vec<_> = own.iter().filter(is_synced).collect();
    let beside = beside(&id.class);
    let enough = match beside {
        Beside::Nobody => synced.len() == own.len(),
        Beside::Connections | Beside::Erasures => !synced.is_empty(),
    };
    if !enough {
        return Err(format!("{} of {} writes were synced", synced.len(), own.len()));
    }
    let mut named = synced.iter().map(|write| check_names(calls, &write.path, data, reply.begin));
    match beside {
        Beside::Nobody | Beside::Connections => named.collect(),
        Beside::Erasures => named.find(Result::is_ok).unwrap_or(Err("no name was synced".into())),
    }
}

/// The file's name, and those of the directories above it that were made, are durable.
fn check_names(calls: &[Call], path: &str, data: &str, before: u64) -> Result<(), String> {
    let names = Path::new(path).ancestors().map(|name| name.to_str().unwrap_or_default());
    for name in names.take_while(|name| name.len() > data.len()) {
        let is_made = |call: &&Call| {
            call.path == name
                && call.result >= 0
                && matches!(call.name.as_str(), "create" | "openmake" | "mkdir")
        };
        let Some(made) = calls.iter().find(is_made) else { continue };
        let above = Path::new(name).parent().and_then(Path::to_str).unwrap_or_default();
        if !done(calls, "fsync", above, made.end, before) {
            return Err(format!("the name of {name} was not synced"));
        }
    }
    Ok(())
}

/// Whether such a call began after one number and had succeeded before another.
fn done(calls: &[Call], name: &str, path: &str, after: u64, before: u64) -> bool {
    calls.iter().any(|call| {
        call.name == name
            && call.path == path
            && call.result == 0
            && call.begin > after
            && call.end < before
    })
}

#[cfg(test)]
mod tests {
    use super::{Beside, Found, check};
    use crate::order::log::parse;

    const GOOD: [&str; 12] = [
        "accept 7 ",
        "mkdir -1 /d/segments/spam",
        "fsync 8 /d/segments",
        "mkdir -1 /d/segments/spam/2026-11-23",
        "fsync 8 /d/segments/spam",
        "create 9 /d/segments/spam/2026-11-23/00000001.seg",
        "recv 7 ",
        "fdatasync 9 /d/segments/spam/2026-11-23/00000001.seg",
        "fsync 8 /d/segments/spam/2026-11-23",
        "write 9 /d/segments/spam/2026-11-23/00000001.seg",
        "fdatasync 9 /d/segments/spam/2026-11-23/00000001.seg",
        "send 7 ",
    ];

    /// Calls one after the other, none during another.
    fn judge(calls: &[&str], beside: Beside) -> Found {
        let mut log = String::new();
        for (at, call) in calls.iter().enumerate() {
            let [name, descriptor, path] = call.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{call}");
            };
            let (begin, end) = (2 * at, 2 * at + 1);
            let (result, text) = match name {
                "recv" => (50, "BDAT"),
                "send" => {
                    (50, "250 2.1.5 OK\\x0d\\x0a250 2.0.0 spam-20261123-081512-77aa\\x0d\\x0a")
                }
                "write" => (100, ""),
                _ => (0, ""),
            };
            let fields = format!("0\t{name}\t{descriptor}\t0\t0\t{result}\t{path}\t{text}");
            log.push_str(&format!("{begin}\t{end}\t{fields}\n"));
        }
        let found = check(&parse(&log), "/d", &|_| beside);
        assert_eq!(found.replies, 1);
        found
    }

    fn without(left_out: usize) -> Vec<&'static str> {
        let all = GOOD.iter().enumerate().filter(|(at, _)| *at != left_out);
        all.map(|(_, call)| *call).collect()
    }

    fn offence(calls: &[&str]) -> String {
        let found = judge(calls, Beside::Nobody);
        assert_eq!(found.offences.len(), 1, "{:?}", found.offences);
        found.offences[0].clone()
    }

    #[test]
    fn a_good_order_has_no_offence() {
        for beside in [Beside::Nobody, Beside::Connections, Beside::Erasures] {
            assert_eq!(judge(&GOOD, beside).offences, Vec::<String>::new());
        }
    }

    #[test]
    fn a_201_of_an_upload_and_a_200_of_a_delete_are_held_against_their_syncs() {
        let segment = "/d/segments/spam/2026-11-23/00000001.seg";
        let log = |request: &str, reply: &str, sync: u32| {
            format!(
                "0\t1\t0\trecv\t7\t0\t0\t9\t\t{request}\n\
                 2\t3\t0\trecv\t7\t0\t0\t9\t\tthe rest of its body\n\
                 4\t5\t0\twrite\t9\t0\t100\t100\t{segment}\t\n\
                 {sync}\t{}\t0\tfdatasync\t9\t0\t0\t0\t{segment}\t\n\
                 8\t9\t0\tsend\t7\t0\t0\t9\t\t{reply}\n",
                sync + 1
            )
        };
        let upload = "POST /v1/messages?class=spam&recipient=a@b HTTP/1.1";
        let delete = "DELETE /v1/messages/spam-20261123-081512-77aa HTTP/1.1";
        for (request, reply) in [(upload, "HTTP/1.1 201 Created"), (delete, "HTTP/1.1 200 OK")] {
            let found = |sync| check(&parse(&log(request, reply, sync)), "/d", &|_| Beside::Nobody);
            let (good, late) = (found(6), found(10));
            assert_eq!((good.replies, good.offences.len()), (1, 0), "{:?}", good.offences);
            assert_eq!(
                (good.uploads, good.deletes),
                (usize::from(request == upload), usize::from(request == delete))
            );
            assert_eq!((late.replies, late.offences.len()), (1, 1), "synced too late: {request}");
        }
        let refused =
            check(&parse(&log(delete, "HTTP/1.1 404 Not Found", 10)), "/d", &|_| Beside::Nobody);
        assert_eq!(refused.replies, 0);
    }

    #[test]
    fn a_missing_sync_of_the_segment_is_found() {
        assert!(offence(&without(10)).contains("0 of 1 writes were synced"));
        assert_eq!(judge(&without(10), Beside::Connections).offences.len(), 1);
    }

    #[test]
    fn a_sync_before_the_write_is_found() {
        let mut calls = GOOD;
        calls.swap(9, 10);
        assert!(offence(&calls).contains("0 of 1 writes were synced"));
    }

    #[test]
    fn a_reply_before_the_sync_is_found() {
        let mut calls = GOOD;
        calls.swap(10, 11);
        assert!(offence(&calls).contains("0 of 1 writes were synced"));
    }

    #[test]
    fn a_sync_that_began_while_the_write_went_on_or_failed_is_found() {
        let log = |write: &str, sync: &str| {
            format!(
                "0\t1\t0\trecv\t7\t0\t0\t9\t\tBDAT\n\
                 {write}\t0\twrite\t9\t0\t100\t100\t/d/segments/spam/2026-11-23/00000001.seg\t\n\
                 {sync}\t/d/segments/spam/2026-11-23/00000001.seg\t\n\
                 8\t9\t0\tsend\t7\t0\t0\t9\t\t250 2.0.0 spam-20261123-081512-77aa\\x0d\n"
            )
        };
        let judge = |text: &str| check(&parse(text), "/d", &|_| Beside::Nobody).offences.len();
        assert_eq!(judge(&log("2\t3", "4\t5\t0\tfdatasync\t9\t0\t0\t0")), 0);
        assert_eq!(judge(&log("2\t4", "3\t5\t0\tfdatasync\t9\t0\t0\t0")), 1, "during the write");
        assert_eq!(judge(&log("2\t3", "4\t10\t0\tfdatasync\t9\t0\t0\t0")), 1, "ends too late");
        assert_eq!(judge(&log("2\t3", "4\t5\t0\tfdatasync\t9\t0\t0\t-1")), 1, "failed");
    }

    #[test]
    fn a_missing_sync_of_any_directory_is_found() {
        for (left_out, name) in [(8, "00000001.seg"), (4, "2026-11-23"), (2, "/d/segments/spam")] {
            let offence = offence(&without(left_out));
            let expected = format!("{name} was not synced");
            assert!(offence.contains(&expected), "{offence}");
            for beside in [Beside::Connections, Beside::Erasures] {
                assert_eq!(judge(&without(left_out), beside).offences.len(), 1);
            }
        }
    }

    #[test]
    fn a_write_that_is_not_there_or_not_this_mails_is_found() {
        assert!(offence(&without(9)).contains("nothing was written"));
        let mut elsewhere = GOOD;
        elsewhere[9] = "write 9 /d/segments/virus/2026-11-23/00000001.seg";
        assert!(offence(&elsewhere).contains("nothing was written"));
        let mut earlier = GOOD;
        earlier.swap(6, 10);
        assert!(offence(&earlier).contains("nothing was written"));
    }
}
