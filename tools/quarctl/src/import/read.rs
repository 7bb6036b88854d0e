//! The messages of one file, each with everything that its record will say.
//! Never reads a clock, a host name or a user: the same file gives the same records everywhere.

use super::mbox::{self, Mbox};
use super::walk::{Kind, Source};
use crate::arguments::Cover;
use crate::commands::store::{mail, read_message};
use quar_base::limits::{FIELD_BYTES_MAX, MESSAGE_BYTES_MAX};
use quar_base::time::UnixMillis;
use quard::intake::Mail;
use quard::intake::lmtp::address::is_mailbox;
use std::fs::File;
use std::io::BufReader;
use std::time::{Duration, SystemTime};

/// One message of an import.
pub struct Found {
    /// Where it was, for people.
    pub shown: String,
    /// The message.
    pub mail: Mail,
    /// Under which time it is filed.
    pub received: UnixMillis,
}

/// A message that cannot be imported, with its place and the reason.
pub struct Unfit {
    /// Where it was, for people.
    pub shown: String,
    /// What is wrong with it.
    pub error: String,
}

/// Reads a file's messages and hands each to `take`, which says whether to go on.
///
/// # Errors
/// When the file cannot be read, or holds what it should not. An mbox of which a part was read has
/// had that part taken.
pub fn messages(
    source: &Source,
    cover: &Cover,
    take: &mut dyn FnMut(Result<Found, Unfit>) -> bool,
) -> anyhow::Result<()> {
    let file = File::open(&source.path)?;
    let received = mtime(&file)?;
    if source.kind == Kind::Message {
        let mut mail = mail(cover, read_message(file)?);
        mail.envelope.queue_id = queue_id(&source.name);
        let shown = source.shown();
        take(Ok(Found { shown, mail, received }));
        return Ok(());
    }
    for (number, item) in Mbox::new(BufReader::with_capacity(256 << 10, file)).enumerate() {
        let mbox::Item { from_line, body } = item?;
        let shown = format!("{}, message {}", source.shown(), number + 1);
        let Some(body) = body else {
            let error = format!("it is beyond the limit of {MESSAGE_BYTES_MAX} bytes");
            take(Err(Unfit { shown, error }));
            continue;
        };
        // The number would change when a message before it is removed from the file.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&from_line).update(b"\n").update(&body);
        let digest = hasher.finalize().to_hex();
        let mut mail = mail(cover, body.into());
        mail.envelope.queue_id = queue_id(&format!("{}#{}", source.name, &digest[..16]));
        if cover.sender.is_none() {
            let sender = mbox::sender(&from_line).filter(|sender| is_mailbox(sender));
            mail.envelope.sender = sender.unwrap_or_default();
        }
        let received = mbox::instant(&from_line).unwrap_or(received);
        let goes_on = take(Ok(Found { shown, mail, received }));
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// When the file was changed last; 1970 for files from before.
fn mtime(file: &File) -> std::io::Result<UnixMillis> {
    let since = file.metadata()?.modified()?.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    Ok(UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// A name as a queue id: as it is, or with a digest in place of its beginning when it is too long.
fn queue_id(name: &str) -> String {
    if name.len() <= FIELD_BYTES_MAX {
        return name.to_owned();
    }
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let mut start = name.len() - (FIELD_BYTES_MAX - 64);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    format!("{}...{}", &digest[..32], &name[start..])
}

#[cfg(test)]
mod tests {
    use super::{Found, messages, queue_id};
    use crate::arguments::{Cover, Format};
    use crate::import::walk::walk;
    use quar_base::class::Class;
    use quar_base::limits::FIELD_BYTES_MAX;
    use quar_base::time::UnixMillis;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    fn cover() -> Cover {
        Cover {
            class: Class::SPAM,
            sender: None,
            recipients: vec!["r@x".into()],
            reason: String::new(),
        }
    }

    fn found(path: &Path, cover: &Cover) -> Vec<Found> {
        let mut all = Vec::new();
        for source in walk(path, Format::Auto).unwrap().sources {
            let taken = messages(&source, cover, &mut |found| {
                all.extend(found.ok());
                true
            });
            taken.unwrap();
        }
        all
    }

    fn write(path: &Path, text: &str, mtime_s: u64) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime_s);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    #[test]
    fn a_record_depends_on_path_mtime_and_bytes_alone() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        write(&one.path().join("cur/1.host:2,S"), "Subject: x\r\n\r\n\0", 1_795_420_812);
        write(&other.path().join("new/1.host"), "Subject: x\r\n\r\n\0", 1_795_420_812);
        for root in [&one, &other] {
            for part in ["cur", "new"] {
                std::fs::create_dir_all(root.path().join(part)).unwrap();
            }
        }
        let [one, other] = [one, other].map(|root| found(root.path(), &cover()).remove(0));
        assert_eq!(one.mail, other.mail);
        assert_eq!(one.received, other.received);
        assert_eq!(one.received, UnixMillis(1_795_420_812_000));
        assert_eq!(one.mail.envelope.queue_id, "1.host");
        assert_eq!(&one.mail.body[..], b"Subject: x\r\n\r\n\0");
    }

    #[test]
    fn messages_of_an_mbox_keep_their_ids_when_others_leave_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old.mbox");
        let first = "From a@x Mon Nov 23 08:00:12 2026\nSubject: 1\n\n1\n\n";
        let second = "From MAILER-DAEMON undated\nSubject: 2\n\n2\n\n";
        write(&path, &format!("{first}{second}"), 5);
        let both = found(directory.path(), &cover());
        assert_eq!(both[0].mail.envelope.sender, "a@x");
        assert_eq!(both[0].received, UnixMillis(1_795_420_812_000));
        assert_eq!(both[1].mail.envelope.sender, "");
        assert_eq!(both[1].received, UnixMillis(5000));
        assert!(both[0].mail.envelope.queue_id.starts_with("old.mbox#"));
        write(&path, second, 5);
        let alone = found(directory.path(), &cover());
        assert_eq!(alone[0].mail, both[1].mail);
        let mut given = cover();
        given.sender = Some("me@x".into());
        assert_eq!(found(directory.path(), &given)[0].mail.envelope.sender, "me@x");
    }

    #[test]
    fn a_name_of_any_length_fits_a_record_and_stays_unique() {
        let long = |end: &str| queue_id(&format!("{}{end}", "\u{fc}/".repeat(900)));
        assert!(long("a").len() <= FIELD_BYTES_MAX && long("a").ends_with("/a"));
        assert_ne!(queue_id(&format!("x{}", long("a"))), long("a"));
        assert_ne!(
            queue_id(&format!("1{}", "y".repeat(2000))),
            queue_id(&format!("2{}", "y".repeat(2000)))
        );
    }
}
