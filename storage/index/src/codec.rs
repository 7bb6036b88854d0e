//! Bytes of writes in the journal, and of lengths and checks in every file of ours.
//! Never reads or writes a file.

use crate::{Tree, Write};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;

const PUT: u8 = 0;
const DELETE: u8 = 1;
const META: u8 = 0;
const BUCKET: u8 = 1;

/// Appends the bytes of a write: kind, tree, then key and value each behind its length.
pub(crate) fn encode_write(write: &Write, out: &mut Vec<u8>) {
    match write {
        Write::Put { tree, key, value } => {
            out.push(PUT);
            encode_tree(*tree, out);
            encode_bytes(key, out);
            encode_bytes(value, out);
        }
        Write::Delete { tree, key } => {
            out.push(DELETE);
            encode_tree(*tree, out);
            encode_bytes(key, out);
        }
    }
}

/// Takes one write off the front of `bytes`; `None` when they begin with none.
pub(crate) fn take_write(bytes: &mut &[u8]) -> Option<Write> {
    let kind = take(bytes, 1)?[0];
    let tree = take_tree(bytes)?;
    let key = take_bytes(bytes)?.to_vec();
    match kind {
        PUT => Some(Write::Put { tree, key, value: take_bytes(bytes)?.to_vec() }),
        DELETE => Some(Write::Delete { tree, key }),
        _ => None,
    }
}

fn encode_tree(tree: Tree, out: &mut Vec<u8>) {
    match tree {
        Tree::Meta => out.push(META),
        Tree::Bucket(Bucket { class, day }) => {
            out.extend([BUCKET, class.0]);
            out.extend(day.0.to_le_bytes());
        }
    }
}

fn take_tree(bytes: &mut &[u8]) -> Option<Tree> {
    match take(bytes, 1)?[0] {
        META => Some(Tree::Meta),
        BUCKET => {
            let class = Class(take(bytes, 1)?[0]);
            let day = Day(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?));
            Some(Tree::Bucket(Bucket { class, day }))
        }
        _ => None,
    }
}

/// Appends `bytes` behind their length, seven bits to a byte, the lowest first.
pub(crate) fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// The inverse of [`encode_bytes`], off the front of `bytes`.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = take(bytes, 1)?[0];
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return take(bytes, length);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

/// FNV-1a, 64 bits: tells torn or flipped bytes from whole ones, and no more.
pub(crate) fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::{encode_bytes, encode_write, take_bytes, take_write};
    use crate::contract::{bucket, delete, put};
    use crate::{Tree, Write};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn bytes_of(write: &Write) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_write(write, &mut bytes);
        bytes
    }

    #[test]
    fn writes_have_these_bytes() {
        let put = put(Tree::Bucket(bucket(0x0102)), b"key", &[9; 200]);
        let head = b"\x00\x01\x01\x02\x01\x00\x00\x03key\xc8\x01";
        assert_eq!(bytes_of(&put), [&head[..], &[9; 200]].concat());
        assert_eq!(bytes_of(&delete(Tree::Meta, b"")), b"\x01\x00\x00");
    }

    proptest! {
        #[test]
        fn writes_read_back(
            day in any::<Option<u32>>(),
            key: Vec<u8>,
            value: Vec<u8>,
            behind: Vec<u8>,
        ) {
            let tree = day.map_or(Tree::Meta, |day| Tree::Bucket(bucket(day)));
            for write in [put(tree, &key, &value), delete(tree, &key)] {
                let bytes = [bytes_of(&write), behind.clone()].concat();
                let mut rest = &bytes[..];
                prop_assert_eq!(take_write(&mut rest), Some(write));
                prop_assert_eq!(rest, &behind);
            }
        }

        #[test]
        fn any_bytes_begin_with_a_write_or_not(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while let Some(write) = take_write(&mut rest) {
                prop_assert!(bytes_of(&write).len() <= bytes.len());
            }
        }

        #[test]
        fn lengths_of_all_sizes_read_back(length in 0usize..70_000) {
            let mut out = Vec::new();
            encode_bytes(&vec![1; length], &mut out);
            prop_assert_eq!(take_bytes(&mut &out[..]).map(<[u8]>::len), Some(length));
            prop_assert_eq!(take_bytes(&mut &out[..out.len() - 1]), None);
        }
    }
}
