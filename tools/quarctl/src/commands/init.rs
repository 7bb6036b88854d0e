//! `init`: makes a cluster, or changes who belongs to it.
//! Never prints a key: it stands in a file that only its owner can read.

use crate::arguments::Init;
use crate::failure::Ending;
use crate::output::Output;
use quard::authority::{
    AUTHORITY_DIRECTORY, CreatedMember, StaticPlan, create_cluster, extend_roster,
};
use quard::daemon::clock::{Clock, entropy};
use serde_json::json;

/// Makes the cluster that the plan describes.
pub fn init(init: &Init, output: &mut Output) -> anyhow::Result<Ending> {
    let plan = StaticPlan::load(&init.plan)?;
    let now = Clock::start().now();
    if init.extend {
        return extend(init, &plan, output);
    }
    let created = create_cluster(&plan, entropy()?, now, &init.out)?;
    if output.is_json() {
        output.json(&json!({
            "cluster": created.cluster.to_string(),
            "authority": created.authority,
            "members": members(&created.members),
        }))?;
        return Ok(Ending::Done);
    }
    output.line(format!("cluster {}", created.cluster))?;
    list(&created.members, output)?;
    output.line(format!(
        "\nCopy each directory's contents to / of its node and start quard there.\n\
         Keep {} and its cluster.key in a safe place, away from the nodes:\n\
         who has them can read all mail and admit members.",
        created.authority.display()
    ))?;
    Ok(Ending::Done)
}

fn extend(init: &Init, plan: &StaticPlan, output: &mut Output) -> anyhow::Result<Ending> {
    let authority = init.out.join(AUTHORITY_DIRECTORY);
    let extended = extend_roster(&authority, plan, entropy()?, Clock::start().now())?;
    if output.is_json() {
        output.json(&json!({
            "roster_epoch": extended.epoch,
            "roster": extended.roster,
            "added": members(&extended.added),
            "removed": extended.removed,
            "changed": extended.changed,
        }))?;
        return Ok(Ending::Done);
    }
    output.line(format!("roster of epoch {}", extended.epoch))?;
    list(&extended.added, output)?;
    for name in &extended.removed {
        output.line(format!("  {name:<16} removed"))?;
    }
    for name in &extended.changed {
        output.line(format!("  {name:<16} changed"))?;
    }
    output.line(format!(
        "\nCopy {} to etc/quard/roster.toml of one node and restart it: the others adopt it.",
        extended.roster.display()
    ))?;
    Ok(Ending::Done)
}

fn members(all: &[CreatedMember]) -> Vec<serde_json::Value> {
    let value = |member: &CreatedMember| {
        let (name, id, root) = (&member.name, member.id.to_string(), &member.root);
        json!({ "name": name, "id": id, "root": root })
    };
    all.iter().map(value).collect()
}

fn list(members: &[CreatedMember], output: &mut Output) -> anyhow::Result<()> {
    for member in members {
        let root = member.root.display();
        output.line(format!("  {:<16} {}  {root}", member.name, member.id))?;
    }
    Ok(())
}
