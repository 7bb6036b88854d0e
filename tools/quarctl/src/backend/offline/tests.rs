//! Commands on a stopped node's store, opened and closed between them.
//! Never a daemon.

use crate::backend::Work;
use crate::failure::{Ending, ending_of, kind};
use crate::testing::Nodes;
use quar_base::class::Class;
use quar_base::time::{Millis, UnixMillis};
use quard::daemon::clock::Clock;
use quard::daemon::handle::Arrived;
use quard::intake::Mail;
use quard::lock::DataLock;

fn mail(text: &[u8]) -> Mail {
    let mut mail = Mail {
        class: Class::VIRUS,
        envelope: quar_base::arrival::Envelope::default(),
        body: text.to_vec().into(),
        score_milli: 1500,
        reason: "Eicar".into(),
    };
    mail.envelope.recipients = vec!["a@x".into(), "b@x".into()];
    mail
}

#[test]
fn a_stopped_node_takes_lists_opens_and_deletes_messages() {
    let nodes = Nodes::create();
    let text = b"From: me\r\nSubject: Gr\xfc\xdfe\r\n\r\n\0bare\rand\n.\r\nno end";
    let id = nodes.open(1).unwrap().put(mail(text), Arrived::Now).unwrap().id;
    // Each open is another one: what was put is durable.
    let mut backend = nodes.open(1).unwrap();
    assert_eq!(&backend.body(&id).unwrap()[..], text);
    let short = crate::output::short_id(&id);
    let detail = backend.show(&short).unwrap();
    assert_eq!((detail.summary.id.as_str(), detail.summary.score), (id.as_str(), 1.5));
    assert_eq!(detail.summary.node, "n1");
    let unknown = backend.delete(&short, &["c@x".into()]).expect_err("no recipient");
    assert_eq!(kind(&unknown), Some("invalid"));
    let half = backend.delete(&short, &["A@X".into()]).unwrap();
    assert_eq!((half.gone, &half.recipients[..]), (false, &["a@x".to_owned()][..]));
    assert!(backend.delete(&short, &["b@x".into()]).unwrap().gone);
    assert_eq!(ending_of(&backend.show(&id).expect_err("deleted")), Ending::NotFound);
    backend.finish(Work::Deleted).unwrap();
    let mut backend = nodes.open(1).unwrap();
    assert_eq!(kind(&backend.body(&id).expect_err("deleted")), Some("not_found"));
}

#[test]
fn what_is_running_is_not_opened() {
    let nodes = Nodes::create();
    let _daemon = DataLock::acquire(&nodes.root(1).join("var/lib/quard")).unwrap();
    for line in [&["ls"][..], &["--offline", "ls"]] {
        let error = nodes.run(1, line).expect_err("the lock is held");
        let text = format!("{error:#}");
        assert!(text.contains("the daemon runs"), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
    }
}

#[test]
fn what_needs_a_daemon_says_so() {
    let nodes = Nodes::create();
    for line in [&["status"][..], &["release", "4f"], &["--offline", "status"]] {
        assert!(nodes.run(1, line).is_err(), "{line:?}");
    }
    let error = nodes.run(1, &["--socket", "/nowhere/s", "ls"]).expect_err("named");
    assert!(format!("{error:#}").contains("/nowhere/s"));
}

#[test]
fn commands_work_on_a_stopped_node() {
    let nodes = Nodes::create();
    let file = nodes.scratch().join("mail.eml");
    std::fs::write(&file, "Subject: one two\r\n\r\nx").unwrap();
    let put = ["put", file.to_str().unwrap(), "--recipient", "a@x", "--queue-id", "4ABC"];
    let (id, ending) = nodes.run(1, &put).unwrap();
    let id = id.trim();
    assert_eq!(ending, Ending::Done);
    assert_eq!(nodes.run(1, &put).unwrap().0.trim(), id, "a resend is one message");
    let page = nodes.json(1, &["ls", "--subject", "two ONE"]);
    assert_eq!(page["messages"][0]["id"], id);
    assert_eq!(nodes.json(1, &["ls", "--class", "virus"])["messages"], serde_json::json!([]));
    let out = nodes.scratch().join("out.eml");
    nodes.run(1, &["cat", id, "-o", out.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&file).unwrap());
    assert_eq!(nodes.run(1, &["cat", id]).unwrap().0, "Subject: one two\r\n\r\nx");
    let (text, ending) = nodes.run(1, &["rm", id, "ffff"]).unwrap();
    assert!(text.ends_with("deleted\n"), "{text}");
    assert_eq!(ending, Ending::NotFound);
    let error = nodes.run(1, &["show", id]).expect_err("deleted");
    assert_eq!(ending_of(&error), Ending::NotFound);
}

#[test]
fn a_message_is_held_and_let_go_on_a_stopped_node() {
    let nodes = Nodes::create();
    let text = b"Subject: kept\r\n\r\n\0bare\rand\n.\r\nno end";
    let id = nodes.open(1).unwrap().put(mail(text), Arrived::Now).unwrap().id;
    let short = crate::output::short_id(&id);
    let held = nodes.json(1, &["hold", &short])[0]["id"].as_str().unwrap().to_owned();
    assert!(held.starts_with("held-"), "{held}");
    let (again, ending) = nodes.run(1, &["hold", &id]).unwrap();
    assert!(again.contains("is held already"), "{again}");
    assert_eq!(ending, Ending::Done);
    nodes.run(1, &["rm", &id]).unwrap();
    assert_eq!(&nodes.open(1).unwrap().body(&held).unwrap()[..], text);
    let (shown, _) = nodes.run(1, &["show", &held]).unwrap();
    assert!(shown.contains(&format!("holds       {id}")), "{shown}");
    let listed = nodes.json(1, &["ls", "--class", "held"]);
    assert_eq!(listed["messages"][0]["id"], held.as_str());
    assert_eq!(nodes.json(1, &["hold", &id])[0]["duplicate"], true);
    assert_eq!(nodes.json(1, &["unhold", &id])[0]["ids"][0], held.as_str());
    for line in [&["unhold", &id][..], &["hold", &id], &["unhold", &held], &["hold", "ffff"]] {
        assert_eq!(nodes.run(1, line).unwrap().1, Ending::NotFound, "{line:?}");
    }
    assert_eq!(ending_of(&nodes.run(1, &["show", &held]).expect_err("let go")), Ending::NotFound);
}

#[test]
fn a_stopped_node_proves_what_it_holds_and_says_what_it_does_not() {
    let nodes = Nodes::create();
    let an_hour_ago = UnixMillis(Clock::start().now().0 - 3_600_000);
    let put =
        |text: &[u8], at| nodes.open(1).unwrap().put(mail(text), Arrived::Imported(at)).unwrap().id;
    let id = put(b"Subject: proven\r\n\r\n", an_hour_ago);
    let ahead = put(b"Subject: ahead\r\n\r\n", an_hour_ago.plus(Millis(5 * 3_600_000)));
    let file = nodes.scratch().join("proof");
    let out = ["--out", file.to_str().unwrap()];
    let (text, ending) = nodes.run(1, &[&["prove", &id[..]], &out[..]].concat()).unwrap();
    assert_eq!((text.as_str(), ending), ("", Ending::Done));
    // The other node's copy of the authority's certificate is found by itself.
    let verify = ["verify-proof", file.to_str().unwrap()];
    let told = nodes.json(2, &verify);
    assert_eq!((&told["node"], &told["message"]), (&"n1".into(), &id.as_str().into()));
    assert_eq!((&told["class"], &told["body_bytes"]), (&"virus".into(), &19.into()));
    let early = nodes.run(1, &["prove", &ahead]).expect_err("four hours ahead");
    assert_eq!(kind(&early), Some("not_yet"));
    assert!(early.to_string().contains("too new"), "{early}");
    nodes.run(1, &["rm", &id]).unwrap();
    let gone = nodes.run(1, &["prove", &id]).expect_err("deleted");
    assert!(gone.to_string().contains("was deleted"), "{gone}");
    assert_eq!(ending_of(&gone), Ending::NotFound);
    let never = nodes.run(1, &["prove", "ffff"]).expect_err("never came");
    assert_eq!(ending_of(&never), Ending::NotFound);
    assert_eq!(nodes.json(1, &verify), told, "what was proven stays proven");
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let long = nodes.run(1, &verify).expect_err("no proof");
    assert!(format!("{long:#}").contains("at most 18432 bytes"), "{long:#}");
    assert!(nodes.run(1, &["verify-proof", "/nowhere"]).is_err());
}

#[test]
fn what_messages_take_up_is_counted_on_a_stopped_node() {
    let nodes = Nodes::create();
    {
        let mut backend = nodes.open(1).unwrap();
        for number in 0..4 {
            let mut mail = mail(format!("Subject: {number}\r\n\r\n").as_bytes());
            mail.envelope.sender = format!("s@{}.example", number % 3);
            backend.put(mail, Arrived::Now).unwrap();
        }
    }
    let (text, ending) = nodes.run(1, &["du"]).unwrap();
    assert_eq!(ending, Ending::Done);
    assert!(text.lines().nth(1).unwrap().starts_with("virus "), "{text}");
    assert!(text.lines().last().unwrap().starts_with("total "), "{text}");
    let reply = nodes.json(1, &["du", "--by", "sender-domain"]);
    assert_eq!(reply["rows"].as_array().unwrap().len(), 3, "{reply}");
    assert_eq!(reply["rows"][0]["name"], "0.example", "two messages take most: {reply}");
    assert_eq!(
        (&reply["total"]["messages"], &reply["total"]["mail_bytes"]),
        (&4.into(), &56.into())
    );
    let one = nodes.json(1, &["du", "--by", "day", "--sender", "1.example"]);
    assert_eq!((&one["total"]["messages"], &one["file_bytes"]), (&1.into(), &().into()));
}
