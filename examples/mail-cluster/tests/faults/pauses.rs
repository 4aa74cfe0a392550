//! A node that sleeps past its lease (SIGSTOP), and wakes.

use std::time::{Duration, Instant};

use posthaste_mail_cluster::demo::client::{Delivery, Security, SmtpClient};
use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{House, ON_FIRST, SENDER, block_on, place, until};

/// How long the sleeper, alone and awake, is listened to.
const LISTEN: Duration = Duration::from_secs(2);

/// Whether node b sees itself leading the first volume, and in which epoch.
async fn led_by(house: &House, node: &str) -> Option<u64> {
    let report = house.cluster.status(B).await.ok()?;
    let volume = report.volumes.into_iter().find(|v| v.name == "vol1")?;
    (volume.leader.as_deref() == Some(node)).then_some(volume.epoch)
}

#[test]
fn a_node_that_slept_past_its_lease_acknowledges_nothing_when_it_wakes_and_rejoins() {
    block_on(async {
        let mut place = place();
        place.patience.command = Duration::from_secs(2);
        let mut house = House::lay_at(place, 32);
        house.begin().await;
        house.deliver(A, "before", ON_FIRST).await;
        let old = led_by(&house, "a").await.expect("node a leads its volume");

        // What it has in hand when it falls asleep: a letter that lacks its last dot, and a session.
        let world = house.world().clone();
        let bytes = world.ledger.enter("in-hand", b"\r\nx\r\n", vec![ON_FIRST], A);
        let mut smtp = SmtpClient::connect(&world.doors.smtp(A, Security::Plain)).await.expect("a session");
        let to = [world.people[ON_FIRST].address.as_str()];
        smtp.deliver_almost(SENDER, &to, &bytes).await.expect("all but the last dot");
        let mut imap = house.login(A, ON_FIRST).await;
        imap.select("INBOX").await.expect("an INBOX");

        house.cluster.stop(A).expect("it runs");
        smtp.send_last_dot().await.expect("the kernel takes it");
        let tag = imap.send_only("STORE 1 +FLAGS (Sleeper)").await.expect("the kernel takes it");
        // Its address cannot move on the loopback, where its sockets live on; its volume does.
        until("node b to lead the sleeper's volume", async || led_by(&house, "b").await.is_some()).await;
        house.deliver(B, "while-it-sleeps", ON_FIRST).await;
        let new = led_by(&house, "b").await.expect("node b leads");
        assert!(new > old, "epoch {new} after {old}");

        // It wakes where nobody hears it, so that nobody can have let it in again.
        [B, WITNESS].into_iter().for_each(|member| house.cluster.stop(member).expect("it runs"));
        house.cluster.wake(A).expect("it sleeps");
        let (woken, flag) = (Instant::now(), tokio::time::timeout(LISTEN, imap.answer_to(&tag)).await);
        assert!(!matches!(flag, Ok(Ok(()))), "the sleeper acknowledged a flag on a volume it had lost");
        let left = LISTEN.saturating_sub(woken.elapsed());
        let letter = tokio::time::timeout(left, smtp.answer_to_last_dot()).await;
        assert!(
            !matches!(letter, Ok(Delivery::Accepted)),
            "the sleeper acknowledged a letter of its old epoch"
        );
        assert!(
            matches!(house.send(A, "alone", b"\r\nx\r\n", ON_FIRST).await, d if !matches!(d, Delivery::Accepted))
        );
        [B, WITNESS].into_iter().for_each(|member| house.cluster.wake(member).expect("it sleeps"));

        // Shipped to the new leader it may still arrive; who got no answer does not know.
        match letter {
            Ok(Delivery::Refused(error)) => println!("the sleeper refused the letter: {error}"),
            _ => world.ledger.reply_lost("in-hand"),
        }
        house.wait(Goal::AtHome).await;
        assert!(led_by(&house, "a").await.is_some_and(|epoch| epoch > new), "it leads again, in a new epoch");
        house.deliver(A, "after", ON_FIRST).await;
        house.audit().await;
    });
}
