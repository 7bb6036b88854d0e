//! Which files an import reads: found, sorted, and told apart.
//! Never follows a symbolic link, and never opens a file but to see whether it is an mbox.

use super::maildir;
use crate::arguments::Format;
use anyhow::Context;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One message.
    Message,
    /// Many.
    Mbox,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// Where it lies below the path that is imported, flags of maildirs left out: the same on
    /// every node that has the same tree.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Its length when it was found.
    pub bytes: u64,
}

impl Source {
    /// The path for people.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// The files of an import, in order of their names.
#[derive(Debug, Default)]
pub struct Walked {
    /// Those that are read.
    pub sources: Vec<Source>,
    /// How many are not.
    pub skipped: u64,
}

impl Walked {
    /// Length of all files.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.bytes).sum()
    }
}

/// Finds the files of an import.
///
/// # Errors
/// When the path cannot be read, or is not of the format that was asked for.
pub fn walk(path: &Path, format: Format) -> anyhow::Result<Walked> {
    let failed = || format!("cannot import {}", path.display());
    let metadata = fs::metadata(path).with_context(failed)?;
    let mut walked = Walked::default();
    if !metadata.is_dir() {
        let kind = match format {
            Format::Eml => Kind::Message,
            Format::Mbox => Kind::Mbox,
            Format::Auto => sniff(path).with_context(failed)?,
            Format::Maildir => anyhow::bail!("{} is no directory", path.display()),
        };
        let name = file_name(path);
        let bytes = metadata.len();
        let path = path.to_owned();
        walked.sources.push(Source { path, name, kind, bytes });
        return Ok(walked);
    }
    let walker = Walker { format };
    if format == Format::Maildir && !maildir::is_maildir(path) {
        anyhow::bail!("{} is no maildir: it has no cur and new", path.display());
    }
    walker.directory(path, "", &mut walked).with_context(failed)?;
    walked.sources.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    Ok(walked)
}

struct Walker {
    format: Format,
}

impl Walker {
    fn directory(&self, path: &Path, name: &str, walked: &mut Walked) -> std::io::Result<()> {
        let takes_maildirs = matches!(self.format, Format::Auto | Format::Maildir);
        let is_maildir = takes_maildirs && maildir::is_maildir(path);
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let own = escaped(entry.file_name().as_bytes());
            let below = match name {
                "" => own.clone(),
                name => format!("{name}/{own}"),
            };
            let path = entry.path();
            if kind.is_dir() && is_maildir && matches!(own.as_str(), "cur" | "new") {
                self.maildir_part(&path, name, walked)?;
            } else if kind.is_dir() {
                let is_hidden =
                    own.starts_with('.') && !(takes_maildirs && maildir::is_maildir(&path));
                let is_tmp = is_maildir && own == "tmp";
                if !is_hidden && !is_tmp {
                    self.directory(&path, &below, walked)?;
                }
            } else if kind.is_file() && !own.starts_with('.') {
                let taken = if is_maildir { None } else { self.kind(&path) };
                add(walked, path, below, taken)?;
            } else {
                walked.skipped += 1;
            }
        }
        Ok(())
    }

    /// The files of a maildir's cur or new: a message keeps its name when it moves or is flagged.
    fn maildir_part(&self, path: &Path, name: &str, walked: &mut Walked) -> std::io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let own = escaped(maildir::unique_name(file_name.as_bytes()));
            let below = match name {
                "" => own.clone(),
                name => format!("{name}/{own}"),
            };
            let is_mail = entry.file_type()?.is_file() && !own.starts_with('.');
            add(walked, entry.path(), below, is_mail.then_some(Kind::Message))?;
        }
        Ok(())
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        let extension = path.extension().map(|text| text.to_ascii_lowercase());
        let extension = extension.as_deref().and_then(|text| text.to_str());
        match (self.format, extension) {
            (Format::Eml, _) | (Format::Auto, Some("eml")) => Some(Kind::Message),
            (Format::Mbox, _) | (Format::Auto, Some("mbox")) => Some(Kind::Mbox),
            (Format::Auto | Format::Maildir, _) => None,
        }
    }
}

fn add(
    walked: &mut Walked,
    path: PathBuf,
    name: String,
    kind: Option<Kind>,
) -> std::io::Result<()> {
    let Some(kind) = kind else {
        walked.skipped += 1;
        return Ok(());
    };
    let bytes = fs::symlink_metadata(&path)?.len();
    walked.sources.push(Source { path, name, kind, bytes });
    Ok(())
}

fn sniff(path: &Path) -> std::io::Result<Kind> {
    let mut start = Vec::new();
    File::open(path)?.take(5).read_to_end(&mut start)?;
    Ok(if start == b"From " { Kind::Mbox } else { Kind::Message })
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().map(|name| escaped(name.as_bytes()));
    name.unwrap_or_default()
}

/// A file name as text, the same on every node: bytes that are no text are written as %XX.
fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        text.extend(chunk.valid().chars().map(shown));
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Kind, Walked, escaped, walk};
    use crate::arguments::Format;
    use std::fs;
    use std::path::Path;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn names(walked: &Walked) -> Vec<(&str, Kind)> {
        let sources = walked.sources.iter();
        sources.map(|source| (source.name.as_str(), source.kind)).collect()
    }

    #[test]
    fn auto_takes_mail_by_its_name_and_maildirs_by_their_shape() {
        let tree = tree(&[
            ("b/two.EML", "x"),
            ("a.eml", "x"),
            ("list.mbox", "From a\n\nx\n"),
            ("README", "x"),
            (".git/x.eml", "x"),
            ("md/cur/1.M1.host:2,S", "x"),
            ("md/new/2.M2.host", "x"),
            ("md/tmp/3.M3.host", "x"),
            ("md/dovecot.index", "x"),
            ("md/.Junk/cur/4.M4.host:2,", "x"),
            ("md/.Junk/new/.keep", ""),
            ("md/.Junk/tmp/x", ""),
        ]);
        let link = tree.path().join("link.eml");
        std::os::unix::fs::symlink(tree.path().join("a.eml"), link).unwrap();
        let walked = walk(tree.path(), Format::Auto).unwrap();
        assert_eq!(
            names(&walked),
            [
                ("a.eml", Kind::Message),
                ("b/two.EML", Kind::Message),
                ("list.mbox", Kind::Mbox),
                ("md/.Junk/4.M4.host", Kind::Message),
                ("md/1.M1.host", Kind::Message),
                ("md/2.M2.host", Kind::Message),
            ]
        );
        // README, the link, dovecot.index and .keep.
        assert_eq!(walked.skipped, 4);
        assert_eq!(walked.bytes(), 5 + 10);
    }

    #[test]
    fn eml_takes_every_file_and_single_files_are_looked_at() {
        let tree = tree(&[("20261123/spam/4ABC", "Subject: x\n\n"), ("box", "From a\n\nx")]);
        let walked = walk(tree.path(), Format::Eml).unwrap();
        assert_eq!(names(&walked), [("20261123/spam/4ABC", Kind::Message), ("box", Kind::Message)]);
        for (name, kind) in [("box", Kind::Mbox), ("20261123/spam/4ABC", Kind::Message)] {
            let walked = walk(&tree.path().join(name), Format::Auto).unwrap();
            let name = Path::new(name).file_name().unwrap().to_str().unwrap();
            assert_eq!(names(&walked), [(name, kind)]);
        }
        assert!(walk(tree.path(), Format::Maildir).is_err());
        assert!(walk(&tree.path().join("absent"), Format::Auto).is_err());
    }

    #[test]
    fn a_name_that_is_no_text_is_still_one_name() {
        assert_eq!(escaped(b"a\xff\xfe\xc3\xbc\n"), "a%FF%FE\u{fc}\u{fffd}");
    }
}
