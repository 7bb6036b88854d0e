//! Frames of peers: handed to the node one by one, and what they cost.
//! Never judges an item: the node does.

use super::Driver;
use crate::daemon::links::rest;
use quar_base::ids::MemberId;
use quar_net::Frame;
use quar_node::{Input, Output};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// What a batch that brings nothing welcome costs beside the looking at it, and each item in it: a commit, an answer,
/// and all that is done with what was stored.
const BATCH_COST: Duration = Duration::from_micros(500);
const ITEM_COST: Duration = Duration::from_micros(50);

impl Driver {
    /// Frames that came in on a connection. Who brings no mail is read from again after a rest.
    pub(super) fn take_frames(
        &mut self,
        peer: MemberId,
        number: u64,
        frames: &[Frame],
        turn: OwnedSemaphorePermit,
        outputs: &mut Vec<Output>,
    ) {
        let now = self.clock.now();
        let begun = self.clock.since_start();
        let (progress, unwelcome) = (self.node.progress(), self.node.unwelcome());
        for frame in frames {
            // The next frame of a peer that did enough is not looked at any more.
            if !self.is_live(peer, number) || self.peers[&peer].is_cut {
                break;
            }
            let (kind, payload, from) = (frame.kind, &frame.payload[..], outputs.len());
            let before = self.clock.since_start();
            self.node.handle(Input::Frame { peer, kind, payload }, now, outputs);
            let cost = self.clock.since_start() - before;
            for output in outputs.extract_if(from.., |it| matches!(it, Output::Offence { .. })) {
                if let Output::Offence { peer, offence } = output {
                    self.offend(peer, offence, cost);
                }
            }
        }
        if self.node.progress() == progress {
            let (batches, items) = self.node.unwelcome();
            let times =
                |cost: Duration, number: u64| cost * u32::try_from(number).unwrap_or(u32::MAX);
            let cost = self.clock.since_start() - begun
                + times(BATCH_COST, batches - unwelcome.0)
                + times(ITEM_COST, items - unwelcome.1);
            rest(self.links.rest_after(peer, cost), turn);
        }
    }

    /// An offence that took so long to find out.
    pub(super) fn offend(&mut self, peer: MemberId, offence: &'static str, cost: Duration) {
        self.offences.count(offence, Some(peer));
        if self.peers.get(&peer).is_none_or(|link| link.is_cut) {
            return;
        }
        tracing::warn!(%peer, offence, "refused an item of a peer");
        if self.links.is_enough(peer, cost) {
            self.end_link(peer, "too-many-offences");
        }
    }
}
