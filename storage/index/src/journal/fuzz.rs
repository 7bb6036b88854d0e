//! What must hold of any bytes that are handed in as the journal's file.
//! Never touches a file.

use super::{HEAD_BYTES, head, read_frames};
use crate::codec::encode_write;
use crate::{Tree, Write};

/// The bytes as they are; then frames with right checks, each payload behind one byte of its length.
pub(crate) fn journal(input: &[u8]) {
    check(input);
    let mut framed = Vec::new();
    let mut rest = input;
    while let [length, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(behind.len().min((*length).into()));
        framed.extend(head(payload));
        framed.extend(payload);
        rest = behind;
    }
    check(&framed);
    // A torn end behind whole frames: whatever is cut off, the frames before it are read.
    if let (Some((writes, good)), Some(&cut)) = (read_frames(&framed), input.last()) {
        assert_eq!(good, framed.len());
        let torn = framed.len().saturating_sub(1 + usize::from(cut));
        let (fewer, shorter) = read_frames(&framed[..torn]).expect("a torn end is no damage");
        assert!(shorter <= torn && writes.starts_with(&fewer));
    }
}

fn check(bytes: &[u8]) {
    let Some((mut writes, good)) = read_frames(bytes) else { return };
    assert!(good <= bytes.len());
    assert_eq!(read_frames(&bytes[..good]), Some((writes.clone(), good)));
    let mut payload = Vec::new();
    writes.iter().for_each(|write| encode_write(write, &mut payload));
    let anew = [&head(&payload)[..], &payload].concat();
    assert_eq!(read_frames(&anew), Some((writes.clone(), HEAD_BYTES + payload.len())));
    // What the next append writes is read behind what was good.
    let next = Write::Delete { tree: Tree::Meta, key: b"next".to_vec() };
    let mut payload = Vec::new();
    encode_write(&next, &mut payload);
    let appended = [&bytes[..good], &head(&payload), &payload].concat();
    writes.push(next);
    assert_eq!(read_frames(&appended), Some((writes, appended.len())));
}
