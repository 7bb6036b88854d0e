//! Items that peers offered: which of a batch are decided, and what to tell the peer.
//! Never acknowledges a batch before each of its items is durable here or refused.

use quar_base::ids::MemberId;
use quar_base::record::Kind;
use quar_store::{Refusal, Ticket};
use quar_sync::Item;
use std::collections::{BTreeMap, HashMap};

/// So many items that no honest peer offers end the looking at a batch: each may cost the decoding
/// of a long body.
const OFFENCES_PER_BATCH: usize = 8;

/// One batch of a peer, by its sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BatchId {
    pub(crate) peer: MemberId,
    pub(crate) sequence: u64,
}

/// A batch whose items are all decided.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) batch: BatchId,
    /// Positions of the refused items, with the reasons.
    pub(crate) refused: Vec<(u16, Refusal)>,
}

#[derive(Default)]
struct Open {
    undecided: usize,
    refused: Vec<(u16, Refusal)>,
}

/// All batches that are not decided yet.
#[derive(Default)]
pub(crate) struct Offers {
    open: HashMap<BatchId, Open>,
    tickets: HashMap<Ticket, (BatchId, u16)>,
    welcome: u64,
    unwelcome: (u64, u64),
    out_of_time: BTreeMap<&'static str, u64>,
}

impl Offers {
    /// Has the items of a peer's batch admitted, but for what comes behind too many bad ones.
    pub(crate) fn admit(
        &mut self,
        peer: MemberId,
        items: Vec<Item>,
        admit: impl Fn(Item) -> Result<Ticket, Refusal>,
    ) -> Vec<Result<Ticket, Refusal>> {
        let (mut offences, before) = (0, self.welcome);
        let admit_one = |item: Item| {
            if offences >= OFFENCES_PER_BATCH {
                return Err(Refusal::Invalid("it came behind too many bad ones".into()));
            }
            let is_welcome = is_welcome(&item, peer);
            let admitted = admit(item);
            self.welcome += u64::from(is_welcome && admitted.is_ok());
            offences += usize::from(admitted.as_ref().is_err_and(Refusal::is_offence));
            admitted
        };
        let admitted: Vec<_> = items.into_iter().map(admit_one).collect();
        if self.welcome == before {
            self.unwelcome.0 += 1;
            self.unwelcome.1 += admitted.len() as u64;
        }
        admitted
    }

    /// Items that were admitted since the start, of those that no peer can make up at will: mails with their
    /// bodies, and actions of other members that it passes on.
    pub(crate) fn welcome(&self) -> u64 {
        self.welcome
    }

    /// Batches without any such item since the start, and the items in them.
    pub(crate) fn unwelcome(&self) -> (u64, u64) {
        self.unwelcome
    }

    /// Counts a refusal, if it is for the record's time.
    pub(crate) fn count_out_of_time(&mut self, refusal: &Refusal) {
        if matches!(refusal, Refusal::Ahead(_) | Refusal::BelowFloor { .. }) {
            *self.out_of_time.entry(refusal.name()).or_default() += 1;
        }
    }

    /// Records that were refused for their time since the start, by kind.
    pub(crate) fn out_of_time(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.out_of_time.iter().map(|(kind, times)| (*kind, *times))
    }

    /// A batch came in; `admitted` has a ticket or a refusal for each item, in order.
    pub(crate) fn begin(
        &mut self,
        batch: BatchId,
        admitted: Vec<Result<Ticket, Refusal>>,
    ) -> Option<Decided> {
        let mut open = Open::default();
        for (at, result) in admitted.into_iter().enumerate() {
            let position = u16::try_from(at).unwrap_or(u16::MAX);
            match result {
                Ok(ticket) => {
                    open.undecided += 1;
                    self.tickets.insert(ticket, (batch, position));
                }
                Err(refusal) => open.refused.push((position, refusal)),
            }
        }
        if open.undecided == 0 {
            return Some(Decided { batch, refused: open.refused });
        }
        self.open.insert(batch, open);
        None
    }

    /// One item is decided; the batch, when it was its last.
    pub(crate) fn decide(&mut self, ticket: Ticket, refusal: Option<Refusal>) -> Option<Decided> {
        let (batch, position) = self.tickets.remove(&ticket)?;
        let open = self.open.get_mut(&batch)?;
        open.undecided -= 1;
        open.refused.extend(refusal.map(|refusal| (position, refusal)));
        if open.undecided > 0 {
            return None;
        }
        let refused = self.open.remove(&batch).map(|open| open.refused).unwrap_or_default();
        Some(Decided { batch, refused })
    }

    /// Nobody waits for this peer's batches any more; their items are still committed. Its next connection numbers its
    /// batches from the first again: what is decided of these must not count there.
    pub(crate) fn forget(&mut self, peer: MemberId) {
        self.open.retain(|batch, _| batch.peer != peer);
        self.tickets.retain(|_, (batch, _)| batch.peer != peer);
    }
}

fn is_welcome(item: &Item, peer: MemberId) -> bool {
    match item {
        Item::Record(record, None) => {
            record.head().kind != Kind::ARRIVAL && record.head().author != peer
        }
        Item::Record(_, Some(_)) | Item::Body(..) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchId, Offers};
    use quar_base::ids::MemberId;
    use quar_store::{Refusal, Ticket};

    const BATCH: BatchId = BatchId { peer: MemberId([1; 16]), sequence: 7 };

    #[test]
    fn a_batch_is_decided_with_its_last_item() {
        let mut offers = Offers::default();
        let admitted = vec![Ok(Ticket(1)), Err(Refusal::Covered), Ok(Ticket(2))];
        assert!(offers.begin(BATCH, admitted).is_none());
        assert!(offers.decide(Ticket(1), None).is_none());
        let decided = offers.decide(Ticket(2), Some(Refusal::Full)).unwrap();
        assert_eq!(decided.batch, BATCH);
        assert_eq!(decided.refused, [(1, Refusal::Covered), (2, Refusal::Full)]);
    }

    #[test]
    fn a_batch_of_refusals_is_decided_at_once() {
        let decided = Offers::default().begin(BATCH, vec![Err(Refusal::Covered)]).unwrap();
        assert_eq!(decided.refused.len(), 1);
    }

    #[test]
    fn a_forgotten_batch_is_not_answered() {
        let mut offers = Offers::default();
        offers.begin(BATCH, vec![Ok(Ticket(1))]);
        offers.forget(BATCH.peer);
        assert!(offers.decide(Ticket(1), None).is_none());
        assert!(offers.decide(Ticket(9), None).is_none());
    }

    #[test]
    fn what_came_on_an_earlier_connection_decides_nothing_on_the_next() {
        let mut offers = Offers::default();
        offers.begin(BATCH, vec![Ok(Ticket(1))]);
        offers.forget(BATCH.peer);
        // The same number again.
        assert!(offers.begin(BATCH, vec![Ok(Ticket(2))]).is_none());
        assert!(offers.decide(Ticket(1), None).is_none());
        let decided = offers.decide(Ticket(2), Some(Refusal::Full)).unwrap();
        assert_eq!(decided.refused, [(0, Refusal::Full)]);
    }
}
