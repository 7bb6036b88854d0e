//! Leaves and pages: how they split, merge, are shared between snapshots and are hashed.
//! Never keeps a shape that another order of changes could have avoided.
//!
//! The node over a set S of keys is a function of S alone:
//!
//! ```text
//! |S| <= 64   leaf   hash = BLAKE3(1, |S| in 1 byte, the keys ascending, 36 bytes each)
//! |S| >  64   page   hash = BLAKE3(3, depth in 1 byte, |S| in 8 bytes, slot root)
//!
//!   depth      nibbles that all of S share = the index of the nibble at which the page branches,
//!              counted from the start of the key, never from the parent: 0 to 71
//!   slot n     hash of the keys of S whose nibble at `depth` is n; 32 zero bytes if there are none
//!   slot root  4 levels of pairs over the 16 slots, pair = BLAKE3(2, left, right)
//! ```
//!
//! Numbers are big-endian. A page names no prefix: the keys in the leaves below do, in full. A
//! proof that a key is in the set is its leaf and, per page above, depth, count and 4 pair siblings
//! (128 bytes); the key's own nibble at each depth says left or right. The first bytes 1, 2 and 3
//! keep leaf, pair and page from passing as one another.
//!
//! A node's hash is kept until a key below it comes or goes. It is filled in through a shared
//! reference, so that a snapshot and its original do not hash the same node twice.

use crate::hash::{Domain, Hash, digest};
use crate::iter::Iter;
use crate::part::{Part, PartsError, Stored};
use crate::prefix::{KeyBytes, Prefix, common_nibbles, nibble_of};
use std::array;
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

/// Most keys in a leaf. Part of the format: another number gives other hashes.
pub const LEAF_KEYS_MAX: usize = 64;

/// Keys that a full leaf grows by. Small, because memory is mostly leaves.
const LEAF_GROWTH_KEYS: usize = 4;

/// The node over a set that is not empty.
#[derive(Clone)]
pub(crate) enum Node {
    Leaf(Arc<Leaf>),
    Page(Arc<Page>),
    /// A leaf or a page that lies elsewhere until it is needed.
    Stored(Arc<Stored>),
}

/// *Holds*: 1 to 64 keys, ascending.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) keys: Vec<KeyBytes>,
    hash: OnceLock<Hash>,
}

/// *Holds*: more than 64 keys below, at least two children, all under `at`.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) at: Prefix,
    pub(crate) count: u64,
    pub(crate) children: [Option<Node>; 16],
    hash: OnceLock<Hash>,
}

impl Node {
    /// The node over ascending, distinct keys; `None` for no keys.
    pub(crate) fn build(keys: &[KeyBytes]) -> Option<Self> {
        let (first, last) = (keys.first()?, keys.last()?);
        if keys.len() <= LEAF_KEYS_MAX {
            return Some(Self::leaf(keys.to_vec()));
        }
        let depth = common_nibbles(first, last);
        let mut rest = keys;
        let children = array::from_fn(|nibble| {
            let end = rest.partition_point(|key| usize::from(nibble_of(key, depth)) <= nibble);
            let (under, behind) = rest.split_at(end);
            rest = behind;
            Self::build(under)
        });
        Some(Self::Page(Arc::new(Page {
            at: Prefix::of(first, depth),
            count: keys.len() as u64,
            children,
            hash: OnceLock::new(),
        })))
    }

    /// The node over parts, which follow one another; `None` for none.
    pub(crate) fn join(parts: &[Arc<Stored>], from: usize) -> Result<Option<Self>, PartsError> {
        let (first, last) = match parts {
            [] => return Ok(None),
            [only] => return Ok(Some(Self::Stored(Arc::clone(only)))),
            [first, .., last] => (first.part.first.to_bytes(), last.last),
        };
        let count = parts.iter().map(|stored| stored.part.count).sum();
        let depth = common_nibbles(&first, &last);
        let mut children = array::from_fn(|_| None);
        let mut rest = parts;
        while let Some(next) = rest.first() {
            let at = from + parts.len() - rest.len();
            let nibble = nibble_of(&next.part.first.to_bytes(), depth);
            let end = rest.partition_point(|stored| nibble_of(&stored.last, depth) <= nibble);
            // A part that spans two slots, or follows one in a slot already filled.
            if count <= LEAF_KEYS_MAX as u64 || end == 0 || children[usize::from(nibble)].is_some()
            {
                return Err(PartsError(at));
            }
            children[usize::from(nibble)] = Self::join(&rest[..end], at)?;
            rest = &rest[end..];
        }
        let at = Prefix::of(&first, depth);
        Ok(Some(Self::Page(Arc::new(Page { at, count, children, hash: OnceLock::new() }))))
    }

    /// Cuts the trie into whole nodes of at most `limit` keys, as few as can be, in order.
    pub(crate) fn cut(&self, limit: u64, into: &mut Vec<Part>) {
        match self {
            Self::Page(page) if page.count > limit.max(LEAF_KEYS_MAX as u64) => {
                page.children.iter().flatten().for_each(|child| child.cut(limit, into));
            }
            Self::Stored(stored) if stored.part.count > limit.max(LEAF_KEYS_MAX as u64) => {
                self.opened().into_iter().for_each(|node| node.cut(limit, into));
            }
            Self::Stored(stored) => into.push(stored.part),
            Self::Leaf(_) | Self::Page(_) => {
                let mut keys = Iter::over(self);
                if let Some(first) = keys.next() {
                    let last = keys.last().unwrap_or(first);
                    into.push(Part { first, last, count: self.count(), hash: self.hash() });
                }
            }
        }
    }

    /// The lowest key that is not below `bound`.
    pub(crate) fn first_from(&self, bound: &KeyBytes) -> Option<KeyBytes> {
        match self {
            Self::Leaf(leaf) => {
                leaf.keys.get(leaf.keys.partition_point(|key| key < bound)).copied()
            }
            Self::Page(page) => {
                let depth = page.at.nibbles();
                let first = match Prefix::of(bound, depth).cmp(&page.at) {
                    Ordering::Less => 0,
                    Ordering::Equal => usize::from(nibble_of(bound, depth)),
                    Ordering::Greater => return None,
                };
                page.children[first..].iter().flatten().find_map(|child| child.first_from(bound))
            }
            Self::Stored(stored) if stored.last < *bound => None,
            Self::Stored(stored) => {
                let first = stored.part.first.to_bytes();
                if first >= *bound { Some(first) } else { stored.node()?.first_from(bound) }
            }
        }
    }

    /// The lowest and the highest key.
    fn ends(&self) -> Option<(KeyBytes, KeyBytes)> {
        match self {
            Self::Leaf(leaf) => Some((*leaf.keys.first()?, *leaf.keys.last()?)),
            Self::Page(page) => page.ends(),
            Self::Stored(stored) => Some((stored.part.first.to_bytes(), stored.last)),
        }
    }

    /// The leaf or page itself; `None` when it lies elsewhere and is not to be had.
    pub(crate) fn opened(&self) -> Option<&Self> {
        match self {
            Self::Stored(stored) => stored.node(),
            Self::Leaf(_) | Self::Page(_) => Some(self),
        }
    }

    fn leaf(keys: Vec<KeyBytes>) -> Self {
        Self::Leaf(Arc::new(Leaf { keys, hash: OnceLock::new() }))
    }

    /// Adds a key that is not there yet.
    pub(crate) fn insert(slot: &mut Option<Self>, key: &KeyBytes) {
        Self::open(slot);
        match slot {
            Some(Self::Stored(_)) => unreachable!("it was just opened"),
            None => *slot = Some(Self::leaf(vec![*key])),
            Some(Self::Leaf(leaf)) if leaf.keys.len() < LEAF_KEYS_MAX => {
                Arc::make_mut(leaf).insert(key);
            }
            Some(Self::Leaf(leaf)) => {
                let mut keys = leaf.keys.clone();
                keys.insert(keys.partition_point(|other| other < key), *key);
                *slot = Self::build(&keys);
            }
            Some(Self::Page(page)) if page.at.contains_bytes(key) => {
                let page = Arc::make_mut(page);
                page.hash = OnceLock::new();
                page.count += 1;
                Self::insert(page.child_mut(key), key);
            }
            Some(Self::Page(page)) => *slot = Some(Self::page_above(page, key)),
        }
    }

    /// A page over an existing page and one key that is not under it.
    fn page_above(page: &Arc<Page>, key: &KeyBytes) -> Self {
        let depth = common_nibbles(page.at.bytes(), key);
        let mut children = array::from_fn(|_| None);
        let of_page = usize::from(nibble_of(page.at.bytes(), depth));
        children[of_page] = Some(Self::Page(Arc::clone(page)));
        children[usize::from(nibble_of(key, depth))] = Some(Self::leaf(vec![*key]));
        Self::Page(Arc::new(Page {
            at: Prefix::of(key, depth),
            count: page.count + 1,
            children,
            hash: OnceLock::new(),
        }))
    }

    /// Takes out a key that is there.
    pub(crate) fn remove(slot: &mut Option<Self>, key: &KeyBytes) {
        Self::open(slot);
        match slot {
            Some(Self::Stored(_)) => unreachable!("it was just opened"),
            None => {}
            Some(Self::Leaf(leaf)) if leaf.keys.len() <= 1 => *slot = None,
            Some(Self::Leaf(leaf)) => Arc::make_mut(leaf).remove(key),
            Some(Self::Page(page)) if page.count <= LEAF_KEYS_MAX as u64 + 1 => {
                let left = Iter::over_page(page).bytes().filter(|other| *other != key);
                *slot = Some(Self::leaf(left.copied().collect()));
            }
            Some(Self::Page(page)) => {
                let page = Arc::make_mut(page);
                page.hash = OnceLock::new();
                page.count -= 1;
                Self::remove(page.child_mut(key), key);
                if let Some(only) = page.only_child() {
                    *slot = Some(only);
                }
            }
        }
    }

    /// What is to be changed must be at hand.
    fn open(slot: &mut Option<Self>) {
        if let Some(Self::Stored(stored)) = slot {
            *slot = stored.node().cloned();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.part.count,
            Self::Leaf(leaf) => leaf.keys.len() as u64,
            Self::Page(page) => page.count,
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        match self {
            Self::Stored(stored) => stored.part.hash,
            Self::Leaf(leaf) => leaf.hash(),
            Self::Page(page) => page.hash(),
        }
    }
}

impl Leaf {
    fn insert(&mut self, key: &KeyBytes) {
        self.hash = OnceLock::new();
        if self.keys.len() == self.keys.capacity() {
            self.keys.reserve_exact(LEAF_GROWTH_KEYS);
        }
        let at = self.keys.partition_point(|other| other < key);
        self.keys.insert(at, *key);
    }

    fn remove(&mut self, key: &KeyBytes) {
        self.hash = OnceLock::new();
        if let Ok(at) = self.keys.binary_search(key) {
            self.keys.remove(at);
        }
        if self.keys.capacity() > self.keys.len() + 2 * LEAF_GROWTH_KEYS {
            self.keys.shrink_to(self.keys.len() + LEAF_GROWTH_KEYS);
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| leaf_hash(&self.keys))
    }
}

impl Page {
    /// The lowest and the highest key below.
    pub(crate) fn ends(&self) -> Option<(KeyBytes, KeyBytes)> {
        let mut children = self.children.iter().flatten();
        let first = children.next()?;
        let last = children.next_back().unwrap_or(first);
        Some((first.ends()?.0, last.ends()?.1))
    }

    fn child_mut(&mut self, key: &KeyBytes) -> &mut Option<Node> {
        &mut self.children[usize::from(nibble_of(key, self.at.nibbles()))]
    }

    /// The child for a key, whether or not the key is under this page.
    pub(crate) fn child(&self, key: &KeyBytes) -> Option<&Node> {
        self.children[usize::from(nibble_of(key, self.at.nibbles()))].as_ref()
    }

    fn only_child(&self) -> Option<Node> {
        let mut present = self.children.iter().flatten();
        match (present.next(), present.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| page_hash(self.at.nibbles(), self.count, slot_root(self.slots())))
    }

    fn slots(&self) -> [Hash; 16] {
        array::from_fn(|nibble| self.children[nibble].as_ref().map_or(Hash::EMPTY, Node::hash))
    }

    /// What leads from the slot of a key to this page's hash.
    pub(crate) fn step(&self, key: &KeyBytes) -> Step {
        let depth = self.at.nibbles();
        let mut at = usize::from(nibble_of(key, depth));
        let (mut slots, mut width) = (self.slots(), 16);
        let siblings = array::from_fn(|_| {
            let sibling = slots[at ^ 1];
            width = pair_up(&mut slots, width);
            at /= 2;
            sibling
        });
        Step { depth, count: self.count, siblings }
    }
}

/// One page on the way from a leaf to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) depth: u8,
    pub(crate) count: u64,
    /// The other half of each pair that the way goes through, that of two slots first.
    pub(crate) siblings: [Hash; 4],
}

impl Step {
    /// The page's hash, from that of the slot in which `key` is.
    pub(crate) fn hash(&self, key: &KeyBytes, slot: Hash) -> Hash {
        let mut at = nibble_of(key, self.depth);
        let mut hash = slot;
        for sibling in self.siblings {
            hash = if at.is_multiple_of(2) { pair(hash, sibling) } else { pair(sibling, hash) };
            at /= 2;
        }
        page_hash(self.depth, self.count, hash)
    }
}

/// The hash of 1 to 64 ascending keys.
pub(crate) fn leaf_hash(keys: &[KeyBytes]) -> Hash {
    digest(Domain::Leaf, &[&[keys.len() as u8], keys.as_flattened()])
}

fn page_hash(depth: u8, count: u64, slot_root: Hash) -> Hash {
    digest(Domain::Page, &[&[depth], &count.to_be_bytes(), &slot_root.0])
}

fn slot_root(mut slots: [Hash; 16]) -> Hash {
    let mut width = slots.len();
    while width > 1 {
        width = pair_up(&mut slots, width);
    }
    slots[0]
}

/// Hashes the first `width` in pairs, in place; returns how many pairs there are.
fn pair_up(slots: &mut [Hash; 16], width: usize) -> usize {
    for at in 0..width / 2 {
        slots[at] = pair(slots[2 * at], slots[2 * at + 1]);
    }
    width / 2
}

fn pair(left: Hash, right: Hash) -> Hash {
    digest(Domain::SlotPair, &[&left.0, &right.0])
}

#[cfg(test)]
impl Node {
    /// This node and all below it: where it lies in memory, and whether its hash is known.
    pub(crate) fn inspect(&self, found: &mut Vec<(usize, bool)>) {
        match self {
            Self::Stored(stored) => {
                found.push((Arc::as_ptr(stored) as usize, true));
            }
            Self::Leaf(leaf) => {
                found.push((Arc::as_ptr(leaf) as usize, leaf.hash.get().is_some()));
            }
            Self::Page(page) => {
                found.push((Arc::as_ptr(page) as usize, page.hash.get().is_some()));
                page.children.iter().flatten().for_each(|child| child.inspect(found));
            }
        }
    }
}
