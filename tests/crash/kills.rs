//! A daemon that is killed again and again, at any moment, has what it acknowledged.
//! Never stops it well.
//!
//! A round: mail on several connections, deletes beside it, SIGKILL after a random time; then, by the
//! seed, kills during the next start and restarts without any traffic; then everything is checked.

use crate::expected::{Expected, Heard, mail, send};
use crate::support::{Node, number};
use quar_base::rng::Rng;
use quard::api::DeleteReply;
use quard::demo::feed::Feeder;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Rounds unless QUAR_KILL_ROUNDS says otherwise.
const ROUNDS: u64 = 20;
const CONNECTIONS: usize = 4;
/// Every so many rounds begin with an empty store.
const ROUNDS_TO_A_STORE: u64 = 7;

type Shared = Arc<Mutex<Expected>>;

/// Feeds until the daemon is gone; deletes a quarter of what it took.
async fn feed(node: &Node, shared: Shared, mut rng: Rng, first: u64) {
    let mut feeder = Feeder::connect(node.lmtp).await.ok();
    for number in first.. {
        let bytes = [300, 3000, 30_000, 300_000][rng.below(4) as usize] + rng.below(500) as usize;
        let class = ["spam", "virus", "nonspam"][rng.below(3) as usize];
        let body = mail(number, bytes);
        // Until it is answered it may be there.
        shared.lock().unwrap().unanswered.insert(body.clone());
        let heard = send(node, &mut feeder, class, &body).await;
        shared.lock().unwrap().note(&body, &heard);
        match heard {
            Heard::Taken(id) if rng.below(4) == 0 => delete(node, &shared, &id).await,
            Heard::Taken(_) => {}
            Heard::Refused(code, text) => panic!("refused: {code} {text}\n{}", node.report()),
            Heard::Nothing => return,
        }
    }
}

async fn delete(node: &Node, shared: &Shared, id: &str) {
    {
        let mut expected = shared.lock().unwrap();
        let body = expected.kept.remove(id).unwrap();
        expected.unsure.insert(id.to_owned(), body);
    }
    let Ok(mut client) = node.client().await else { return };
    if client.delete::<DeleteReply>(&format!("/v1/messages/{id}")).await.is_ok() {
        let mut expected = shared.lock().unwrap();
        expected.unsure.remove(id);
        expected.gone.insert(id.to_owned());
    }
}

/// Kills a daemon that starts, at any moment of it.
async fn kill_in_start(node: &mut Node, rng: &mut Rng) {
    node.launch(None);
    tokio::time::sleep(Duration::from_micros(rng.below(60_000))).await;
    node.kill();
}

/// One round, up to the kill.
async fn feed_and_kill(node: &mut Node, shared: &Shared, rng: &mut Rng, first: u64) {
    node.start_well().await;
    let lifetime = Duration::from_micros(rng.below(400_000));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(node.pid()).unwrap());
    let kill = async {
        tokio::time::sleep(lifetime).await;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let living = &*node;
    let mut seed = || Rng::from_seed(rng.bytes());
    let rngs: [Rng; CONNECTIONS] = std::array::from_fn(|_| seed());
    let [a, b, c, d] = rngs;
    let all = async {
        tokio::join!(
            feed(living, shared.clone(), a, first),
            feed(living, shared.clone(), b, first + 100_000),
            feed(living, shared.clone(), c, first + 200_000),
            feed(living, shared.clone(), d, first + 300_000),
            kill,
        )
    };
    node.watched("a connection to a daemon that was killed", all).await;
    node.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_survives_a_kill_at_any_moment() {
    let rounds = number("QUAR_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("QUAR_KILL_SEED").unwrap_or(1);
    let mut rng = Rng::from_seed([seed as u8; 32]);
    let (start, mut mails, mut deletes, mut in_start) = (Instant::now(), 0, 0, 0);
    let mut node = Node::create();
    let mut shared = Shared::default();
    for at in 0..rounds {
        if at % ROUNDS_TO_A_STORE == 0 {
            node.reset(None);
            shared = Shared::default();
        }
        let before = {
            let held = shared.lock().unwrap();
            (held.kept.len() + held.gone.len(), held.gone.len())
        };
        feed_and_kill(&mut node, &shared, &mut rng, at * 1_000_000).await;
        // Killed while it starts, none to three times, with no traffic between.
        let times = rng.below(4);
        for _ in 0..times {
            kill_in_start(&mut node, &mut rng).await;
        }
        in_start += times;
        let expected = shared.lock().unwrap().clone();
        mails += expected.kept.len() + expected.gone.len() - before.0;
        deletes += expected.gone.len() - before.1;
        let what = format!("round {at} of seed {seed}");
        // Twice, and nothing comes in between: what the first start did is held against the second.
        for restart in ["first", "second"] {
            node.start_well().await;
            let what = format!("{what}, {restart} restart");
            node.watched(&what, expected.check(&node, &what)).await;
            node.kill();
        }
        assert!(!node.log().contains("panicked"), "{what}:\n{}", node.report());
    }
    assert!(mails > rounds as usize && deletes > 0, "{mails} mails, {deletes} deletes only");
    let seconds = start.elapsed().as_secs();
    eprintln!(
        "{rounds} rounds of seed {seed}: {mails} mails and {deletes} deletes acknowledged, \
         {in_start} kills while it started, {seconds} s"
    );
}
