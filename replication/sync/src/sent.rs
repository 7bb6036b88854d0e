//! One batch that is on its way: what is in it, until the peer acknowledges it.
//! Never holds the items themselves.

use crate::event::{Item, ItemName};

pub(crate) struct Sent {
    pub(crate) items: Vec<SentItem>,
    pub(crate) bytes: usize,
}

pub(crate) struct SentItem {
    pub(crate) name: ItemName,
    pub(crate) is_mail: bool,
    pub(crate) is_whole: bool,
}

impl Sent {
    pub(crate) fn has_mail(&self) -> bool {
        self.items.iter().any(|item| item.is_mail)
    }
}

impl From<&Item> for SentItem {
    fn from(item: &Item) -> Self {
        Self { name: item.name(), is_mail: item.is_mail(), is_whole: item.is_whole() }
    }
}
