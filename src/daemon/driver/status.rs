//! What a node says of itself and of its peers.
//! Never changes anything.

use super::Driver;
use crate::api::{BrakeStatus, ComparisonStatus, CopiesStatus, MemberStatus, NodeStatus};
use quar_base::roster::Member;
use quar_store::Which;

impl Driver {
    pub(super) fn status(&self) -> NodeStatus {
        let roster = self.store.roster();
        let settings = self.store.settings();
        let counts = self.store.counts();
        let view = self.store.view(Which::Current);
        let lost = self.node.lost(self.clock.now());
        let mut offences = self.offences.all();
        offences.extend(self.node.out_of_time().map(|(kind, times)| (kind.to_owned(), times)));
        let (sent_bytes, received_bytes) = self.links.traffic();
        let members = roster.members.iter().map(|member| self.member_status(member)).collect();
        let name = roster.member(settings.member).map_or_else(String::new, |me| me.name.clone());
        let mut status = NodeStatus {
            name,
            member: settings.member.to_string(),
            cluster: settings.cluster.to_string(),
            roster_epoch: roster.epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cutoff: view.cutoff().0,
            state_root: view.state_root().to_string(),
            live_root: self.store.live_root().to_string(),
            records: counts.records,
            wanted: counts.wanted,
            lost: lost.bodies,
            lost_messages: lost.messages.iter().map(ToString::to_string).collect(),
            under_replicated: self.node.under_replicated(),
            offences,
            sent_bytes,
            received_bytes,
            // Whoever counts deletions, or copies, fills it in.
            brake: BrakeStatus::default(),
            copies: CopiesStatus::default(),
            backfill: crate::daemon::copies::backfill(&self.node.backfill(), self.clock.now()),
            upkeep: self.upkeep.status(),
            disk: self.room.status(),
            failed: self.store.has_failed(),
            warnings: Vec::new(),
            members,
        };
        status.warnings = crate::daemon::warnings::list(&status);
        status
    }

    fn member_status(&self, member: &Member) -> MemberStatus {
        let is_self = member.id == self.store.settings().member;
        let transport = self.links.transport(member.id);
        let known = self.node.peer_report(member.id);
        MemberStatus {
            name: member.name.clone(),
            id: member.id.to_string(),
            node_number: member.node_number,
            location: member.location.clone(),
            is_self,
            state: if is_self || transport.is_some() { "up" } else { "down" }.to_owned(),
            transport: transport.map_or_else(String::new, |kind| kind.to_string().to_lowercase()),
            in_sync: is_self || known.in_sync,
            records: known.records,
            wanted: known.wanted,
            comparisons: ComparisonStatus {
                made: known.comparisons.made,
                equal: known.comparisons.equal,
                bytes: known.comparisons.bytes,
            },
            clock_offset_ms: known.clock_offset_ms,
            queued_bytes: known.queued_bytes,
            refuses: known.refuses.to_owned(),
            offences: self.offences.of(member.id),
            kept_out_seconds: self.links.kept_out(member.id).as_secs(),
        }
    }
}
